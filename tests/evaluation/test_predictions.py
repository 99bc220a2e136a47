"""Prediction files: what is read of each format, and what is said of bad ones."""

import json
import logging

import numpy as np
import pytest

from uavdet.errors import DataError
from uavdet.evaluation.coco import coco_results
from uavdet.evaluation.predictions import count_missing, read_predictions
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

NAMES = {0: "person", 1: "car", 2: "boat"}


def annotated(name, image_id=None, size=(640, 512)):
    return ImageTruth(name, size, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros(0, bool), image_id=image_id)


def truth_of(*names, ids=None, categories=None, classes=None):
    ids = ids or [None] * len(names)
    images = [annotated(name, key) for name, key in zip(names, ids, strict=True)]
    return GroundTruth(images, dict(classes or NAMES), dict(categories or {}))


def row(image_id=1, category_id=1, bbox=(10, 20, 30, 40), score=0.5, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "score": score, **more}


def write_json(folder, rows):
    file = folder / "preds.json"
    file.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return file


def write_folder(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def assert_detections(found, boxes, scores, classes):
    np.testing.assert_allclose(found.boxes, np.array(boxes, dtype=float).reshape(-1, 4), atol=1e-9)
    np.testing.assert_allclose(found.scores, scores, atol=1e-9)
    assert found.classes.tolist() == classes
    assert found.classes.dtype == np.int64


# --- COCO results ---------------------------------------------------------------------------------------------------


def test_an_empty_list_is_no_detection(tmp_path):
    truth = truth_of("a.jpg", "b.jpg")
    found = read_predictions(write_json(tmp_path, " [ ] \n"), truth)
    assert found == {}
    assert count_missing(truth, found) == 2


def test_results_become_corners_in_the_order_of_the_file(tmp_path):
    rows = [row(2, 3, (1.5, 2, 3, 4), 0.25), row(1, 1, (0, 0, 0, 5), 7), row(2, 1, (-3, -2, 10, 1), -1e9)]
    truth = truth_of("a.jpg", "b.jpg", "c.jpg")
    found = read_predictions(write_json(tmp_path, rows), truth)
    assert list(found) == ["a.jpg", "b.jpg"]
    assert_detections(found["a.jpg"], [[0, 0, 0, 5]], [7], [0])
    assert_detections(found["b.jpg"], [[1.5, 2, 4.5, 6], [-3, -2, 7, -1]], [0.25, -1e9], [2, 0])
    assert count_missing(truth, found) == 1


@pytest.mark.parametrize("more", [{"segmentation": {"size": [5, 5], "counts": "ab"}}, {"id": 3, "note": {"by": "me"}}])
def test_more_than_is_needed_is_left_aside(tmp_path, more):
    found = read_predictions(write_json(tmp_path, [row(**more)]), truth_of("a.jpg"))
    assert_detections(found["a.jpg"], [[10, 20, 40, 60]], [0.5], [0])


def random_detections(truth, seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for image in truth.images:
        corner, side = rng.uniform(-50, 1900, (40, 2)), rng.uniform(0, 300, (40, 2))
        boxes = np.concatenate([corner, corner + side], 1)
        found[image.name] = ImageDetections(boxes, rng.random(40), rng.integers(0, 3, 40))
    return found


@pytest.mark.parametrize(
    ("ids", "categories"),
    [
        (None, None),
        ([7, 8, 9], {0: 1, 1: 2, 2: 3}),
        ([9, 8, 7], {0: 0, 1: 1, 2: 2}),
        (["x", "y", "z"], {0: 90, 1: 4}),
        ([0, 3, 1], {0: 3, 1: 2, 2: 1}),
    ],
)
def test_what_is_written_is_read_again(tmp_path, ids, categories):
    truth = truth_of("s/1.jpg", "s/2.jpg", "s/3.jpg", ids=ids, categories=categories)
    detections = random_detections(truth)
    found = read_predictions(write_json(tmp_path, coco_results(truth, detections)), truth)
    assert found.keys() == detections.keys()
    for name, given in detections.items():
        assert_detections(found[name], given.boxes, given.scores, given.classes.tolist())


@pytest.mark.parametrize(
    ("names", "ids", "given"),
    [
        (("a/first.jpg", "b/second.jpg"), [5, 6], ("first", "second")),  # as Ultralytics names them
        (("a/0012.jpg", "b/0034.jpg"), [5, 6], (12, 34)),
        (("a/first.jpg", "b/second.jpg"), [5, 6], ("first.jpg", "second.jpg")),
        (("a/1.jpg", "b/1.jpg"), [5, 6], ("a/1", "b/1.jpg")),
        (("a/1.jpg", "b/1.jpg"), [5, 6], (5, 6)),
        (("first.jpg", "second.jpg"), ["p", "q"], ("p", "q")),
        (("first.jpg", "second.jpg"), None, (1, 2)),
    ],
)
def test_images_are_found_by_id_or_name(tmp_path, names, ids, given, caplog):
    found = read_predictions(write_json(tmp_path, [row(key) for key in given]), truth_of(*names, ids=ids))
    assert list(found) == list(names)
    assert not caplog.records


def test_ids_that_are_other_images_names_are_said_to_be_ids(tmp_path, caplog):
    truth = truth_of("2.jpg", "1.jpg", ids=[1, 2])
    file = write_json(tmp_path, [row(1)])
    with caplog.at_level(logging.WARNING):
        assert list(read_predictions(file, truth)) == ["2.jpg"]
    assert caplog.messages == [
        f"'{file}': every image_id can be read as ids of the annotations and as file names; "
        "ids of the annotations are used."
    ]


def test_a_file_name_beside_the_id_settles_it(tmp_path, caplog):
    truth = truth_of("2.jpg", "1.jpg", ids=[1, 2])
    assert list(read_predictions(write_json(tmp_path, [row(1, file_name="1.jpg")]), truth)) == ["1.jpg"]
    assert list(read_predictions(write_json(tmp_path, [row(1, file_name="x/2.jpg")]), truth)) == ["2.jpg"]
    assert not caplog.records


def test_ids_that_mean_the_same_need_no_word(tmp_path, caplog):
    assert list(read_predictions(write_json(tmp_path, [row(7)]), truth_of("0007.jpg", ids=[7]))) == ["0007.jpg"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("categories", "given", "classes", "warned"),
    [
        ({0: 1, 1: 2, 2: 3}, [1, 2, 3], [0, 1, 2], False),
        ({0: 0, 1: 1, 2: 2}, [0, 1, 2], [0, 1, 2], False),  # ids of the annotations alone
        ({0: 0, 1: 1, 2: 2}, [1, 2, 3], [0, 1, 2], False),  # class ids plus 1 alone
        ({0: 0, 1: 1, 2: 2}, [1, 2], [1, 2], True),
        ({0: 4, 1: 9}, [4, 9, 3], [0, 1, 2], False),  # a class that the annotations do not list is its id plus 1
        ({0: 4, 1: 9}, [1, 2, 3], [0, 1, 2], False),
        ({}, [1, 2, 3], [0, 1, 2], False),
    ],
)
def test_classes_are_found_by_what_fits_every_row(tmp_path, categories, given, classes, warned, caplog):
    truth = truth_of("a.jpg", ids=[1], categories=categories)
    found = read_predictions(write_json(tmp_path, [row(category_id=key) for key in given]), truth)
    assert found["a.jpg"].classes.tolist() == classes
    assert bool(caplog.records) is warned
    assert not warned or caplog.messages[0].endswith("category ids of the annotations are used.")


def test_rows_of_ultralytics_count_classes_from_1(tmp_path, caplog):
    truth = truth_of("a.jpg", ids=[1], categories={0: 0, 1: 1, 2: 2})
    rows = [row("a", category_id=key, file_name="a.jpg") for key in (1, 2)]
    assert read_predictions(write_json(tmp_path, rows), truth)["a.jpg"].classes.tolist() == [0, 1]
    assert caplog.messages[0].endswith("class ids plus 1 are used.")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "are empty"),
        ("  \n ", "are empty"),
        ('{"images": []}', "hold a mapping"),
        ("10,20,30,40,0.5,1,-1,-1", "no JSON list.*predictions=FOLDER"),
        ('[\n{"image_id": 1},\n{"a": 1},\n]', "row 1: 'category_id' is missing"),
        ("[\n" + json.dumps(row()) + ",\n]", "line 3: a comma stands before a closing bracket"),
        ("[\n" + json.dumps(row())[:-1] + ",}\n]", "line 2: a comma stands before a closing bracket"),
        ("[\n" + json.dumps(row()), "line 2: the file ends within the list"),
        ("[\n" + json.dumps(row()) + ",\n", "line [23]: the file ends within the list"),
        ("[\n" + json.dumps(row())[:-20], "line 2: the file ends within the list"),
        ('[{"image_id": 1, "categ', "line 1: the file ends within the list"),
        ("[" + json.dumps(row()) + "\n" + json.dumps(row()) + "]", "line 2: is no valid JSON"),
        ("[" * 200_000, "nested too deeply|ends within"),
        ([row(), 7], "row 2: '7' is no result"),
        ([row(), {"box": 1}], "row 2: .* is no result"),
        ([row(), {k: v for k, v in row().items() if k != "score"}], "row 2: 'score' is missing"),
        ([row(), row(bbox=(1, 2, 3))], r"row 2: bbox \[1, 2, 3\] has no four numbers"),
        ([row(), row(bbox=("a", 1, 1, 1))], "row 2: is malformed"),
        ([row(), {**row(), "bbox": None}], "row 2: is malformed"),
        ([row(), row(image_id=[1])], "row 2: is malformed"),
        ([row(), row(score="high")], "row 2: score 'high' is no number"),
        ([row(), row(score=None)], "row 2: score None is no number"),
        ([row(), row(score=float("nan"))], "row 2: the score is not finite"),
        ([row(), row(bbox=(1, 2, float("inf"), 4))], "row 2: bbox has a number that is not finite"),
        ([row(), row(bbox=(10, 20, -5, 4))], "row 2: bbox has a negative side"),
        ([row(), row(image_id=99)], "row 2: image_id 99 is none of the 1 annotated images.*such as 1 or 'a'"),
        ([row(), row(image_id="zzz")], "row 2: image_id 'zzz' is none"),
        ([row(), row(image_id=None)], "row 2: image_id None is none"),
        ([row(file_name="b.jpg")], "row 1: image_id 1 with the file_name 'b.jpg' is none"),
        ([row(), row(category_id=4)], r"row 2: category_id 4 is no class. Classes are 1 \(person\), 2 \(car\)"),
        ([row(), row(category_id="car")], "row 2: category_id 'car' is no class"),
        ([row(category_id=0)], "row 1: category_id 0 is no class"),
    ],
)
def test_bad_results_name_file_and_place(tmp_path, rows, message):
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(write_json(tmp_path, rows), truth_of("a.jpg", ids=[1]))
    assert "preds.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_of_several_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="row 1: image_id '1' is the name of several images"):
        read_predictions(write_json(tmp_path, [row("1")]), truth_of("a/1.jpg", "b/1.jpg", ids=[5, 6]))


