"""COCO's protocols against pycocotools, on random and on real annotations."""

import json

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
from uavdet.errors import DataError
from uavdet.evaluation.coco import Coco, Coco500, coco_results, score_coco
from uavdet.evaluation.truth import (
    GroundTruth,
    ImageDetections,
    match_names,
    read_coco_truth,
    truth_from_labels,
)

pytest.importorskip("pycocotools")

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
RULES = [(Coco(), (1, 10, 100), False), (Coco500(), (1, 10, 100, 500), True)]


@pytest.mark.parametrize("truth", [GroundTruth([], {0: "a"}), GroundTruth([make_image("a.jpg")], {0: "a"})])
def test_no_objects_score_nothing(truth):
    for protocol in (Coco(), Coco500()):
        score = protocol.score(truth, {})
        assert all(np.isnan(value) for value in score.metrics.values())
        assert score.per_class == {}
        assert score.as_row()[f"{protocol.name}/AP"] == -1


def test_objects_without_detections_score_zero():
    truth = GroundTruth([make_image("a.jpg", [[0, 0, 10, 10]])], {0: "a", 1: "b"})
    row = score_coco(truth, {}).as_row()
    assert row["coco/AP"] == row["coco/AP50"] == row["coco/AP_small"] == row["coco/AR"] == 0
    assert row["coco/AP_large"] == -1
    assert score_coco(truth, {"a.jpg": make_detections()}).metrics["AP"] == 0


def test_perfect_detections_score_one():
    truth = random_truth(crowds=False)
    found = {i.name: ImageDetections(i.boxes, np.ones(len(i.boxes)), i.classes) for i in truth.images}
    score = score_coco(truth, found)
    assert score.protocol == "coco"
    assert score.metrics["AP"] == pytest.approx(1.0)
    assert score.per_class["a"]["AP50"] == pytest.approx(1.0)


@pytest.mark.parametrize(("protocol", "limits", "regions"), RULES, ids=["coco", "coco500"])
@pytest.mark.parametrize("whole", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("crowds", [False, True])
def test_equal_to_pycocotools_on_random_boxes(protocol, limits, regions, whole, seed, crowds):
    truth = random_truth(seed=seed, crowds=crowds, whole=whole)
    found = noisy_detections(truth, seed, whole=whole, missing=("3.jpg",))
    assert_same_scores(protocol.score(truth, found), expect_scores(truth, found, SIZES, limits, regions))


@pytest.mark.parametrize(("protocol", "limits", "regions"), RULES, ids=["coco", "coco500"])
def test_equal_to_pycocotools_beyond_the_most_detections(protocol, limits, regions):
    truth = random_truth(images=2, most=700, seed=7, sides=(4, 30))
    assert len(truth.images[0].boxes) > 500
    found = noisy_detections(truth, 5, extra=1500)
    assert_same_scores(protocol.score(truth, found), expect_scores(truth, found, SIZES, limits, regions))


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
@pytest.mark.parametrize(("protocol", "limits", "regions"), RULES, ids=["coco", "coco500"])
def test_equal_to_pycocotools_on_real_annotations(protocol, limits, regions):
    names = dict(enumerate(["Person", "Car", "Bicycle", "OtherVehicle"]))
    truth = read_coco_truth(REAL_DATA / "hituav" / "annotations" / "instances_val.json", names)
    assert len(truth.images) == 100
    assert truth.counts.sum() == 967
    found = noisy_detections(truth, 0, extra=10, noise=2)
    assert_same_scores(protocol.score(truth, found), expect_scores(truth, found, SIZES, limits, regions))


def test_a_hundred_detections_of_a_class_count_and_500_in_crowded_images():
    # 200 objects in a row, all found exactly: 100 of 200 reach recall .5, at 51 of 101 points of recall.
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(200)]
    truth = GroundTruth([make_image("a.jpg", boxes, size=(4000, 20))], {0: "a"})
    found = {"a.jpg": make_detections(boxes)}
    assert Coco().score(truth, found).metrics["AP"] == pytest.approx(51 / 101)
    assert Coco().score(truth, found).metrics["AR"] == pytest.approx(0.5)
    assert Coco500().score(truth, found).metrics["AP"] == pytest.approx(1)
    assert Coco500().score(truth, found).metrics["AR10"] == pytest.approx(0.05)


def test_ignore_regions_count_in_coco500_alone():
    # A better-scored detection inside a region is wrong for COCO: precision 1/2 at every recall.
    truth = GroundTruth([make_image("a.jpg", [[0, 0, 10, 10]], regions=[[100, 100, 200, 200]])], {0: "a"})
    found = {"a.jpg": make_detections([[120, 120, 150, 150], [0, 0, 10, 10]])}
    assert Coco().score(truth, found).metrics["AP"] == pytest.approx(0.5)
    assert Coco500().score(truth, found).metrics["AP"] == pytest.approx(1)


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
