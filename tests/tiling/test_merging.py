"""Matching, suppression and merging against loops that go box by box, and against other libraries."""

import numpy as np
import pytest

from tests.tiling import oracles
from uavdet.tiling import matching
from uavdet.tiling.matching import match_boxes, overlap_of
from uavdet.tiling.merging import find_owners, keep_by_nms, rank_boxes

ORACLES = {"nms": oracles.greedy, "greedynmm": oracles.greedy, "nmm": oracles.chained}


def crowd(count, seed=0, classes=3, width=100):
    """Return boxes that overlap much, many of which have equal scores or corners."""
    random = np.random.default_rng(seed)
    corner = np.round(random.uniform(0, width, (count, 2)), 1)
    side = np.round(random.uniform(0, 30, (count, 2)), 1)
    boxes = np.concatenate([corner, corner + side], 1)
    boxes[: count // 10] = boxes[count // 10 : 2 * (count // 10)]
    return boxes, np.round(random.random(count), 1), random.integers(0, classes, count)


@pytest.mark.parametrize(
    ("one", "other", "iou", "ios"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1, 1),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0, 0),
        ([0, 0, 2, 2], [3, 3, 4, 4], 0, 0),
        ([0, 0, 4, 4], [1, 1, 3, 3], 4 / 16, 1),
        ([0, 0, 2, 2], [1, 0, 3, 2], 2 / 6, 2 / 4),
        ([0, 0, 0, 2], [0, 0, 2, 2], 0, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0, 0),
    ],
)
def test_overlaps_worked_by_hand(one, other, iou, ios):
    boxes, others = np.array([one], float), np.array([other], float)
    for metric, value in (("iou", iou), ("ios", ios)):
        assert overlap_of(boxes, others, metric) == overlap_of(others, boxes, metric) == value


@pytest.mark.parametrize("metric", ["ios", "iou"])
@pytest.mark.parametrize("count", [0, 1, 2, 40, 300])
@pytest.mark.parametrize("grouped", [False, True])
def test_matching_pairs_are_those_of_a_double_loop(count, metric, grouped):
    boxes, _, classes = crowd(count)
    groups = np.arange(count) % 4 if grouped else None
    wanted = {
        (one, other)
        for one in range(count)
        for other in range(one)
        if oracles.matches(boxes, classes, one, other, metric, 0.5, groups)
    }
    pairs = match_boxes(boxes, classes, metric, 0.5, groups)
    found = list(zip(np.maximum(*pairs).tolist(), np.minimum(*pairs).tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == wanted


def test_pairs_do_not_depend_on_how_many_are_compared_at_once(monkeypatch):
    boxes, _, classes = crowd(300)
    whole = {tuple(sorted(pair)) for pair in zip(*match_boxes(boxes, classes), strict=True)}
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", 50)
    parts = {tuple(sorted(pair)) for pair in zip(*match_boxes(boxes, classes), strict=True)}
    assert whole == parts != set()


@pytest.mark.parametrize("merge", ["nms", "greedynmm", "nmm"])
@pytest.mark.parametrize("metric", ["ios", "iou"])
@pytest.mark.parametrize(("count", "seed"), [(0, 0), (1, 0), (2, 1), *((100, seed) for seed in range(10)), (400, 9)])
def test_owners_are_those_of_a_loop_over_boxes(count, seed, metric, merge):
    boxes, scores, classes = crowd(count, seed)
    groups = np.random.default_rng(seed).integers(0, 6, count)
    for threshold in (0.1, 0.5, 1.0):
        for grouping in (None, groups):
            pairs = match_boxes(boxes, classes, metric, threshold, grouping)
            owners = find_owners(pairs, rank_boxes(boxes, scores), merge)
            wanted = ORACLES[merge](boxes.tolist(), scores.tolist(), classes.tolist(), metric, threshold, grouping)
            # Boxes that are equal in all that orders them may stand for one another.
            rows = np.column_stack([boxes, scores])
            assert len(wanted) == count
            for index, owner in wanted.items():
                np.testing.assert_array_equal(rows[owners[index]], rows[owner])


def test_a_chain_is_one_object_for_nmm_alone():
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float)
    scores, classes = np.array([0.9, 0.8, 0.7]), np.zeros(3, int)
    pairs = match_boxes(boxes, classes)
    assert find_owners(pairs, rank_boxes(boxes, scores), "nmm").tolist() == [0, 0, 0]
    assert find_owners(pairs, rank_boxes(boxes, scores), "greedynmm").tolist() == [0, 0, 2]


@pytest.mark.parametrize("count", [0, 1, 50, 1000])
def test_suppression_is_that_of_torchvision(count):
    torch = pytest.importorskip("torch")
    from torchvision.ops import batched_nms

    random = np.random.default_rng(count)
    corner, side = random.uniform(0, 300, (count, 2)), random.uniform(1, 60, (count, 2))
    boxes, scores = np.concatenate([corner, corner + side], 1), random.permutation(count) / max(count, 1)
    classes = random.integers(0, 4, count)
    wanted = batched_nms(torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes), 0.5)
    assert keep_by_nms(boxes, scores, classes).tolist() == wanted.tolist()


def test_equal_scores_are_ordered_by_corners_whatever_the_order_of_the_boxes():
    boxes = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [0, 0, 10, 9], [0, 1, 10, 10]], float)
    scores = np.full(4, 0.5)
    assert rank_boxes(boxes, scores).tolist() == [2, 1, 3, 0]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        kept = keep_by_nms(boxes[order], scores, np.zeros(4, int), "ios", 0.5)
        assert boxes[order][kept].tolist() == [[0, 0, 10, 9]]


def test_thousands_of_boxes_of_which_each_matches_the_next():
    left = np.arange(5000) * 4.0
    boxes = np.column_stack([left, np.zeros(5000), left + 10, np.full(5000, 10.0)])
    kept = keep_by_nms(boxes, -left, np.zeros(5000, int), "ios", 0.5)
    assert kept.tolist() == list(range(0, 5000, 2))
