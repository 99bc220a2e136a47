"""Detections in the forms of other libraries, against these libraries."""

import builtins
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from uavdet.errors import MissingDependencyError, UsageError
from uavdet.runtime import Detections

NAMES = {0: "person", 1: "car", 2: "bus"}


def detections(count):
    rng = np.random.default_rng(count)
    corner, side = rng.uniform(0, 400, (count, 2)), rng.uniform(1, 100, (count, 2))
    scores = np.sort(rng.random(count))[::-1]
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32).reshape(-1, 4)
    return Detections(boxes, scores.astype(np.float32), rng.integers(0, 3, count), NAMES)


def test_json_holds_plain_values():
    found = Detections(np.array([[1, 2, 3.456, 4]], np.float32), np.array([0.123456], np.float32), np.array([2]), NAMES)
    row = {"class": 2, "name": "bus", "confidence": 0.12346, "box": {"x1": 1.0, "y1": 2.0, "x2": 3.46, "y2": 4.0}}
    assert json.loads(json.dumps(found.to_json())) == [row]


def test_a_class_without_a_name_is_called_by_its_id():
    found = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([7]), NAMES)
    assert found.class_names == ["7"]


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_coco_rows_are_read_by_pycocotools(count):
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {
        "images": [{"id": 5, "width": 640, "height": 512}],
        "annotations": [],
        "categories": [{"id": category, "name": name} for category, name in NAMES.items()],
    }
    coco.createIndex()
    found = detections(count)
    rows = found.to_coco(5)
    assert json.loads(json.dumps(rows)) == rows
    if not count:
        assert rows == []
        return
    loaded = coco.loadRes(rows)
    read = loaded.loadAnns(loaded.getAnnIds(imgIds=[5]))
    boxes = np.array([row["bbox"] for row in read])
    np.testing.assert_allclose(boxes, np.c_[found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], rtol=1e-6)
    assert [row["category_id"] for row in read] == found.classes.tolist()
    np.testing.assert_array_equal([row["score"] for row in read], found.scores)


def test_coco_rows_take_the_categories_of_the_annotations():
    found = detections(20)
    rows = found.to_coco("a.jpg", {0: 10, 1: 20, 2: 30})
    assert [row["category_id"] for row in rows] == (10 * (found.classes + 1)).tolist()
    with pytest.raises(UsageError, match="lacks class 1"):
        found.to_coco("a.jpg", {0: 10, 2: 30})


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_results_are_those_of_ultralytics(count):
    from ultralytics.engine.results import Results

    found, image = detections(count), np.zeros((512, 640, 3), np.uint8)
    results = found.to_results(image, "a.jpg")
    assert isinstance(results, Results)
    assert results.orig_shape == (512, 640)
    assert results.path == "a.jpg"
    np.testing.assert_array_equal(results.boxes.xyxy.numpy(), found.boxes)
    np.testing.assert_array_equal(results.boxes.conf.numpy(), found.scores)
    np.testing.assert_array_equal(results.boxes.cls.numpy().astype(int), found.classes)
    assert [results.names[int(category)] for category in results.boxes.cls] == found.class_names
    assert results.plot().shape == image.shape


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_supervision_reads_the_same_from_ultralytics_and_from_us(count):
    supervision = pytest.importorskip("supervision")
    found = detections(count)
    ours = found.to_supervision()
    theirs = supervision.Detections.from_ultralytics(found.to_results(np.zeros((512, 640, 3), np.uint8)))
    np.testing.assert_array_equal(ours.xyxy, theirs.xyxy)
    np.testing.assert_array_equal(ours.confidence, theirs.confidence)
    np.testing.assert_array_equal(ours.class_id, theirs.class_id)
    np.testing.assert_array_equal(ours.data["class_name"], theirs.data["class_name"])
    assert len(ours[ours.confidence > 0.5]) == (found.scores > 0.5).sum()
    annotated = supervision.BoxAnnotator().annotate(np.zeros((512, 640, 3), np.uint8), ours)
    assert bool(annotated.any()) == bool(count)


@pytest.mark.parametrize(
    ("method", "absent", "message"),
    [
        (lambda found: found.to_supervision(), "supervision", r"supervision is not installed.*uavdet\[video\]"),
        (lambda found: found.to_results(np.zeros((4, 4, 3), np.uint8)), "torch", r"torch is not.*uavdet\[train\]"),
        (
            lambda found: found.to_results(np.zeros((4, 4, 3), np.uint8)),
            "ultralytics",
            r"ultralytics is not.*\[train\]",
        ),
    ],
)
def test_a_missing_library_is_named(method, absent, message, monkeypatch):
    import importlib.util

    real, find = builtins.__import__, importlib.util.find_spec

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == absent:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == absent else find(name, *a))
    monkeypatch.delitem(sys.modules, "uavdet.environment", raising=False)
    with pytest.raises(MissingDependencyError, match=message):
        method(detections(2))


def tracked():
    return replace(detections(3), track_ids=np.array([4, 7, 9]))


def test_rows_are_chosen_by_index_mask_and_slice():
    found = tracked()
    for rows in ([2, 0], np.array([2, 0])):
        chosen = found[rows]
        assert chosen.track_ids.tolist() == [9, 4]
        np.testing.assert_array_equal(chosen.boxes, found.boxes[[2, 0]])
        np.testing.assert_array_equal(chosen.scores, found.scores[[2, 0]])
    assert found[np.array([True, False, True])].track_ids.tolist() == [4, 9]
    assert found[1:].track_ids.tolist() == [7, 9]
    assert detections(3)[:2].track_ids is None
    for rows in ([], np.zeros(3, bool), slice(0)):
        assert found[rows].boxes.shape == (0, 4)
        assert found[rows].track_ids.shape == (0,)


def test_identities_go_into_every_form():
    found = tracked()
    assert [row["track_id"] for row in json.loads(json.dumps(found.to_json()))] == [4, 7, 9]
    assert all("track_id" not in row for row in detections(3).to_json())
    pytest.importorskip("supervision")
    assert found.to_supervision().tracker_id.tolist() == [4, 7, 9]
    assert detections(3).to_supervision().tracker_id is None
    pytest.importorskip("ultralytics")
    boxes = found.to_results(np.zeros((500, 500, 3), np.uint8)).boxes
    assert boxes.id.tolist() == [4, 7, 9]
    np.testing.assert_allclose(boxes.conf, found.scores, rtol=1e-6)
    assert boxes.cls.tolist() == found.classes.tolist()
