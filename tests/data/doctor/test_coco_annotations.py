"""A COCO JSON against the images and label files of its split."""

import json
from pathlib import Path

import numpy as np
import pytest

from uavdet.data.doctor.coco_annotations import covered_area, examine_annotations
from uavdet.data.doctor.images import ImageFacts
from uavdet.data.doctor.label_files import LabelFacts

NAMES = {0: "car"}


def image(name, size=(100, 50)):
    return ImageFacts(Path("/data/images/val") / name, size=size)


def labels(count):
    return LabelFacts(Path("/data/labels/val/a.txt"), rows=np.zeros((count, 5), np.float32))


def write(tmp_path, images, annotations=(), regions=()):
    content = {
        "images": [{"id": i, "file_name": n, "width": w, "height": h} for i, (n, w, h) in enumerate(images)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": 7, "bbox": box, "iscrowd": crowd}
            for k, (i, box, crowd) in enumerate(annotations)
        ],
        "categories": [{"id": 7, "name": "car"}],
        "ignore_regions": [{"image_id": i, "bbox": box} for i, box in regions],
    }
    file = tmp_path / "val.json"
    file.write_text(json.dumps(content))
    return file


def test_nothing_agrees_with_nothing(tmp_path):
    findings, ignore = examine_annotations("val", write(tmp_path, []), NAMES, [], [])
    assert findings == []
    assert (ignore.regions, ignore.images, ignore.area_share) == (0, 0, 0.0)


def test_what_agrees_has_no_finding_and_crowds_are_no_objects(tmp_path):
    file = write(tmp_path, [("a.jpg", 100, 50)], [(0, [1, 1, 5, 5], 0), (0, [1, 1, 50, 50], 1)])
    findings, _ = examine_annotations("val", file, NAMES, [image("a.jpg")], [labels(1)])
    assert findings == []


def test_every_difference_is_named(tmp_path):
    file = write(
        tmp_path,
        [("a.jpg", 50, 100), ("b.jpg", 100, 50), ("gone.jpg", 100, 50)],
        [(0, [1, 1, 5, 5], 0), (1, [1, 1, 5, 0], 0)],
    )
    images = [image("a.jpg"), image("b.jpg"), image("new.jpg")]
    findings, _ = examine_annotations("val", file, NAMES, images, [labels(3), labels(1), labels(0)])
    told = {(finding.kind, finding.stops) for finding in findings}
    assert told == {
        ("image size differs", True),
        ("numbers of objects differ", False),
        ("box outside in annotations", False),
        ("annotated image missing", False),
        ("image not in annotations", True),
    }
    texts = "\n".join(map(str, findings))
    assert "image 'a.jpg' is 50x100 pixels there; the file is 100x50" in texts
    assert "image 'a.jpg' has 1 objects there, 3 in /data/labels/val/a.txt" in texts
    assert "image 'b.jpg' has 1 boxes without area inside the image" in texts
    assert "lists 'gone.jpg'" in texts
    assert "new.jpg is not among the images of" in texts


@pytest.mark.parametrize("content", [None, "no json", "{}"])
def test_an_unreadable_json_stops(tmp_path, content):
    file = tmp_path / "val.json"
    if content is not None:
        file.write_text(content)
    findings, ignore = examine_annotations("val", file, NAMES, [image("a.jpg")], [labels(1)])
    assert ignore is None
    assert len(findings) == 1
    assert findings[0].stops
    assert str(file) in str(findings[0])


def test_ignore_regions_are_counted_and_measured(tmp_path):
    file = write(
        tmp_path,
        [("a.jpg", 100, 50), ("b.jpg", 100, 50)],
        regions=[(0, [0, 0, 10, 10]), (0, [5, 0, 10, 10]), (0, [95, 40, 50, 50])],
    )
    _, ignore = examine_annotations("val", file, NAMES, [image("a.jpg"), image("b.jpg")], [labels(0), labels(0)])
    assert (ignore.regions, ignore.images) == (3, 1)
    assert ignore.area_share == pytest.approx((15 * 10 + 5 * 10) / (2 * 100 * 50))


def test_covered_area_equals_that_of_a_pixel_mask():
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 15):
        corner = rng.integers(-10, 60, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(0, 30, (count, 2))], 1)
        mask = np.zeros((40, 60), bool)
        for left, top, right, bottom in np.clip(boxes, 0, 1000):
            mask[top:bottom, left:right] = True
        assert covered_area(boxes.astype(float), (60, 40)) == mask.sum()
    assert covered_area(np.array([[np.nan, 0, 5, 5]]), (60, 40)) == 0


@pytest.mark.parametrize(
    ("boxes", "regions", "kind", "stops", "text"),
    [
        ([], [[1, 1, float("nan"), 5]], "bad box in annotations", True, "1 ignore regions that are inverted or not"),
        ([[1, 1, -5, 5], [1, 1, 5, 5]], [], "bad box in annotations", True, "1 boxes that are inverted or not finite"),
        ([[200, 1, 5, 5], [1, 1, 5, 5]], [], "box outside in annotations", False, "1 boxes without area inside"),
    ],
)
def test_boxes_that_are_none_are_named(tmp_path, boxes, regions, kind, stops, text):
    file = write(tmp_path, [("a.jpg", 100, 50)], [(0, box, 0) for box in boxes], [(0, region) for region in regions])
    findings, _ = examine_annotations("val", file, NAMES, [image("a.jpg")], [labels(len(boxes))])
    assert [(finding.kind, finding.stops) for finding in findings] == [(kind, stops)]
    assert text in str(findings[0])


@pytest.mark.parametrize(("split", "stops"), [("train", False), ("val", True)])
def test_an_image_without_annotations_stops_scoring_alone(tmp_path, split, stops):
    findings, _ = examine_annotations(split, write(tmp_path, []), NAMES, [image("a.jpg")], [labels(0)])
    assert [(finding.kind, finding.stops) for finding in findings] == [("image not in annotations", stops)]
