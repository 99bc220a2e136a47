"""COCO's protocol against pycocotools, on random and on real annotations."""

import contextlib
import io
import json

import numpy as np
import pytest

from tests.realdata import REAL_DATA
from uavdet.errors import DataError
from uavdet.evaluation.coco import coco_results, score_coco
from uavdet.evaluation.truth import (
    GroundTruth,
    ImageDetections,
    ImageTruth,
    match_names,
    read_coco_truth,
    truth_from_labels,
)

pycocotools_coco = pytest.importorskip("pycocotools.coco")
pycocotools_eval = pytest.importorskip("pycocotools.cocoeval")


def random_truth(images=12, most=30, seed=0, crowds=True):
    rng = np.random.default_rng(seed)
    truths = []
    for index in range(images):
        count = rng.integers(0, most)
        corner, side = rng.uniform(0, 400, (count, 2)), rng.uniform(2, 150, (count, 2))
        truths.append(
            ImageTruth(
                f"{index}.jpg",
                (640, 512),
                np.concatenate([corner, corner + side], 1),
                rng.integers(0, 3, count),
                side.prod(1),
                rng.random(count) < (0.1 if crowds else 0),
            )
        )
    return GroundTruth(truths, {0: "a", 1: "b", 2: "c"})


def noisy_detections(truth, seed=0, extra=20):
    rng = np.random.default_rng(seed)
    found = {}
    for image in truth.images:
        jitter = image.boxes + rng.normal(0, 3, image.boxes.shape)
        jitter[:, 2:] = np.maximum(jitter[:, 2:], jitter[:, :2] + 1)
        corner, side = rng.uniform(0, 400, (extra, 2)), rng.uniform(2, 100, (extra, 2))
        boxes = np.concatenate([jitter, np.concatenate([corner, corner + side], 1)])
        classes = np.concatenate([image.classes, rng.integers(0, 3, extra)])
        found[image.name] = ImageDetections(boxes, rng.random(len(boxes)), classes)
    return found


