"""What may be asked of tiling, and the one line that says what may not."""

import pytest

from uavdet.errors import UsageError
from uavdet.tiling import TilingOptions


def test_nothing_asked_for_is_the_defaults_of_sahi():
    options = TilingOptions()
    assert (options.tile, options.overlap, options.full_frame) == ("auto", 0.2, None)
    assert (options.merge, options.merge_metric, options.merge_threshold) == ("greedynmm", "ios", 0.5)


@pytest.mark.parametrize(
    ("given", "tile"),
    [
        ("auto", "auto"),
        ("AUTO", "auto"),
        ("640x512", (640, 512)),
        ("640X512", (640, 512)),
        ("640", (640, 640)),
        (640, (640, 640)),
        ((640, 512), (640, 512)),
        ([640, 512], (640, 512)),
        ("1x1", (1, 1)),
    ],
)
def test_a_tile_is_written_in_several_ways(given, tile):
    assert TilingOptions(tile=given).tile == tile


@pytest.mark.parametrize(
    "settings",
    [
        {"overlap": 0},
        {"overlap": 0.9},
        {"full_frame": False},
        {"merge": "NMS", "merge_metric": "IOU"},
        {"merge_threshold": 1},
        {"merge_threshold": 0.01},
    ],
)
def test_allowed_values_are_taken(settings):
    options = TilingOptions(**settings)
    lowered = {key: value.lower() if isinstance(value, str) else value for key, value in settings.items()}
    assert {key: getattr(options, key) for key in settings} == lowered


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": "0x0"}, "tile=0x0 is no size"),
        ({"tile": "640x"}, "tile=640x is no size"),
        ({"tile": "-1x5"}, "tile=-1x5 is no size"),
        ({"tile": ""}, "tile= is no size"),
        ({"tile": "640x512x3"}, "tile=640x512x3 is no size"),
        ({"tile": 0}, "tile=0x0 is no size"),
        ({"tile": (640.0, 512)}, "tile=640.0x512 is no size"),
        ({"tile": (640,)}, "is no size"),
        ({"tile": None}, "tile=None is no size"),
        ({"tile": True}, "tile=True is no size"),
        ({"overlap": 1}, "overlap=1 is not allowed. It is a number from 0 to 0.9"),
        ({"overlap": -0.1}, "overlap=-0.1 is not allowed"),
        ({"overlap": float("nan")}, "overlap=nan is not allowed"),
        ({"overlap": "0.2"}, "overlap=0.2 is not allowed"),
        ({"overlap": True}, "overlap=True is not allowed"),
        ({"full_frame": "yes"}, "full_frame=yes is not allowed. It is True or False"),
        ({"merge": "nmx"}, "merge=nmx is not known. Did you mean 'nms'? Allowed: greedynmm, nmm, nms"),
        ({"merge": None}, "merge=None is not known"),
        ({"merge_metric": "giou"}, "merge_metric=giou is not known. Did you mean 'iou'?"),
        ({"merge_threshold": 0}, "merge_threshold=0 is not allowed. It is a number above 0, up to 1"),
        ({"merge_threshold": 1.1}, "merge_threshold=1.1 is not allowed"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line(settings, message):
    with pytest.raises(UsageError) as refused:
        TilingOptions(**settings)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
