"""COCO's protocols against pycocotools, on random and on real annotations."""

import contextlib
import io
import json

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import (
    assert_same_scores,
    expect_scores,
    make_detections,
    make_image,
    mean_of_valid,
    noisy_detections,
    random_truth,
)
from tests.realdata import REAL_DATA
from uavdet.errors import DataError
from uavdet.evaluation.aitod import AiTod
from uavdet.evaluation.coco import Coco, Coco500, coco_results, score_coco
from uavdet.evaluation.predictions import read_predictions
from uavdet.evaluation.truth import (
    GroundTruth,
    ImageDetections,
    check_boxes,
    check_sizes,
    match_names,
    read_coco_truth,
    select_images,
    truth_from_labels,
)

pytest.importorskip("pycocotools")
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

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


def files_with_ties(folder, decimals, seed):
    """Write annotations and results in which boxes at the borders of sizes, equal IoU and equal scores are frequent."""
    rng = np.random.default_rng(seed)
    images = [{"id": 100 + 17 * i, "file_name": f"{i}.jpg", "width": 800, "height": 800} for i in range(6)]
    objects, results = [], []
    for image in images:
        for _ in range(rng.integers(1, 40)):
            side = rng.choice([2, 4, 8, 10, 16, 32, 96], 2) + rng.choice([0, 0.5, 10.0**-decimals])
            box = [round(float(v), decimals) for v in (*rng.uniform(0, 250, 2), *side)]
            row = {"image_id": image["id"], "category_id": int(rng.choice([3, 7])), "bbox": box}
            objects.append({**row, "area": box[2] * box[3], "iscrowd": int(rng.random() < 0.1), "id": len(objects) + 1})
            for shift in rng.choice([0, 0.25, 0.5], 3):
                moved = [round(box[0] + shift * box[2], decimals), *box[1:]]
                results.append({**row, "bbox": moved, "score": round(rng.random(), 1)})
    categories = [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]
    truth = {"images": images, "annotations": objects, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize("decimals", [0, 1, 2, 3])
@pytest.mark.parametrize("protocol", [Coco(), AiTod()], ids=["coco", "aitod"])
def test_equal_to_pycocotools_on_the_same_files(tmp_path, protocol, decimals):
    # Boxes are xywh in files and xyxy here: 10.1 + 8 - 10.1 is not 8, and an area of 64 must stay 64.
    files_with_ties(tmp_path, decimals, decimals)
    truth = read_coco_truth(tmp_path / "truth.json", {0: "a", 1: "b"})
    score = protocol.score(truth, read_predictions(tmp_path / "results.json", truth))
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(api, api.loadRes(str(tmp_path / "results.json")), "bbox")
        evaluation.params.areaRng = [[0, 1e10], *map(list, protocol.areas.values())]
        evaluation.params.areaRngLbl = ["all", *protocol.areas]
        evaluation.params.maxDets = list(protocol.limits)
        evaluation.evaluate()
        evaluation.accumulate()
    for index, suffix in enumerate(["", *(f"_{size}" for size in protocol.areas)]):
        precision = mean_of_valid(evaluation.eval["precision"][..., index, -1])
        assert score.metrics[f"AP{suffix}"] == pytest.approx(precision, abs=1e-9, nan_ok=True)
        recall = mean_of_valid(evaluation.eval["recall"][..., index, -1])
        assert score.metrics[f"AR{suffix}"] == pytest.approx(recall, abs=1e-9, nan_ok=True)


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
        (
            json.dumps(coco_json(categories=[{"id": 3, "name": "car"}, {"id": 3, "name": "van"}])),
            "have the id 3",
        ),
        (json.dumps(coco_json(categories=[{"id": 3, "name": "car"}, {"id": 4, "name": "car"}])), "have the name 'car'"),
        (json.dumps(coco_json(images=[*coco_json()["images"]] * 2)), "two images have the id 7"),
        (
            json.dumps(coco_json(images=[*coco_json()["images"], {"id": 8, "file_name": "a/b.jpg"}])),
            "file_name 'a/b",
        ),
        (json.dumps(coco_json(images=[{"id": 7, "file_name": "a.jpg"}])), "malformed.*width"),
        (json.dumps(coco_json(annotations=None)), "annotations is no list"),
        (json.dumps(coco_json(annotations=[7])), "annotations entry 1 is 7, no mapping"),
        (json.dumps(coco_json(ignore_regions=[{"image_id": 7}])), "ignore_regions entry 1 has no bbox"),
        (json.dumps(coco_json(ignore_regions=[{"image_id": 9, "bbox": [0] * 4}])), "entry 1 has the image_id 9"),
        *(
            (json.dumps(coco_json(annotations=[{"image_id": 7, "category_id": 3, "bbox": [0] * 4, **change}])), message)
            for change, message in (
                ({"image_id": 8}, "annotations entry 1 has the image_id 8"),
                ({"image_id": [7]}, r"entry 1 has the image_id \[7\]"),
                ({"category_id": 9}, "entry 1 has the category_id 9"),
                ({"bbox": [0, 0, 1]}, r"entry 1 has the bbox \[0, 0, 1\]"),
                ({"bbox": ["0", 0, 1, 1]}, "entry 1 has the bbox"),
            )
        ),
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


@pytest.mark.parametrize("name", ["./a/b.jpg", "a//b.jpg", "a\\b.jpg"])
def test_names_are_those_of_files_however_they_are_written(tmp_path, name):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(coco_json(images=[{**coco_json()["images"][0], "file_name": name}])))
    truth = read_coco_truth(file, {0: "car"})
    selected, names = select_images(truth, ["/d/a/b.jpg"], file)
    assert [image.name for image in selected.images] == ["a/b.jpg"]
    assert names == {"/d/a/b.jpg": "a/b.jpg"}


