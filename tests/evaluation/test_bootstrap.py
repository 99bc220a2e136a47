"""Bootstrap samples against pycocotools on sets in which images really stand several times."""

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import (
    expect_scores,
    make_detections,
    make_image,
    noisy_detections,
    random_truth,
)
from uavdet.evaluation.aitod import AiTod
from uavdet.evaluation.bootstrap import draw_image_weights, sample_precision
from uavdet.evaluation.coco import Coco, Coco500
from uavdet.evaluation.tinyperson import TinyPerson
from uavdet.evaluation.truth import GroundTruth
from uavdet.evaluation.ultralytics import UltralyticsProtocol
from uavdet.evaluation.visdrone import VisDrone


def repeat_images(truth, found, weights):
    """Return the truth and the detections with image i standing weights[i] times, copies side by side."""
    copies = [(image, f"{image.name}-{n}") for image, w in zip(truth.images, weights, strict=True) for n in range(w)]
    images = [replace(image, name=name) for image, name in copies]
    return replace(truth, images=images), {name: found[i.name] for i, name in copies if i.name in found}


@pytest.mark.parametrize("truth", [GroundTruth([make_image("a.jpg")], {0: "a"})])
@pytest.mark.parametrize("found", [{}, {"a.jpg": make_detections([[0, 0, 9, 9]])}])
def test_without_objects_there_is_no_precision(truth, found):
    sampled = sample_precision(Coco().match(truth, found), np.ones((3, 1), int))
    assert np.isnan(sampled.precision).all()
    assert np.isnan(sampled.recall).all()


def test_without_detections_precision_is_zero_where_there_are_objects():
    truth = GroundTruth([make_image("a.jpg", [[0, 0, 9, 9]]), make_image("b.jpg")], {0: "a"})
    sampled = sample_precision(Coco().match(truth, {}), np.array([[1, 1], [0, 2]]))
    assert sampled.precision[0, 0].tolist() == sampled.recall[0, 0].tolist() == [0] * 10
    assert np.isnan(sampled.precision[1]).all()
    assert np.isnan(sampled.precision[:, 3]).all()  # no large object


def test_draws_are_as_many_images_as_there_are_and_follow_the_seed():
    weights = draw_image_weights(7, 50, seed=3)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    assert (weights == draw_image_weights(7, 50, seed=3)).all()
    assert (weights != draw_image_weights(7, 50, seed=4)).any()


@pytest.mark.parametrize("protocol", [Coco(), Coco500(), AiTod()], ids=lambda p: p.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_samples_are_scores_of_repeated_images(protocol, seed):
    pytest.importorskip("pycocotools")
    truth = random_truth(images=9, most=14, seed=seed, sides=(4, 120))
    found = noisy_detections(truth, seed, extra=12, missing=("3.jpg",))
    weights = np.concatenate([np.ones((1, 9), int), draw_image_weights(9, 3, seed)])
    sampled = protocol.resample(truth, found, weights)
    for row, drawn in enumerate(weights):
        expected, _ = expect_scores(
            *repeat_images(truth, found, drawn), protocol.areas, protocol.limits, protocol.regions_as_crowd
        )
        for name, values in sampled.items():
            np.testing.assert_allclose(values[row], expected[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("protocol", [VisDrone(), TinyPerson(), Coco500()], ids=lambda p: p.name)
@pytest.mark.parametrize("seed", range(3))
def test_samples_of_every_protocol_are_its_scores_of_repeated_images(protocol, seed):
    truth = random_truth(images=9, most=14, seed=seed, sides=(4, 60))
    regions = np.array([[20.0, 20, 90, 70]])
    marked = [replace(im, ignore_regions=regions, dense=i == 4) for i, im in enumerate(truth.images)]
    truth = replace(truth, images=marked)
    found = noisy_detections(truth, seed, extra=12, missing=("3.jpg",))
    weights = np.concatenate([np.ones((1, 9), int), draw_image_weights(9, 4, seed)])
    sampled = protocol.resample(truth, found, weights)
    for row, drawn in enumerate(weights):
        expected = protocol.score(*repeat_images(truth, found, drawn)).metrics
        for name, values in sampled.items():
            np.testing.assert_allclose(values[row], expected[name], rtol=0, atol=1e-9, err_msg=name)


def test_ultralytics_is_not_resampled():
    assert UltralyticsProtocol().resample(GroundTruth([], {0: "a"}), {}, np.ones((2, 0))) is None


def test_chunks_of_samples_change_nothing(monkeypatch):
    truth = random_truth(seed=5)
    matching = Coco().match(truth, noisy_detections(truth, 5))
    weights = draw_image_weights(len(truth.images), 11, 0)
    whole = sample_precision(matching, weights)
    monkeypatch.setattr("uavdet.evaluation.bootstrap._CHUNK", 70)
    np.testing.assert_array_equal(sample_precision(matching, weights).precision, whole.precision)


def single_object_images(found):
    """Return one object in each image, detected where `found` (I,) says so, nothing false, and its matching."""
    box = [[10, 10, 30, 30]]
    truth = GroundTruth([make_image(f"{i}.jpg", box) for i in range(len(found))], {0: "a"})
    detections = {f"{i}.jpg": make_detections(box) for i in np.flatnonzero(found)}
    return truth, detections


def test_without_false_detections_precision_counts_the_recalls_that_are_reached():
    """All k of n up to 150, so that every way to round k / n beside a recall point occurs."""
    matching = Coco().match(*single_object_images(np.array([True, False])))
    weights = np.array([(k, n - k) for n in range(1, 151) for k in range(n + 1)])
    recall = weights[:, 0] / weights.sum(1)
    reached = [(np.linspace(0, 1, 101) <= value).mean() if value else 0 for value in recall]
    sampled = sample_precision(matching, weights)
    np.testing.assert_allclose(sampled.precision[:, 0, 0], reached, atol=1e-12)
    np.testing.assert_allclose(sampled.recall[:, 0, 0], recall, atol=1e-12)


def test_intervals_cover_a_known_difference_as_often_as_they_should():
    """Two detectors that find 70 % and 60 % of objects, each by itself: recall differs by 10 points.

    Of 150 experiments, 95 % intervals should hold it in 142.5; 3 standard errors are 8.
    """
    generator, images, covered = np.random.default_rng(0), 100, 0
    truth, all_found = single_object_images(np.ones(images, bool))
    matching = Coco().match(truth, all_found)
    for experiment in range(150):
        weights = draw_image_weights(images, 300, experiment)
        recalls = []
        for share in (0.7, 0.6):
            kept = generator.random(images)[matching.image] < share
            part = replace(matching, hit=matching.hit[:1, :1] & kept, ignored=matching.ignored[:1, :1] | ~kept)
            recalls.append(sample_precision(replace(part, objects=part.objects[:1]), weights).recall[:, 0, 0])
        low, high = np.percentile(recalls[0] - recalls[1], [2.5, 97.5])
        covered += low <= 0.1 <= high
    assert 134 <= covered <= 149
