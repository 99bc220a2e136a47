"""Matching and its precision: hand-worked cases, what limits and weights mean, and detections that are refused."""

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.errors import DataError
from uavdet.evaluation import matching as matching_module
from uavdet.evaluation.matching import match_detections
from uavdet.evaluation.precision import highest_recall, precision_recall
from uavdet.evaluation.truth import GroundTruth, ImageDetections

EVERY = (0, 1e10)


def match(truth, found, thresholds=(0.5,), area_ranges=(EVERY,), max_detections=100, **rules):
    return match_detections(
        truth, found, thresholds=thresholds, area_ranges=area_ranges, max_detections=max_detections, **rules
    )


def one_image(*args, **kwargs):
    return GroundTruth([make_image("a.jpg", *args, **kwargs)], {0: "a", 1: "b"})


def test_nothing_matches_nothing():
    for truth in (GroundTruth([], {0: "a"}), GroundTruth([make_image("a.jpg")], {0: "a"})):
        matching = match(truth, {}, thresholds=(0.5, 0.75), area_ranges=(EVERY, (0, 9), (9, 99)))
        assert matching.hit.shape == matching.ignored.shape == (3, 2, 0)
        assert matching.objects.shape == (3, 1, len(truth.images))
        precision, recall = precision_recall(matching)
        assert precision.shape == (3, 2, 101, 1)
        assert (precision == -1).all()
        assert (recall == -1).all()


@pytest.mark.parametrize(
    ("boxes", "found", "hit", "ignored"),
    [
        # IoU 100 / 200 reaches a threshold of .5, 100 / 201 does not.
        ([[0, 0, 10, 20]], [[0, 0, 10, 10]], [1], [0]),
        ([[0, 0, 10, 20.1]], [[0, 0, 10, 10]], [0], [0]),
        # The better score takes the object; the other, which fits better, is left without one.
        ([[0, 0, 10, 10]], [[0, 0, 10, 12], [0, 0, 10, 10]], [1, 0], [0, 0]),
        # Each takes the object that it fits best, not the first.
        ([[0, 0, 10, 10], [0, 2, 10, 12]], [[0, 2, 10, 12], [0, 0, 10, 10]], [1, 1], [0, 0]),
        # Boxes that touch do not overlap, and a box without area matches nothing.
        ([[0, 0, 10, 10]], [[10, 0, 20, 10], [5, 5, 5, 5]], [0, 0], [0, 0]),
    ],
)
def test_detections_take_objects_by_score_and_overlap(boxes, found, hit, ignored):
    matching = match(one_image(boxes), {"a.jpg": make_detections(found)})
    assert matching.hit[0, 0].astype(int).tolist() == hit
    assert matching.ignored[0, 0].astype(int).tolist() == ignored


def test_the_later_of_equally_good_objects_is_taken():
    # The first detection fits both objects alike. It takes the later one, so that the second, which fits that alone,
    # finds nothing.
    truth = one_image([[0, 0, 10, 10], [0, 4, 10, 14]])
    found = {"a.jpg": make_detections([[0, 2, 10, 12], [0, 6, 10, 16]])}
    assert match(truth, found).hit[0, 0].tolist() == [True, False]


def test_crowds_take_any_number_by_the_share_of_the_detection():
    truth = one_image([[0, 0, 100, 100], [200, 0, 210, 10]], crowd=[True, False])
    found = {"a.jpg": make_detections([[0, 0, 10, 10], [90, 0, 110, 10], [91, 0, 111, 10], [200, 0, 210, 10]])}
    matching = match(truth, found)
    assert matching.ignored[0, 0].tolist() == [True, True, False, False]
    assert matching.hit[0, 0].tolist() == [False, False, False, True]
    assert matching.objects[0, 0].tolist() == [1]


def test_ignore_regions_are_crowds_of_every_class_where_that_is_asked_for():
    truth = one_image([[200, 0, 210, 10]], regions=[[0, 0, 50, 50]])
    found = {"a.jpg": make_detections([[0, 0, 10, 10], [0, 0, 10, 10]], classes=[0, 1])}
    assert not match(truth, found).ignored.any()
    matching = match(truth, found, regions_as_crowd=True)
    assert matching.ignored.all()
    assert matching.objects.sum() == 1


