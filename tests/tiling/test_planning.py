"""Which tiles are chosen of frames: the scale of the training with as few tiles as can be, or none."""

import math

import pytest

from uavdet.errors import UsageError
from uavdet.tiling import TilingOptions, plan_tiles
from uavdet.tiling.grid import tile_grid
from uavdet.tiling.planning import LARGE, ROUNDING, WHOLE, TrainingSizes, read_training_sizes

SMALL = TrainingSizes(scale=0.9, smallest=8, median=20, largest=60)
STATISTICS = {
    "size_original": {"p5": 8.0, "p25": 14.0, "p50": 20.0, "p75": 33.0, "p95": 78.0},
    "size_network": {"p5": 7.0, "p25": 12.0, "p50": 18.0, "p75": 29.0, "p95": 70.0},
}


def shape(plan):
    return tuple((plan.windows[0, 2:] - plan.windows[0, :2]).tolist())


@pytest.mark.parametrize(
    "statistics",
    [
        None,
        {},
        [],
        "text",
        {"size_original": {}, "size_network": {}},
        {**STATISTICS, "size_network": None},
        {**STATISTICS, "size_network": {"p5": 1, "p50": 0, "p95": 2}},
        {**STATISTICS, "size_original": {"p5": 1, "p50": "x", "p95": 2}},
        {**STATISTICS, "size_original": {"p5": 1, "p50": math.nan, "p95": 2}},
    ],
)
def test_statistics_that_are_missing_or_unusable_are_none(statistics):
    assert read_training_sizes(statistics) is None


def test_statistics_of_a_training_give_its_scale():
    assert read_training_sizes(STATISTICS) == TrainingSizes(scale=0.9, smallest=8.0, median=20.0, largest=78.0)


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        ((1, 1), 1),
        ((20, 3000), 1),
        ((512, 512), 1),
        ((640, 512), 1),
        ((512, 640), 1),
        ((700, 600), 1),
        ((800, 700), 2),
        ((1280, 720), 6),
        ((1920, 1080), 12),
        ((1080, 1920), 12),
    ],
)
def test_auto_sees_objects_as_large_as_in_training(size, tiles):
    plan = plan_tiles(size, (512, 512), TilingOptions(), SMALL)
    assert plan.tiles == tiles
    assert tiles > 1 or shape(plan) == size


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (2560, 1440), (3840, 2160), (700, 2000), (20000, 20000)])
@pytest.mark.parametrize("imgsz", [(320, 320), (512, 512), (640, 640), (512, 640)])
@pytest.mark.parametrize("overlap", [0, 0.2, 0.5])
def test_each_side_has_as_few_tiles_as_training_allows(size, imgsz, overlap):
    plan = plan_tiles(size, imgsz, TilingOptions(overlap=overlap, full_frame=False), SMALL)
    counts = [len(set(plan.windows[:, axis].tolist())) for axis in (0, 1)]
    if plan.tiles == 1:
        assert math.sqrt(math.prod(imgsz) / math.prod(size)) >= 0.9 / WHOLE
        return
    for length, side, count in zip(size, imgsz[::-1], counts, strict=True):
        longest = int(side / 0.9 * ROUNDING)
        if length <= side / 0.9 * WHOLE:
            assert count == 1
        else:
            assert count == len(tile_grid((length, 1), (longest, 1), overlap))


def test_a_network_that_was_trained_on_shrunk_frames_sees_shrunk_frames():
    trained = TrainingSizes(scale=1 / 3, smallest=10, median=30, largest=100)
    assert plan_tiles((1920, 1080), (640, 640), TilingOptions(), trained).tiles == 1
    assert plan_tiles((3840, 2160), (640, 640), TilingOptions(), trained).tiles == 3


def test_objects_that_stay_large_need_no_tiles():
    trained = TrainingSizes(scale=0.9, smallest=150, median=300, largest=500)
    assert plan_tiles((1920, 1080), (512, 512), TilingOptions(), trained).tiles == 1
    huge = plan_tiles((9000, 9000), (512, 512), TilingOptions(), trained)
    assert huge.tiles > 1
    assert all(150 * 512 / side >= LARGE / ROUNDING for side in shape(huge))


def test_without_statistics_tiles_have_about_the_size_of_the_network():
    plan = plan_tiles((1920, 1080), (512, 512), TilingOptions())
    assert all(512 / side >= 1 / ROUNDING for side in shape(plan))
    assert plan.full_frame
    assert "the weights do not say" in plan.reason
    assert plan_tiles((512, 512), (512, 512), TilingOptions()).tiles == 1


@pytest.mark.parametrize(
    ("size", "tile", "tiles"),
    [
        ((1920, 1080), "512x512", 15),
        ((1920, 1080), "1920x1080", 1),
        ((100, 90), "512x512", 1),
        ((600, 90), "512x512", 2),
    ],
)
def test_a_tile_that_was_asked_for_is_used(size, tile, tiles):
    options = TilingOptions(tile=tile)
    plan = plan_tiles(size, (512, 512), options, SMALL)
    assert plan.tiles == tiles
    assert shape(plan) == (min(size[0], options.tile[0]), min(size[1], options.tile[1]))
    assert "as asked for" in plan.reason


@pytest.mark.parametrize(
    ("wanted", "training", "full_frame"),
    [
        (None, None, True),
        (None, SMALL, True),  # 60 pixels, half as long again, are more than the overlap of 80
        (None, TrainingSizes(0.9, 8, 20, 50), False),
        (True, TrainingSizes(0.9, 8, 20, 50), True),
        (False, None, False),
    ],
)
def test_the_full_frame_is_looked_at_for_objects_larger_than_the_overlap(wanted, training, full_frame):
    plan = plan_tiles((1000, 800), (512, 512), TilingOptions(tile=400, full_frame=wanted), training)
    assert plan.full_frame is full_frame
    assert len(plan.windows) == plan.tiles + full_frame
    assert (plan.windows[-1].tolist() == [0, 0, 1000, 800]) is full_frame


def test_the_full_frame_is_not_looked_at_twice():
    plan = plan_tiles((100, 100), (512, 512), TilingOptions(full_frame=True))
    assert (plan.tiles, len(plan.windows), plan.full_frame) == (1, 1, False)


@pytest.mark.parametrize(
    ("size", "line"),
    [
        ((640, 512), "640x512: no tiling. "),
        ((1920, 1080), "1920x1080: 12 tiles (4x3) of 565x416, and the full frame. "),
    ],
)
def test_the_reason_is_one_line(size, line):
    reason = plan_tiles(size, (512, 512), TilingOptions(), SMALL).reason
    assert reason.startswith(line)
    assert "at 0.90 (median 20 pixels)" in reason
    assert "\n" not in reason


def test_more_tiles_than_anybody_wants_are_refused():
    with pytest.raises(UsageError, match=r"cuts a frame of 640x512 into 327680 tiles, more than 50000\. Give larger"):
        plan_tiles((640, 512), (512, 512), TilingOptions(tile="1x1", overlap=0.0))