def pycocotools_stats(truth, found, max_detections=100):
    annotations, results = [], []
    for image_id, image in enumerate(truth.images, start=1):
        for box, category, area, crowd in zip(image.boxes, image.classes, image.areas, image.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(category) + 1,
                    "bbox": [*box[:2], *(box[2:] - box[:2])],
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
        detections = found.get(image.name)
        for row in range(0 if detections is None else len(detections.scores)):
            box = detections.boxes[row]
            results.append(
                {
                    "image_id": image_id,
                    "category_id": int(detections.classes[row]) + 1,
                    "bbox": [*box[:2], *(box[2:] - box[:2])],
                    "score": float(detections.scores[row]),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        api = pycocotools_coco.COCO()
        api.dataset = {
            "images": [{"id": i} for i in range(1, len(truth.images) + 1)],
            "annotations": annotations,
            "categories": [{"id": i + 1, "name": n} for i, n in truth.names.items()],
            "info": {},
        }
        api.createIndex()
        evaluation = pycocotools_eval.COCOeval(api, api.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _mean(values):
    return values[values > -1].mean() if (values > -1).any() else float("nan")


def assert_equal_to_pycocotools(truth, found):
    metrics = score_coco(truth, found)
    precision, recall = pycocotools_stats(truth, found)
    expected = {
        "ap": precision[..., 0, 2],
        "ap50": precision[0, ..., 0, 2],
        "ap75": precision[5, ..., 0, 2],
        "ap_small": precision[..., 1, 2],
        "ap_medium": precision[..., 2, 2],
        "ap_large": precision[..., 3, 2],
        "ar": recall[..., 0, 2],
    }
    for name, values in expected.items():
        assert getattr(metrics, name) == pytest.approx(_mean(values), abs=1e-9, nan_ok=True), name
    for index, name in truth.names.items():
        column = precision[:, :, index, 0, 2]
        if (column > -1).any():
            assert metrics.per_class[name]["AP"] == pytest.approx(_mean(column), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("crowds", [False, True])
def test_equal_to_pycocotools_on_random_boxes(seed, crowds):
    truth = random_truth(seed=seed, crowds=crowds)
    assert_equal_to_pycocotools(truth, noisy_detections(truth, seed))


def test_equal_to_pycocotools_beyond_a_hundred_detections():
    truth = random_truth(images=3, most=200, seed=5)
    assert_equal_to_pycocotools(truth, noisy_detections(truth, 5, extra=200))


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
def test_equal_to_pycocotools_on_real_annotations():
    names = dict(enumerate(["Person", "Car", "Bicycle", "OtherVehicle"]))
    truth = read_coco_truth(REAL_DATA / "hituav" / "annotations" / "instances_val.json", names)
    assert len(truth.images) == 100
    assert truth.counts.sum() == 967
    rng = np.random.default_rng(0)
    found = {}
    for image in truth.images:
        boxes = image.boxes + rng.normal(0, 2, image.boxes.shape)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        found[image.name] = ImageDetections(boxes, rng.random(len(boxes)), rng.integers(0, 4, len(boxes)))
    precision, _ = pycocotools_stats(truth, found)
    assert score_coco(truth, found).ap == pytest.approx(_mean(precision[..., 0, 2]), abs=1e-9)


def test_perfect_detections_score_one():
    truth = random_truth(crowds=False)
    found = {i.name: ImageDetections(i.boxes, np.ones(len(i.boxes)), i.classes) for i in truth.images}
    assert score_coco(truth, found).ap == pytest.approx(1.0)


def test_no_detections_score_zero_and_no_objects_score_nothing():
    truth = random_truth(crowds=False)
    assert score_coco(truth, {}).ap == 0
    empty = GroundTruth(
        [ImageTruth("a", (9, 9), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros(0, bool))], {0: "x"}
    )
    assert np.isnan(score_coco(empty, {}).ap)
    assert score_coco(empty, {}).as_row()["coco/AP"] == -1


def test_detections_of_unknown_images_are_refused():
    truth = random_truth(images=1)
    with pytest.raises(ValueError, match=r"'zzz\.jpg', which is not among"):
        score_coco(truth, {"zzz.jpg": ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))})


def coco_json(**changes):
    return {
        "images": [{"id": 7, "file_name": "a/b.jpg", "width": 100, "height": 50}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 5], "area": 99, "iscrowd": 1}],
        "categories": [{"id": 3, "name": "car"}],
        "ignore_regions": [{"image_id": 7, "bbox": [0, 0, 8, 9]}],
        **changes,
    }


def test_annotations_keep_boxes_areas_crowds_and_regions(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(coco_json()))
    image = read_coco_truth(file, {0: "person", 1: "car"}).images[0]
    assert image.name == "a/b.jpg"
    assert image.size == (100, 50)
    np.testing.assert_array_equal(image.boxes, [[10, 20, 40, 25]])
    assert image.classes.tolist() == [1]
    assert image.areas.tolist() == [99]
    assert image.crowd.tolist() == [True]
    np.testing.assert_array_equal(image.ignore_regions, [[0, 0, 8, 9]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no COCO JSON"),
        ("[]", "no COCO JSON"),
        (json.dumps(coco_json(categories=[{"id": 3, "name": "lorry"}])), "category 'lorry'"),
        (json.dumps(coco_json(annotations=[{"image_id": 8, "category_id": 3, "bbox": [0, 0, 1, 1]}])), "malformed"),
        (json.dumps(coco_json(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1]}])), "malformed"),
    ],
)
def test_bad_annotations_are_refused(tmp_path, content, message):
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_coco_truth(file, {0: "car"})


def test_missing_annotations_are_refused(tmp_path):
    with pytest.raises(DataError, match="do not exist"):
        read_coco_truth(tmp_path / "x.json", {0: "car"})


def test_labels_become_pixels():
    label = {
        "im_file": "/d/a.jpg",
        "shape": (50, 100),
        "cls": np.array([[1.0]]),
        "bboxes": np.array([[0.5, 0.5, 0.2, 0.4]]),
    }
    image = truth_from_labels([label], {0: "a", 1: "b"}).images[0]
    np.testing.assert_allclose(image.boxes, [[40, 15, 60, 35]])
    assert image.areas.tolist() == pytest.approx([400])


def test_files_are_found_by_the_longest_common_path():
    names = ["a/1.jpg", "b/1.jpg", "2.jpg", "1.jpg"]
    files = ["/x/a/1.jpg", "/x/b/1.jpg", "/y/2.jpg", "/z/1.jpg", "/z/3.jpg"]
    assert match_names(files, names) == {files[0]: "a/1.jpg", files[1]: "b/1.jpg", files[2]: "2.jpg", files[3]: "1.jpg"}


def test_results_carry_the_ids_of_the_annotations(tmp_path):
    content = {
        "images": [{"id": "x7", "file_name": "a.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 4, "name": "car"}, {"id": 9, "name": "person"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = read_coco_truth(tmp_path / "truth.json", {0: "person", 1: "car", 2: "boat"})
    found = ImageDetections(np.array([[1.5, 2.0, 5.0, 9.0]] * 3), np.array([0.5, 0.4, 0.3]), np.array([0, 1, 2]))
    rows = coco_results(truth, {"a.jpg": found})
    assert rows[0] == {"image_id": "x7", "category_id": 9, "bbox": [1.5, 2.0, 3.5, 7.0], "score": 0.5}
    assert [row["category_id"] for row in rows] == [9, 4, 3]