def test_outside_an_area_range_objects_and_detections_are_ignored():
    truth = one_image([[0, 0, 10, 10], [50, 0, 80, 30]])
    found = {"a.jpg": make_detections([[0, 0, 10, 10], [50, 0, 80, 29], [90, 90, 99, 99], [0, 50, 40, 90]])}
    matching = match(truth, found, area_ranges=[EVERY, (0, 100), (101, 900)])
    assert matching.hit[:, 0].astype(int).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert matching.ignored[:, 0].astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 1]]
    assert matching.objects[:, 0, 0].tolist() == [2, 1, 1]


def test_outside_objects_act_as_crowds_where_that_is_asked_for():
    # 5 x 5 inside of 30 x 30: IoU 1 / 36, and the whole of the detection is covered.
    truth = one_image([[0, 0, 30, 30]])
    found = {"a.jpg": make_detections([[5, 5, 10, 10], [20, 20, 25, 25]])}
    small = [(1, 64)]
    assert not match(truth, found, area_ranges=small).ignored.any()
    assert match(truth, found, area_ranges=small, outside_as_crowd=True).ignored.all()
    assert not match(truth, found, outside_as_crowd=True).ignored.any()


def test_detections_come_by_class_and_falling_score():
    truth = GroundTruth([make_image("a.jpg"), make_image("b.jpg")], {0: "a", 1: "b"})
    found = {
        "b.jpg": make_detections([[0, 0, 1, 1]] * 3, [0.3, 0.9, 0.9], [0, 1, 0]),
        "a.jpg": make_detections([[0, 0, 1, 1]] * 2, [0.3, 0.9], [0, 0]),
    }
    matching = match(truth, found)
    assert matching.category.tolist() == [0, 0, 0, 0, 1]
    assert matching.score.tolist() == [0.9, 0.9, 0.3, 0.3, 0.9]
    assert matching.image.tolist() == [0, 1, 0, 1, 1]
    assert matching.source.tolist() == [1, 2, 0, 0, 1]
    assert matching.rank.tolist() == [0, 0, 1, 1, 0]
    assert match(truth, found, limit_by_image=True).rank.tolist() == [0, 1, 1, 2, 0]


@pytest.mark.parametrize("by_image", [False, True])
def test_fewer_detections_match_as_before(by_image):
    truth = random_truth(seed=3)
    found = noisy_detections(truth, 3, whole=True)
    ranges = [EVERY, (0, 1024)]
    whole = match(truth, found, (0.5, 0.75), ranges, limit_by_image=by_image)
    for most in (1, 5, 1000):
        fewer = match(truth, found, (0.5, 0.75), ranges, max_detections=min(most, 100), limit_by_image=by_image)
        for name in ("image", "category", "score", "source", "rank", "hit", "ignored", "objects"):
            np.testing.assert_array_equal(getattr(whole.limited(most), name), getattr(fewer, name), err_msg=name)
        np.testing.assert_array_equal(highest_recall(whole, most), precision_recall(fewer)[1])


def test_pieces_of_pairs_do_not_show(monkeypatch):
    truth = random_truth(seed=6)
    found = noisy_detections(truth, 6)
    whole = match(truth, found, (0.5, 0.75), [EVERY, (0, 1024)])
    monkeypatch.setattr(matching_module, "_PAIRS", 5)
    pieces = match(truth, found, (0.5, 0.75), [EVERY, (0, 1024)])
    np.testing.assert_array_equal(pieces.hit, whole.hit)
    np.testing.assert_array_equal(pieces.ignored, whole.ignored)


