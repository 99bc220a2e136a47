"""What becomes of boxes of several tiles, worked by hand: two tiles of 100x100 that share 20 columns of pixels."""

import numpy as np
import pytest

from uavdet.runtime import Detections
from uavdet.tiling import TilingOptions
from uavdet.tiling.combining import combine_tiles

NAMES = {0: "person", 1: "car"}
WINDOWS = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])


def shown(*rows):
    """Return detections from rows of x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), NAMES)


def combine(*found, windows=WINDOWS, max_det=None, **options):
    margins = np.ones((len(windows), 2))
    return combine_tiles(found, windows, (180, 100), TilingOptions(**options), margins, max_det)


def rows_of(found):
    return [
        (*map(float, box), round(float(score), 3), int(category))
        for box, score, category in zip(found.boxes, found.scores, found.classes, strict=True)
    ]


def test_nothing_is_found_in_tiles_that_show_nothing():
    found = combine(shown(), shown())
    assert (len(found), found.boxes.shape, found.names) == (0, (0, 4), NAMES)
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int64)


@pytest.mark.parametrize("merge", ["nms", "nmm", "greedynmm"])
@pytest.mark.parametrize("metric", ["ios", "iou"])
@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        # alone in either tile
        ([(10, 10, 20, 20, 0.9, 0)], [], [(10, 10, 20, 20, 0.9, 0)]),
        ([], [(50, 10, 60, 20, 0.9, 0)], [(130, 10, 140, 20, 0.9, 0)]),
        # the same object in both: the better box stays as it is
        ([(84, 10, 94, 20, 0.9, 0)], [(5, 10, 15, 20, 0.8, 0)], [(84, 10, 94, 20, 0.9, 0)]),
        ([(84, 10, 94, 20, 0.7, 0)], [(5, 10, 15, 20, 0.8, 0)], [(85, 10, 95, 20, 0.8, 0)]),
        # of different classes they are two
        (
            [(84, 10, 94, 20, 0.9, 0)],
            [(5, 10, 15, 20, 0.8, 1)],
            [(84, 10, 94, 20, 0.9, 0), (85, 10, 95, 20, 0.8, 1)],
        ),
        # two that stand closely in one tile stay two
        (
            [(84, 10, 94, 20, 0.9, 0), (84, 10, 93, 20, 0.8, 0)],
            [],
            [(84, 10, 94, 20, 0.9, 0), (84, 10, 93, 20, 0.8, 0)],
        ),
        # a cut box hides behind the whole one of the other tile ...
        ([(90, 10, 100, 20, 0.7, 0)], [(10, 10, 30, 20, 0.7, 0)], [(90, 10, 110, 20, 0.7, 0)]),
        # ... but not behind one that is hardly a guess
        ([(90, 10, 100, 20, 0.9, 0)], [(10, 10, 30, 20, 0.1, 0)], [(90, 10, 100, 20, 0.9, 0)]),
        # at the frame's border nothing is cut: the box with the higher score stays
        ([(0, 10, 10, 20, 0.5, 0)], [], [(0, 10, 10, 20, 0.5, 0)]),
    ],
)
def test_boxes_of_two_tiles(left, right, wanted, merge, metric):
    assert rows_of(combine(shown(*left), shown(*right), merge=merge, merge_metric=metric)) == wanted


@pytest.mark.parametrize(("merge", "score"), [("nms", 0.6), ("nmm", 0.9), ("greedynmm", 0.9)])
def test_merging_takes_the_best_score_and_suppression_that_of_the_box(merge, score):
    found = combine(shown((90, 10, 100, 20, 0.9, 0)), shown((10, 10, 30, 20, 0.6, 0)), merge=merge)
    assert rows_of(found) == [(90, 10, 110, 20, score, 0)]


PARTS = [(30, 10, 100, 30, 0.8, 0)], [(0, 11, 70, 31, 0.7, 0)]


@pytest.mark.parametrize("merge", ["nmm", "greedynmm"])
def test_parts_that_agree_where_both_tiles_look_are_joined(merge):
    assert rows_of(combine(shown(*PARTS[0]), shown(*PARTS[1]), merge=merge)) == [(30, 10, 150, 31, 0.8, 0)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([(30, 10, 100, 30, 0.8, 0)], [(0, 25, 70, 45, 0.7, 0)]),  # 5 of 35 rows in common
        ([(30, 10, 100, 30, 0.8, 0)], [(0, 10, 70, 30, 0.3, 0)]),  # scores that are far from each other
        ([(30, 10, 100, 30, 0.8, 0)], [(0, 10, 70, 30, 0.7, 1)]),
    ],
)
def test_parts_that_do_not_agree_stay_two(left, right):
    assert len(combine(shown(*left), shown(*right))) == 2


def test_suppression_joins_nothing():
    assert len(combine(shown(*PARTS[0]), shown(*PARTS[1]), merge="nms")) == 2


def test_the_order_of_tiles_does_not_matter():
    random = np.random.default_rng(0)
    parts = []
    for _ in WINDOWS:
        corner, side = random.integers(0, 80, (60, 2)), random.integers(3, 20, (60, 2))
        scores = np.sort(np.round(random.random(60), 1))[::-1]
        parts.append(shown(*np.column_stack([corner, corner + side, scores, random.integers(0, 2, 60)])))
    for merge in ("nms", "nmm", "greedynmm"):
        there = combine(*parts, merge=merge)
        back = combine(*parts[::-1], windows=WINDOWS[::-1], merge=merge)
        assert rows_of(there) == rows_of(back)
        assert (np.diff(there.scores) <= 0).all()


def test_most_detections_are_the_best_ones():
    found = combine(shown((10, 10, 20, 20, 0.2, 0)), shown((50, 10, 60, 20, 0.9, 0)), max_det=1)
    assert rows_of(found) == [(130, 10, 140, 20, 0.9, 0)]
