"""Arms and their differences: pairing, seeds, and what cannot be resampled."""

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.evaluation.coco import Coco
from uavdet.evaluation.comparison import compare_arms, measure_difference, seed_deviation
from uavdet.evaluation.protocol import Protocol, Score
from uavdet.evaluation.run_files import ValidatedRun
from uavdet.evaluation.truth import GroundTruth


class Fixed(Protocol):
    """A protocol that cannot be resampled."""

    rules = "fixed"

    def score(self, truth, detections):
        return Score("fixed", {"AP": 0.25})


def run_of(truth, found, recorded=None):
    return ValidatedRun(None, {"protocols": recorded or {}}, truth, found, "")


TRUTH = random_truth(images=10, most=12, seed=1)


def arm(*seeds, noise=3.0):
    return [run_of(TRUTH, noisy_detections(TRUTH, seed, noise=noise)) for seed in seeds]


def by_metric(comparison, arm_name="b"):
    return {d.metric: d for d in comparison.differences if d.arm == arm_name}


def test_identical_runs_differ_by_exactly_nothing():
    comparison = compare_arms(Coco(), {"a": arm(0), "b": arm(0)}, samples=50, seed=0)
    assert len(comparison.differences) == 10
    for difference in comparison.differences:
        assert (difference.value, difference.low, difference.high, difference.below_zero) == (0, 0, 0, 0)


def test_values_are_those_of_the_protocol():
    runs = arm(0, 1)
    comparison = compare_arms(Coco(), {"a": runs, "b": arm(2)}, samples=10, seed=0)
    scores = [Coco().score(TRUTH, run.detections).metrics for run in runs]
    for name, values in comparison.values["a"].items():
        np.testing.assert_allclose(values, [score[name] for score in scores], atol=1e-12)
    row = comparison.as_dict()["arms"]["a"]["AP"]
    first, second = (score["AP"] for score in scores)
    assert row["mean"] == pytest.approx((first + second) / 2)
    assert row["std"] == pytest.approx(abs(first - second) / np.sqrt(2))
    assert np.isnan(seed_deviation(np.array([0.5])))


def test_a_better_arm_lies_above_zero_and_the_same_seed_gives_the_same_interval():
    arms = {"a": arm(0, noise=6.0), "b": arm(0, noise=0.5)}
    difference = by_metric(compare_arms(Coco(), arms, samples=100, seed=0))["AP"]
    assert 0 < difference.low < difference.value < difference.high
    assert difference.below_zero == 0
    assert difference.samples == 100
    assert by_metric(compare_arms(Coco(), arms, samples=100, seed=0))["AP"] == difference
    assert by_metric(compare_arms(Coco(), arms, samples=100, seed=1))["AP"] != difference


def test_intervals_of_single_runs_are_percentiles_of_paired_samples():
    from uavdet.evaluation.bootstrap import draw_image_weights

    first, second = arm(0), arm(1)
    weights = draw_image_weights(len(TRUTH.images), 200, 4)
    metrics = [Coco().resample(run.truth, run.detections, weights)["AP50"] for run in (*first, *second)]
    low, high = np.percentile(metrics[1] - metrics[0], [2.5, 97.5])
    difference = by_metric(compare_arms(Coco(), {"a": first, "b": second}, samples=200, seed=4))["AP50"]
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=1e-12)
    assert difference.below_zero == pytest.approx((metrics[1] < metrics[0]).mean())


def test_several_seeds_widen_the_interval_by_their_spread():
    """Runs that find everything or nothing: the mean over two drawn runs is 0, 1/2 or 1, whatever the images are."""
    box = [[10, 10, 40, 40]]
    truth = GroundTruth([make_image(f"{i}.jpg", box) for i in range(6)], {0: "a"})
    all_found = run_of(truth, {f"{i}.jpg": make_detections(box) for i in range(6)})
    arms = {"a": [run_of(truth, {})], "b": [all_found, run_of(truth, {})]}
    difference = by_metric(compare_arms(Coco(), arms, samples=400, seed=0))["AP"]
    assert difference.value == pytest.approx(0.5)
    assert (difference.low, difference.high) == pytest.approx((0, 1))


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        ("a", []),
        ("abc", [("a", "b"), ("a", "c"), ("b", "c")]),
        ("abcde", [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")]),
    ],
)
def test_few_arms_are_compared_in_all_pairs_and_many_with_the_first(names, pairs):
    runs = arm(0)
    comparison = compare_arms(Coco(), dict.fromkeys(names, runs), samples=3, seed=0)
    assert list(dict.fromkeys((d.baseline, d.arm) for d in comparison.differences)) == pairs


def test_a_size_without_objects_has_no_interval():
    truth = GroundTruth([make_image("a.jpg", [[0, 0, 9, 9]])], {0: "a"})
    arms = {"a": [run_of(truth, {})], "b": [run_of(truth, {})]}
    difference = by_metric(compare_arms(Coco(), arms, samples=5, seed=0))["AP_large"]
    assert np.isnan([difference.value, difference.low, difference.high]).all()
    assert difference.samples == 0


def test_samples_without_objects_are_left_out():
    values, others = np.array([0.5, np.nan, 0.2, 0.4]), np.array([0.1, np.nan, 0.3, 0.3])
    difference = measure_difference("b", "a", "AP", values, others)
    assert difference.samples == 2
    assert difference.below_zero == 0.5
    assert difference.value == pytest.approx(0.4)


def test_other_protocols_give_recorded_values_without_interval():
    Fixed.name = "fixed"
    recorded = {"fixed": {"metrics": {"AP": None}}}
    arms = {"a": [run_of(TRUTH, {}, recorded)], "b": arm(0)}
    comparison = compare_arms(Fixed(), arms, samples=5, seed=0)
    assert not comparison.resampled
    assert comparison.differences == []
    assert np.isnan(comparison.values["a"]["AP"]).all()
    assert comparison.values["b"]["AP"].tolist() == [0.25]