def test_missing_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.json' do not exist"):
        read_predictions(tmp_path / "none.json", truth_of("a.jpg"))
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00[")
    with pytest.raises(DataError, match=r"b\.json' cannot be read"):
        read_predictions(tmp_path / "b.json", truth_of("a.jpg"))


# --- folders of text files ------------------------------------------------------------------------------------------


def test_empty_files_are_images_without_detections(tmp_path):
    truth = truth_of("a.jpg", "b.jpg", "c.jpg")
    found = read_predictions(write_folder(tmp_path, a="", b="\n"), truth)
    assert list(found) == ["a.jpg", "b.jpg"]
    assert_detections(found["a.jpg"], [], [], [])
    assert count_missing(truth, found) == 1


def test_visdrone_results_are_read(tmp_path, caplog):
    text = "10,20,30,40,0.9,1,-1,-1\r\n1.5,2,3,4,0.8,3,-1,-1,\n\n5,5,5,5,0.7,0,-1,-1\n5,5,5,5,99,11,-1,-1\n"
    found = read_predictions(write_folder(tmp_path, a="", b=text), truth_of("x/a.jpg", "x/b.png"))
    assert list(found) == ["x/a.jpg", "x/b.png"]
    assert_detections(found["x/b.png"], [[10, 20, 40, 60], [1.5, 2, 4.5, 6]], [0.9, 0.8], [0, 2])
    assert "2 rows of category 0 or 11" in caplog.text


def test_a_twelfth_class_is_a_class(tmp_path, caplog):
    truth = truth_of("a.jpg", classes={index: str(index) for index in range(12)})
    found = read_predictions(write_folder(tmp_path, a="5,5,5,5,0.7,11,-1,-1\n5,5,5,5,0.7,12,-1,-1"), truth)
    assert found["a.jpg"].classes.tolist() == [10, 11]
    assert not caplog.records


def test_yolo_results_are_read_in_pixels_of_each_image(tmp_path):
    truth = GroundTruth([annotated("a.jpg", size=(100, 50)), annotated("b.jpg", size=(200, 400))], NAMES)
    text = "2 0.5 0.5 0.2 0.4 0.75\n0\t0 0 0.1 0.1 1\n"
    found = read_predictions(write_folder(tmp_path, a=text, b="1 0.25 0.5 0.5 1 1e-3"), truth)
    assert_detections(found["a.jpg"], [[40, 15, 60, 35], [-5, -2.5, 5, 2.5]], [0.75, 1], [2, 0])
    assert_detections(found["b.jpg"], [[0, 0, 100, 400]], [0.001], [1])


def test_files_may_carry_the_names_of_folders(tmp_path):
    truth = truth_of("/data/images/val/a/1.jpg", "/data/images/val/b/1.jpg", "/data/images/val/b/2.jpg")
    line = "1 0.5 0.5 0.1 0.1 0.9"
    found = read_predictions(write_folder(tmp_path, a_1=line, val_b_1=line, **{"2": line}), truth)
    assert sorted(found) == [image.name for image in truth.images]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"zzz": "1 .5 .5 .1 .1 .9"}, "zzz.txt' belong to none of the 3"),
        ({"zzz": ""}, "zzz.txt' belong to none of the 3"),
        ({"1": "1 .5 .5 .1 .1 .9"}, "1.txt' may belong to 'x/1.jpg' or to 'y/1.jpg'"),
        ({"a": "", "x_a": ""}, "x_a.txt' are the second file of the image 'x/a.jpg'"),
        ({"a": "1 .5 .5 .1 .1 .9\n1 .5 .5 .1 .1"}, "a.txt' line 2: .* no confidence.*save_conf=True"),
        ({"a": "1 .5 .5 .1 .1 .9\n\n1 .5 .5 .1"}, "a.txt' line 3: .* has 4 fields"),
        ({"a": "1 .1 .1 .2 .1 .2 .2 .1 .2"}, "a.txt' line 1: .* has 9 fields"),
        ({"a": "1 .5 .5 .1 .1 .9 7"}, "a.txt' line 1: .* has 7 fields"),
        ({"a": "1 .5 .5 .1 x .9"}, "a.txt' line 1: '1 .5 .5 .1 x .9' has a field that is no number"),
        ({"a": "1 .5 .5 .1 nan .9"}, "a.txt' line 1: .* not finite"),
        ({"a": "1 .5 .5 .1 .1 inf"}, "a.txt' line 1: .* not finite"),
        ({"a": "1 .5 .5 -.1 .1 .9"}, "a.txt' line 1: .* negative width"),
        ({"a": "1 .5 .5 .1 .1 .9\n3 .5 .5 .1 .1 .9"}, "a.txt' line 2: .* no such class. Classes are 0 to 2"),
        ({"a": "-1 .5 .5 .1 .1 .9"}, "no such class"),
        ({"a": "1.5 .5 .5 .1 .1 .9"}, "no such class"),
        ({"a": "1 300 200 40 30 .9"}, "a.txt' line 1: .* not normalised"),
        ({"a": "1 .5 .5 .1 .1 12"}, "a.txt' line 1: .* no confidence"),
        ({"a": "10,20,30,40,0.9,1,-1,-1\n10,20,30,40,0.9"}, "a.txt' line 2: .* has 5 fields"),
        ({"a": "10,20,30,40,0.9,1,-1,-1\n10,20,,40,0.9,1,-1,-1"}, "a.txt' line 2: .* no number"),
        ({"a": "10,20,30,40,0.9,1,-1,-1\n10,20,30,40,0.9,1,-1,-"}, "a.txt' line 2: .* no number"),
        ({"a": "10,20,30,40,nan,1,-1,-1"}, "a.txt' line 1: .* not finite"),
        ({"a": "10,20,-30,40,0.9,1,-1,-1"}, "a.txt' line 1: .* negative width"),
        ({"a": "10,20,30,40,0.9,5,-1,-1"}, "a.txt' line 1: .* no such category"),
        ({"a": "10,20,30,40,0.9,1.5,-1,-1"}, "no such category"),
        ({"a": "10,20,30,40,0.9,12,-1,-1"}, "no such category"),
        ({"a": "10,20,30,40,0.9,1,-1,-1", "x_1": "1 .5 .5 .1 .1 .9"}, "x_1.txt' line 1: .* another format"),
        ({"a": "1 .5 .5 .1 .1 .9", "x_1": "10,20,30,40,0.9,1,-1,-1"}, "x_1.txt' line 1: .* another format"),
        ({"a": "{}"}, "a.txt' line 1: .* has 1 fields"),
    ],
)
def test_bad_text_files_name_file_and_line(tmp_path, files, message):
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(write_folder(tmp_path, **files), truth_of("x/a.jpg", "x/1.jpg", "y/1.jpg"))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (None, "hold no .txt files. Files are named after their images"),
        ("labels/a.txt", r"hold no .txt files. Its folder 'labels' does. Give predictions=.*labels\."),
        ("predictions.json", "hold no .txt files. It has 'predictions.json'. Give predictions="),
    ],
)
def test_folders_without_text_files_are_refused(tmp_path, inside, message):
    if inside:
        (tmp_path / inside).parent.mkdir(exist_ok=True)
        (tmp_path / inside).touch()
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path, truth_of("a.jpg"))


def test_text_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe1")
    with pytest.raises(DataError, match=r"a\.txt' cannot be read"):
        read_predictions(tmp_path, truth_of("a.jpg"))