def test_two_files_of_one_annotated_name_are_refused():
    truth = GroundTruth([make_image("1.jpg")], {0: "a"})
    with pytest.raises(DataError, match=r"'1\.jpg' once for /x/a/1\.jpg and /x/b/1\.jpg"):
        select_images(truth, ["/x/a/1.jpg", "/x/b/1.jpg"], "x.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": [[0, 0, np.nan, 5]]}, "object 1 of 'a.jpg'"),
        ({"boxes": [[0, 0, 5, 5], [0, 0, np.inf, 5]]}, "object 2 of 'a.jpg'"),
        ({"boxes": [[9, 0, 5, 5]]}, "negative side"),
        ({"boxes": [[0, 0, 5, 5]], "areas": [np.nan]}, "object 1 of 'a.jpg'"),
        ({"regions": [[0, 0, 5, np.nan]]}, "ignore region 1 of 'a.jpg'"),
        ({"regions": [[9, 0, 5, 5]]}, "ignore region 1 of 'a.jpg'"),
    ],
)
def test_boxes_that_cannot_be_scored_are_refused(changes, message):
    check_boxes(GroundTruth([make_image("a.jpg"), make_image("b.jpg", [[0, 0, 0, 5]])], {0: "a"}), "x.json")
    with pytest.raises(DataError, match=message):
        check_boxes(GroundTruth([make_image("a.jpg", **changes)], {0: "a"}), "x.json")


def test_annotations_of_images_of_another_size_are_refused():
    truth = GroundTruth([make_image("a.jpg", size=(640, 512)), make_image("b.jpg", size=(640, 512))], {0: "a"})
    check_sizes(truth, {}, "x.json")
    check_sizes(truth, {"a.jpg": (512, 640)}, "x.json")
    with pytest.raises(DataError, match=r"'b\.jpg' 640x512 pixels, the image has 512x640"):
        check_sizes(truth, {"a.jpg": (512, 640), "b.jpg": (640, 512)}, "x.json")


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
    box = [1.5, 2.0, 3.5, 7.0]
    assert rows[0] == {"image_id": "x7", "file_name": "a.jpg", "category_id": 9, "bbox": box, "score": 0.5}
    assert [row["category_id"] for row in rows] == [9, 4, 3]
