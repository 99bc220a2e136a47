"""Statistics of boxes, against counts worked by hand."""

import numpy as np
import pytest

from uavdet.data.doctor.boxes import (
    AITOD_SIZES,
    COCO_SIZES,
    count_sizes,
    describe_boxes,
    join_tables,
    quantiles,
    tabulate_boxes,
)

NAMES = {0: "car", 1: "person", 2: "bus"}


def row(category, left, top, width, height, size):
    """Return a label row of a box in pixels."""
    return [category, (left + width / 2) / size[0], (top + height / 2) / size[1], width / size[0], height / size[1]]


def rows(*values):
    return np.array(values, dtype=np.float32).reshape(-1, 5)


def test_no_image_and_no_box_have_statistics_of_nothing():
    for table in (tabulate_boxes([]), tabulate_boxes([((640, 480), rows())]), join_tables([])):
        described = describe_boxes(table, NAMES, (640, 640))
        assert described["objects"] == 0
        assert described["original"]["side"] == {}
        assert sum(described["original"]["coco"].values()) == 0
    assert describe_boxes(tabulate_boxes([((640, 480), rows())]), NAMES, (640, 640))["objects_per_image"]["max"] == 0


@pytest.mark.parametrize(
    ("side", "coco", "aitod"),
    [
        (7.99, "small", "very tiny"), (8, "small", "tiny"), (15.9, "small", "tiny"), (16, "small", "small"),
        (31.9, "small", "small"), (32, "medium", "medium"), (95.9, "medium", "medium"), (96, "large", "medium"),
    ],
)  # fmt: skip
def test_size_classes_begin_at_their_limits(side, coco, aitod):
    sides = np.array([[side, side]])
    assert [name for name, count in count_sizes(sides, COCO_SIZES).items() if count] == [coco]
    assert [name for name, count in count_sizes(sides, AITOD_SIZES).items() if count] == [aitod]


def test_boxes_of_whole_pixels_stay_in_their_class_after_six_decimals():
    size = (640, 512)
    written = [[float(f"{value:.6f}") for value in row(0, 101, 77, 8, 8, size)] for _ in range(3)]
    table = tabulate_boxes([(size, rows(*written))])
    np.testing.assert_array_equal(table.sides(), [[8, 8]] * 3)
    assert describe_boxes(table, NAMES, (640, 640))["original"]["aitod"]["tiny"] == 3


def test_statistics_of_two_images():
    wide, square = (1000, 500), (400, 400)
    table = tabulate_boxes(
        [
            (
                wide,
                rows(row(0, 0, 100, 40, 10, wide), row(0, 500, 200, 10, 10, wide), row(1, 300, 300, 100, 100, wide)),
            ),
            (square, rows()),
            (square, rows(row(0, 100, 100, 20, 20, square))),
        ]
    )
    described = describe_boxes(table, NAMES, (500, 500))
    assert described["objects"] == 4
    assert described["classes"] == {
        "car": {"objects": 3, "images": 2},
        "person": {"objects": 1, "images": 1},
        "bus": {"objects": 0, "images": 0},
    }
    assert described["objects_per_image"] == {"p50": 1.0, "p95": 2.8, "p99": 2.96, "max": 3.0}
    assert described["original"]["coco"] == {"small": 3, "medium": 0, "large": 1}
    assert described["original"]["aitod"] == {"very tiny": 0, "tiny": 1, "small": 2, "medium": 1}
    # At 500x500: 20x10, 5x10, 50x100 from the wide image, 25x25 from the square one
    assert described["network"]["coco"] == {"small": 3, "medium": 1, "large": 0}
    assert described["network"]["aitod"] == {"very tiny": 1, "tiny": 1, "small": 1, "medium": 1}
    assert described["touching_border"] == 1
    assert described["elongated"] == 1  # 40:10; 3:1 itself would not count
    assert described["aspect_ratio"]["p50"] == 1.0


def test_tables_are_joined_with_images_counted_on():
    first = tabulate_boxes([((10, 20), rows([0, 0.5, 0.5, 0.1, 0.1])), ((30, 40), rows())])
    second = tabulate_boxes([((50, 60), rows([1, 0.5, 0.5, 0.2, 0.2]))])
    joined = join_tables([first, second])
    assert joined.counts.tolist() == [1, 0, 1]
    np.testing.assert_allclose(joined.sides(), [[1, 2], [10, 12]])
    np.testing.assert_allclose(joined.sides((100, 200)), [[20, 10], [40, 20]], rtol=1e-6)


def test_quantiles_have_names():
    assert quantiles(np.arange(101), (5, 50, 100)) == {"p5": 5.0, "p50": 50.0, "max": 100.0}
    assert quantiles(np.zeros(0), (50,)) == {}