def test_weights_repeat_images():
    truth = random_truth(images=6, seed=4)
    found = noisy_detections(truth, 4)
    weights = np.array([2, 0, 1, 3, 0, 1])
    names = [(f"{copy}-{i.name}", i) for i, count in zip(truth.images, weights, strict=True) for copy in range(count)]
    copies = GroundTruth(
        [make_image(name, i.boxes, i.classes, i.crowd, areas=i.areas) for name, i in names], truth.names
    )
    repeated = match(copies, {name: found[i.name] for name, i in names}, area_ranges=[EVERY, (0, 1024)])
    weighted = match(truth, found, area_ranges=[EVERY, (0, 1024)])
    for got, wanted in zip(precision_recall(weighted, weights), precision_recall(repeated), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(highest_recall(weighted, 3, weights), highest_recall(repeated, 3), atol=1e-12)


def test_precision_by_hand():
    # Of 4 objects, hits at ranks 1 and 3: precision 1 up to recall .25, 2/3 up to .5, 0 above.
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(4)]
    found = {"a.jpg": make_detections([boxes[0], [0, 50, 10, 60], boxes[1], [0, 70, 10, 80]])}
    precision, recall = precision_recall(match(one_image(boxes), found))
    np.testing.assert_allclose(precision[0, 0, :, 0], [1] * 26 + [2 / 3] * 25 + [0] * 50)
    assert recall[0, 0].tolist() == [0.5, -1]


def test_class_ids_need_not_count_from_zero():
    truth = GroundTruth([make_image("a.jpg", [[0, 0, 9, 9]], [7])], {7: "seven", 3: "three"})
    matching = match(truth, {"a.jpg": make_detections([[0, 0, 9, 9]], classes=[7])})
    assert matching.category.tolist() == [1]
    assert matching.objects[0, :, 0].tolist() == [0, 1]


GOOD = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        (([GOOD, [1, float("nan"), 3, 4]], [1, 1], [0, 0]), r"Detection 2 of 'a\.jpg' has a box that is not finite"),
        (([[1, 2, float("inf"), 4]], [1], [0]), r"Detection 1 of 'a\.jpg' has a box that is not finite"),
        (([GOOD] * 3, [1, 1, float("nan")], [0, 0, 0]), r"Detection 3 of 'a\.jpg' has a score that is not finite"),
        (([GOOD], [float("-inf")], [0]), r"Detection 1 of 'a\.jpg' has a score"),
        (([[3, 2, 1, 4]], [1], [0]), r"Detection 1 of 'a\.jpg' has a negative width or height"),
        (([GOOD, [1, 4, 3, 2]], [1, 1], [0, 0]), r"Detection 2 of 'a\.jpg' has a negative width"),
        (([GOOD], [1], [2]), r"Detection 1 of 'a\.jpg' has a class that does not exist\. Class ids are 0 to 1"),
        (([GOOD], [1], [-1]), r"class that does not exist"),
        (([GOOD], [1], [0.5]), r"class that does not exist"),
        (([GOOD], [1, 1], [0]), r"boxes \(1, 4\), scores \(2,\)"),
        (([GOOD[:3]], [1], [0]), r"boxes \(1, 3\)"),
    ],
)
def test_bad_detections_are_refused_by_image_and_number(detections, message):
    truth = GroundTruth([make_image("0.jpg"), make_image("a.jpg")], {0: "a", 1: "b"})
    found = {
        "a.jpg": ImageDetections(*(np.array(part, dtype=float) for part in detections)),
        "0.jpg": make_detections([GOOD] * 2),
    }
    with pytest.raises(DataError, match=message) as error:
        match(truth, found)
    assert "\n" not in str(error.value)


def test_unknown_images_and_images_twice_are_refused():
    with pytest.raises(DataError, match=r"'zzz\.jpg', which is not among the 1 annotated images"):
        match(one_image(), {"zzz.jpg": make_detections()})
    with pytest.raises(DataError, match=r"'a\.jpg' is annotated twice"):
        match(GroundTruth([make_image("a.jpg")] * 2, {0: "a"}), {})


def test_objects_of_unknown_classes_are_refused():
    with pytest.raises(DataError, match=r"'a\.jpg' have the class id 5"):
        match(one_image([GOOD], [5]), {})
