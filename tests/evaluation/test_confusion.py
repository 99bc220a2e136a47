"""Found, missed, false and confused objects, worked out by hand."""

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.evaluation.confusion import (
    best_confidence,
    count_confusions,
    count_errors,
    find_all_errors,
    find_errors,
    missed_objects,
)
from uavdet.evaluation.matching import match_detections
from uavdet.evaluation.truth import GroundTruth

NAMES = {0: "a", 1: "b"}
BOX, NEAR, FAR = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]  # NEAR has IoU .8 with BOX


@pytest.mark.parametrize(
    ("objects", "found", "matrix"),
    [
        # annotated (box, class, crowd), detected (box, class, score), matrix annotated by detected
        ([], [], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ([], [(BOX, 1, 0.9)], [[0, 0, 0], [0, 0, 0], [0, 1, 0]]),
        ([(BOX, 0, 0)], [], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        ([(BOX, 0, 0)], [(NEAR, 0, 0.9)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ([(BOX, 0, 0)], [(NEAR, 0, 0.4)], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),  # below the confidence
        ([(BOX, 0, 0)], [(NEAR, 1, 0.9)], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
        ([(BOX, 0, 0)], [([0, 0, 10, 4.9], 0, 0.9)], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),  # IoU .49
        ([(BOX, 0, 0)], [([0, 0, 10, 5], 0, 0.9)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),  # IoU .5
        # two on one object: the second is false, even where it overlaps more
        ([(BOX, 0, 0)], [(NEAR, 0, 0.9), (BOX, 0, 0.8)], [[1, 0, 0], [0, 0, 0], [1, 0, 0]]),
        # the right class goes before the higher score
        ([(BOX, 0, 0)], [(BOX, 1, 0.9), (NEAR, 0, 0.8)], [[1, 0, 0], [0, 0, 0], [0, 1, 0]]),
        # an ignored object takes any number of its class, and none of another
        ([(BOX, 0, 1)], [(BOX, 0, 0.9), (NEAR, 0, 0.8)], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ([(BOX, 0, 1)], [(BOX, 1, 0.9)], [[0, 0, 0], [0, 0, 0], [0, 1, 0]]),
    ],
)
def test_confusions_of_one_image(objects, found, matrix):
    image = make_image("a.jpg", [o[0] for o in objects], [o[1] for o in objects], [o[2] for o in objects])
    detections = make_detections([d[0] for d in found], [d[2] for d in found], [d[1] for d in found])
    truth = GroundTruth([image], NAMES)
    errors = find_all_errors(truth, {"a.jpg": detections}, 0.5)
    assert count_confusions(truth, errors).tolist() == matrix
    wrong = np.array(matrix)
    assert count_errors(image, errors[0]) == wrong.sum() - np.trace(wrong)


@pytest.mark.parametrize(
    ("box", "ignored"),
    [([50, 50, 60, 60], True), ([45, 50, 55, 60], True), ([44.9, 50, 54.9, 60], False), ([0, 0, 10, 10], False)],
    ids=["inside", "half", "less than half", "apart"],
)
def test_detections_in_regions_are_neither_right_nor_wrong(box, ignored):
    errors = find_errors(make_image("a.jpg", regions=[[50, 50, 100, 100]]), make_detections([box]), 0.5)
    assert errors.ignored.tolist() == [ignored]
    assert errors.is_false.tolist() == [not ignored]


def test_of_equals_the_first_is_taken():
    twins = make_image("a.jpg", [BOX, BOX])
    assert find_errors(twins, make_detections([NEAR]), 0.5).partner.tolist() == [0]
    errors = find_errors(make_image("a.jpg", [BOX]), make_detections([NEAR, BOX], [0.9, 0.9]), 0.5)
    assert errors.found_by.tolist() == [0]


def test_an_object_in_a_region_is_still_found():
    image = make_image("a.jpg", [FAR], regions=[[0, 0, 100, 100]])
    errors = find_errors(image, make_detections([FAR, BOX]), 0.5)
    assert errors.partner.tolist() == [0, -1]
    assert errors.ignored.tolist() == [False, True]
    assert missed_objects(image, errors).tolist() == [False]


@pytest.mark.parametrize("seed", range(3))
def test_found_objects_are_those_of_coco_at_that_confidence(seed):
    truth = random_truth(seed=seed)
    found = noisy_detections(truth, seed, noise=8)
    matching = match_detections(truth, found, thresholds=[0.5], area_ranges=[(0, 1e10)], max_detections=10**6)
    hits = np.bincount(matching.category[matching.hit[0, 0] & (matching.score >= 0.4)], minlength=4)
    matrix = count_confusions(truth, find_all_errors(truth, found, 0.4))
    assert np.diag(matrix)[:4].tolist() == hits.tolist()
    totals = [sum(int(((i.classes == c) & ~i.crowd).sum()) for i in truth.images) for c in range(4)]
    assert matrix[:4].sum(1).tolist() == totals


def match_at_half(truth, found):
    return match_detections(truth, found, thresholds=[0.5], area_ranges=[(0, 1e10)], max_detections=500)


@pytest.mark.parametrize("found", [{}, {"a.jpg": make_detections([FAR])}])
def test_without_a_hit_no_confidence_is_best(found):
    truth = GroundTruth([make_image("a.jpg", [BOX])], NAMES)
    assert best_confidence(match_at_half(truth, found)) == (0.0, 0.0)


def test_the_best_confidence_is_worked_out():
    """Class a: 2 objects, hit at .9, false at .6, hit at .5; class b: 1 object, hit at .7, false at .4.

    Mean F1: (2/3 + 0)/2 at .9, (2/3 + 1)/2 at .7, (1/2 + 1)/2 at .6, (4/5 + 1)/2 at .5, (4/5 + 2/3)/2 at .4.
    """
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    truth = GroundTruth([make_image("a.jpg", boxes, [0, 0, 1])], NAMES)
    found = make_detections([boxes[0], FAR, boxes[1], boxes[2], FAR], [0.9, 0.6, 0.5, 0.7, 0.4], [0, 0, 0, 1, 1])
    assert best_confidence(match_at_half(truth, {"a.jpg": found})) == pytest.approx((0.5, 0.9))


def test_many_scores_are_tried_by_rank():
    truth = random_truth(images=20, most=60, seed=4)
    confidence, f1 = best_confidence(match_at_half(truth, noisy_detections(truth, 4, extra=100)))
    assert 0 < confidence < 1
    assert 0 < f1 < 1
