"""AI-TOD's protocol against pycocotools with its sizes, and sizes whose numbers are worked out by hand."""

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import (
    assert_same_scores,
    expect_scores,
    make_detections,
    make_image,
    noisy_detections,
    random_truth,
)
from tests.realdata import REAL_DATA
from uavdet.evaluation.aitod import AiTod
from uavdet.evaluation.truth import GroundTruth, read_coco_truth

pytest.importorskip("pycocotools")

SIZES = {"vt": (0, 8**2), "t": (8**2, 16**2), "s": (16**2, 32**2), "m": (32**2, 1e10)}
LIMITS = (100, 300, 1500)


def test_no_objects_score_nothing():
    score = AiTod().score(GroundTruth([make_image("a.jpg")], {0: "a"}), {})
    assert np.isnan(score.metrics["AP_vt"])
    assert score.as_row()["aitod/AR1500"] == -1


@pytest.mark.parametrize("whole", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pycocotools_on_random_boxes(seed, whole):
    truth = random_truth(seed=seed, sides=(2, 40), whole=whole)
    found = noisy_detections(truth, seed, noise=1, whole=whole, missing=("2.jpg",))
    assert_same_scores(AiTod().score(truth, found), expect_scores(truth, found, SIZES, LIMITS))


def test_equal_to_pycocotools_beyond_the_most_detections():
    truth = random_truth(images=1, most=100, seed=7, sides=(4, 30))
    found = noisy_detections(truth, 5, noise=1, extra=7000)
    assert np.bincount(found["0.jpg"].classes).min() > 1500
    assert_same_scores(AiTod().score(truth, found), expect_scores(truth, found, SIZES, LIMITS))


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
def test_equal_to_pycocotools_on_real_annotations():
    names = dict(enumerate(["Person", "Car", "Bicycle", "OtherVehicle"]))
    truth = read_coco_truth(REAL_DATA / "hituav" / "annotations" / "instances_val.json", names)
    found = noisy_detections(truth, 0, extra=10, noise=2)
    assert_same_scores(AiTod().score(truth, found), expect_scores(truth, found, SIZES, LIMITS))


@pytest.mark.parametrize(
    ("area", "sizes"),
    [
        (0, {"vt"}),
        (63.99, {"vt"}),
        (64, {"vt", "t"}),
        (64.01, {"t"}),
        (256, {"t", "s"}),
        (1024, {"s", "m"}),
        (5000, {"m"}),
    ],
)
def test_an_object_on_a_bound_has_both_sizes_by_its_annotated_area(area, sizes):
    truth = GroundTruth([make_image("a.jpg", [[0, 0, 9, 9]], areas=[area])], {0: "a"})
    metrics = AiTod().score(truth, {"a.jpg": make_detections([[0, 0, 9, 9]])}).metrics
    assert {size for size in SIZES if metrics[f"AP_{size}"] == pytest.approx(1)} == sizes
    assert {size for size in SIZES if not np.isnan(metrics[f"AR_{size}"])} == sizes


def test_recall_at_the_numbers_of_detections():
    # 400 objects, all found exactly, in order.
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(400)]
    truth = GroundTruth([make_image("a.jpg", boxes, size=(8000, 20))], {0: "a"})
    metrics = AiTod().score(truth, {"a.jpg": make_detections(boxes)}).metrics
    assert (metrics["AR100"], metrics["AR300"], metrics["AR1500"]) == pytest.approx((0.25, 0.75, 1))
    assert metrics["AR"] == metrics["AR1500"]
