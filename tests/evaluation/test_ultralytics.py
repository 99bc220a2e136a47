"""Ultralytics' number against its own validator, on random boxes and on a real validation."""

import numpy as np
import pytest
import torch

from tests.realdata import REAL_DATA
from uavdet.errors import DataError
from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth, read_coco_truth

NAMES = {0: "person", 1: "car", 2: "boat"}


def score(truth, detections):
    return find_protocols(["ultralytics"])[0].score(truth, detections)


def annotated(name, boxes, classes=None, crowd=None, size=(640, 512), regions=()):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    classes = np.zeros(len(boxes), dtype=np.int64) if classes is None else np.array(classes)
    crowd = np.zeros(len(boxes), dtype=bool) if crowd is None else np.array(crowd, dtype=bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return ImageTruth(name, size, boxes, classes, areas, crowd, np.array(regions, dtype=np.float64).reshape(-1, 4))


def detected(boxes, scores, classes=None):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    classes = np.zeros(len(boxes), dtype=np.int64) if classes is None else np.array(classes)
    return ImageDetections(boxes, np.array(scores, dtype=np.float64), classes)


def row_of_boxes(count):
    """Return boxes of 4 x 4 pixels apart from each other, 100 a row."""
    corner = np.array([(6 * (i % 100), 6 * (i // 100)) for i in range(count)], dtype=np.float64)
    return np.concatenate([corner, corner + 4], 1)


# --- cases worked by hand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [[], [annotated("a.jpg", [])], [annotated("a.jpg", [[1, 1, 9, 9]], crowd=[True])]])
def test_without_objects_there_is_no_number(images):
    found = {image.name: detected([[1, 1, 9, 9]], [0.9]) for image in images}
    result = score(GroundTruth(images, NAMES), found)
    assert all(np.isnan(value) for value in result.metrics.values())
    assert result.per_class == {}
    assert result.as_row()["ultralytics/AP"] == -1


@pytest.mark.parametrize("found", [{}, {"a.jpg": detected([], [])}, {"a.jpg": detected([[50, 50, 60, 60]], [0.9])}])
def test_without_hits_everything_is_zero(found):
    result = score(GroundTruth([annotated("a.jpg", [[1, 1, 9, 9]])], NAMES), found)
    assert list(result.metrics) == ["P", "R", "AP50", "AP"]
    assert all(value == 0 for value in result.metrics.values())
    assert list(result.per_class) == ["person"]


def test_perfect_detections_score_995():
    # Its area is a trapezoid under 101 points, of which the last, at recall 1, reads 0: 99.5 steps of 1/100.
    truth = GroundTruth([annotated("a.jpg", [[1, 1, 9, 9], [20, 20, 40, 40]], [0, 2])], NAMES)
    result = score(truth, {"a.jpg": detected([[1, 1, 9, 9], [20, 20, 40, 40]], [0.9, 0.8], [0, 2])})
    assert result.metrics == pytest.approx({"P": 1, "R": 1, "AP50": 0.995, "AP": 0.995}, abs=1e-9)
    assert list(result.per_class) == ["person", "boat"]


def test_crowds_and_ignored_regions_are_background():
    image = annotated("a.jpg", [[1, 1, 9, 9], [20, 20, 40, 40]], crowd=[False, True], regions=[[100, 100, 200, 200]])
    right, crowd, region = [1, 1, 9, 9], [20, 20, 40, 40], [110, 110, 120, 120]
    found = {"a.jpg": detected([crowd, region, right], [0.9, 0.8, 0.7])}
    # Precision is 1/3 at recall 1; by trapezoids 1/3 * 0.995.
    assert score(GroundTruth([image], NAMES), found).metrics["AP50"] == pytest.approx(0.995 / 3, abs=1e-6)


def test_detections_count_above_a_confidence_and_the_best_300_of_an_image():
    truth = GroundTruth([annotated("a.jpg", [[600, 500, 610, 510]])], NAMES)
    hit = [[600, 500, 610, 510]]
    assert score(truth, {"a.jpg": detected(hit, [0.0011])}).metrics["AP"] > 0.99
    assert score(truth, {"a.jpg": detected(hit, [0.001])}).metrics["AP"] == 0
    for wrong, found in [(299, True), (300, False)]:
        boxes = np.concatenate([hit, row_of_boxes(wrong)])
        result = score(truth, {"a.jpg": detected(boxes, [0.1, *[0.9] * wrong])})
        assert (result.metrics["AP"] > 0) is found


def test_images_of_more_objects_raise_the_limit():
    boxes = row_of_boxes(310)
    result = score(
        GroundTruth([annotated("a.jpg", boxes)], NAMES), {"a.jpg": detected(boxes, np.linspace(0.9, 0.1, 310))}
    )
    assert result.metrics["AP"] == pytest.approx(0.995, abs=1e-6)


def test_objects_are_those_that_label_files_hold():
    # One reaches out of the image and is clipped, one stands twice, one lies outside.
    boxes = [[-5, 10, 5, 20], [50, 50, 60, 60], [50, 50, 60, 60], [700, 10, 720, 20]]
    found = {"a.jpg": detected([[0, 10, 5, 20], [50, 50, 60, 60]], [0.9, 0.8])}
    result = score(GroundTruth([annotated("a.jpg", boxes)], NAMES), found)
    assert result.metrics == pytest.approx({"P": 1, "R": 1, "AP50": 0.995, "AP": 0.995}, abs=1e-9)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"b.jpg": detected([], [])}, "'b.jpg'"),
        ({"a.jpg": detected([[1, 1, 9, np.nan]], [0.5])}, "'a.jpg'.* not finite"),
        ({"a.jpg": detected([[1, 1, 9, 9]], [np.inf])}, "'a.jpg'.* not finite"),
        ({"a.jpg": detected([[1, 1, 9, 9]], [0.5], [3])}, "'a.jpg'.* class"),
    ],
)
def test_what_cannot_be_scored_is_refused(found, message):
    with pytest.raises(DataError, match=message):
        score(GroundTruth([annotated("a.jpg", [[1, 1, 9, 9]])], NAMES), found)


# --- against its validator ------------------------------------------------------------------------------------------


def random_scene(seed):
    rng = np.random.default_rng(seed)
    truths, found = [], {}
    for number in range(12):
        count, extra = int(rng.integers(0, 40)), int(rng.integers(0, 300))
        corner, side = rng.uniform(0, 400, (count, 2)), rng.uniform(4, 100, (count, 2))
        boxes = np.concatenate([corner, corner + side], 1)
        classes = rng.choice(3, count, p=[0.7, 0.29, 0.01])
        truths.append(annotated(f"{number}.jpg", boxes, classes, rng.random(count) < 0.1))
        corner = rng.uniform(0, 400, (extra, 2))
        far = np.concatenate([corner, corner + rng.uniform(4, 100, (extra, 2))], 1)
        near = boxes + rng.uniform(-2, 2, boxes.shape)
        scores = rng.random(count + extra) ** 4
        if number:
            found[f"{number}.jpg"] = detected(
                np.concatenate([near, far]), scores, np.concatenate([classes, rng.integers(0, 3, extra)])
            )
    return GroundTruth(truths, NAMES), found


def validate(truth, found, folder):
    """Return what Ultralytics' validator says, fed with detections as its own postprocessing would hand them over."""
    from ultralytics.models.yolo.detect import DetectionValidator

    validator = DetectionValidator(save_dir=folder, args={"plots": False})
    validator.metrics.names = truth.names
    for image in truth.images:
        objects = {
            "cls": torch.tensor(image.classes[~image.crowd], dtype=torch.float32),
            "bboxes": torch.tensor(image.boxes[~image.crowd], dtype=torch.float32),
        }
        given = found.get(image.name, detected([], []))
        scores = torch.tensor(given.scores, dtype=torch.float32)
        order = scores.argsort(descending=True)
        order = order[scores[order] > validator.args.conf][: validator.args.max_det]
        rows = {
            "cls": torch.tensor(given.classes, dtype=torch.float32)[order],
            "bboxes": torch.tensor(given.boxes, dtype=torch.float32)[order],
            "conf": scores[order],
        }
        validator.metrics.update_stats(
            {
                **validator._process_batch(rows, objects),
                "target_cls": objects["cls"].numpy(),
                "target_img": objects["cls"].unique().numpy(),
                "conf": rows["conf"].numpy(),
                "pred_cls": rows["cls"].numpy(),
                "im_name": image.name,
            }
        )
    validator.metrics.process()
    return validator.metrics


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_validator_on_random_boxes(seed, tmp_path):
    truth, found = random_scene(seed)
    expected, result = validate(truth, found, tmp_path), score(truth, found)
    assert list(result.metrics.values()) == pytest.approx(expected.mean_results(), abs=1e-6)
    assert 0.02 < result.metrics["AP"] < 0.98
    for row, index in enumerate(expected.ap_class_index):
        given = list(result.per_class[NAMES[int(index)]].values())
        assert given == pytest.approx(expected.class_result(row), abs=1e-6)


def unclipped_boxes(validator, boxes, batch, index):
    (height, width), (input_height, input_width) = batch["ori_shape"][index], batch["img"].shape[2:]
    return boxes * boxes.new_tensor([width / input_width, height / input_height] * 2)


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
def test_equal_to_a_real_validation(tmp_path, monkeypatch):
    from uavdet import UAVDet
    from uavdet.engine.validator import StretchValidator
    from uavdet.evaluation.predictions import read_predictions

    # Ultralytics matches boxes before they are clipped to the image.
    monkeypatch.setattr(StretchValidator, "original_boxes", unclipped_boxes)
    options = {"data": REAL_DATA / "hituav" / "data.yaml", "fraction": 20, "save_json": True, "device": "cpu"}
    metrics = UAVDet().val(**options, project=tmp_path, name="val", plots=False, verbose=False)
    names = dict(enumerate(["Person", "Car", "Bicycle", "OtherVehicle"]))
    truth = read_coco_truth(REAL_DATA / "hituav" / "annotations" / "instances_val.json", names)
    found = read_predictions(f"{metrics['save_dir']}/predictions.json", truth)
    assert len(found) == 20
    truth.images = [image for image in truth.images if image.name in found]
    result = score(truth, found)
    # Its pixels are those of the network input, and its objects come from label files of six decimals.
    for ours, theirs in [("AP", "mAP50-95"), ("AP50", "mAP50"), ("P", "precision"), ("R", "recall")]:
        assert result.metrics[ours] == pytest.approx(metrics[f"metrics/{theirs}(B)"], abs=5e-4), ours
