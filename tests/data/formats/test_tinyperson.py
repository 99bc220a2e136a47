"""TinyPerson: what is not scored, dense images, parts of images, and which of the release's JSONs is read."""

import json

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.config import load_data_config
from uavdet.data.convert import convert
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

WHOLE = """{
"images": [
  {"file_name": "labeled_images/sea.jpg", "height": 30, "width": 40, "id": 0},
  {"file_name": "labeled_dense_images/crowd.jpg", "height": 30, "width": 40, "id": 1},
  {"file_name": "pure_bg_images/bg.jpg", "height": 30, "width": 40, "id": 2}
],
"annotations": [
  {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1.5, 2.5, 4.0, 6.0], "area": 24.0, "iscrowd": 0,
   "segmentation": [[1.5, 2.5, 1.5, 8.5, 5.5, 8.5, 5.5, 2.5]],
   "ignore": false, "uncertain": false, "logo": false, "in_dense_image": false},
  {"id": 2, "image_id": 0, "category_id": 2, "bbox": [10, 2, 4, 6], "area": 24, "iscrowd": 0,
   "ignore": true, "uncertain": false, "logo": false, "in_dense_image": false},
  {"id": 3, "image_id": 0, "category_id": 2, "bbox": [20, 2, 4, 6], "area": 24, "iscrowd": 0,
   "ignore": false, "uncertain": true, "logo": false, "in_dense_image": false},
  {"id": 4, "image_id": 0, "category_id": 1, "bbox": [30, 2, 4, 6], "area": 24, "iscrowd": 0,
   "ignore": false, "uncertain": false, "logo": true, "in_dense_image": false},
  {"id": 5, "image_id": 1, "category_id": 1, "bbox": [3, 2, 4, 6], "area": 24, "iscrowd": 0,
   "ignore": false, "uncertain": false, "logo": false, "in_dense_image": true}
],
"categories": [{"id": 1, "name": "sea_person"}, {"id": 2, "name": "earth_person"}]}
"""
PARTS = """{
"images": [
  {"file_name": "labeled_images/sea.jpg", "height": 20, "width": 30, "id": 0, "corner": [0, 0, 30, 20]},
  {"file_name": "labeled_images/sea.jpg", "height": 20, "width": 20, "id": 1, "corner": [20, 10, 40, 30]}
],
"annotations": [
  {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4, 5], "area": 20, "iscrowd": 0, "ignore": false,
   "uncertain": false, "logo": false, "in_dense_image": false}
],
"categories": [{"id": 1, "name": "person"}]}
"""
EMPTY = '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}'
NAMES = ("labeled_images/sea.jpg", "labeled_dense_images/crowd.jpg", "pure_bg_images/bg.jpg")


def tinyperson(folder, text=WHOLE, name="annotations/task/tiny_set_train_all.json", images="train", source="."):
    save_text(folder / name, text)
    for file in NAMES:
        save_picture(folder / images / file)
    return find_format("tinyperson")(folder / source)


def test_a_json_without_images_has_none(tmp_path):
    assert list(tinyperson(tmp_path, EMPTY).read("train")) == []


def test_what_the_benchmark_does_not_score_is_ignored(tmp_path):
    dataset = tinyperson(tmp_path)
    assert (dataset.splits(), dataset.class_names()) == (["train"], ("person",))
    crowd, sea, background = dataset.read("train")
    assert [entry.category for entry in sea.objects] == ["person"] * 4
    assert [entry.flags["category"] for entry in sea.objects] == [
        "sea_person", "earth_person", "earth_person", "sea_person",
    ]  # fmt: skip
    assert [entry.ignored for entry in sea.objects] == [False, True, True, True]
    assert [entry.flags["uncertain"] for entry in sea.objects] == [False, False, True, False]
    assert [entry.flags["logo"] for entry in sea.objects] == [False, False, False, True]
    assert (sea.objects[0].box, sea.objects[0].area) == ((1.5, 2.5, 4, 6), 24)
    assert (sea.name, sea.flags.get("dense", False), background.objects) == (NAMES[0], False, [])
    assert (crowd.name, crowd.flags["dense"], crowd.objects[0].ignored) == (NAMES[1], True, False)


def test_parts_of_images_have_a_crop_and_a_name_of_their_own(tmp_path):
    first, second = tinyperson(tmp_path, PARTS).read("train")
    assert (first.name, first.size, first.crop) == ("labeled_images/sea__0_0.png", (30, 20), (0, 0, 30, 20))
    assert (second.name, second.size, second.crop) == ("labeled_images/sea__20_10.png", (20, 20), (20, 10, 20, 20))
    assert first.file == second.file == (tmp_path / "train" / NAMES[0]).resolve()
    assert second.flags == {"corner": [20, 10, 40, 30], "whole_image": "labeled_images/sea.jpg"}
    assert [entry.box for entry in second.objects] == [(2, 3, 4, 5)]  # relative to the corner, as written


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[20, 10, 40, 30]", "[20, 10, 41, 30]", r"line 4: images.1.: corner .20, 10, 41, 30. is no part of .*40x30"),
        ("[20, 10, 40, 30]", "[20, 10, 40.5, 30]", "line 4: .*4 whole numbers"),
        ("[20, 10, 40, 30]", '"top left"', "4 whole numbers|no number or text"),
        ("[20, 10, 40, 30]", "[0, 0, 30, 20]", "is listed by images.0., too"),
        (
            '"labeled_images/sea.jpg", "height": 20, "width": 20',
            '"", "height": 20, "width": 20',
            "not a readable image",
        ),
        ('"width": 20', '"width": 21', "line 4: images.1.: width is 21, but the corner's is 20"),
    ],
)
def test_bad_corners_name_file_line_and_reason(tmp_path, old, new, message):
    assert old in PARTS
    with pytest.raises(DataError, match=message) as raised:
        list(tinyperson(tmp_path, PARTS.replace(old, new)).read("train"))
    assert "tiny_set_train_all.json" in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"in_dense_image": true}\n]', '"in_dense_image": true},\n]', "line 1[89]: a comma stands before"),
        ('"sea_person"', '"swimmer"', "category 'swimmer' is unknown"),
        ('"id": 5,', '"id": 4,', "line 17: .*the id 4 is that of annotations.3., too"),
    ],
)
def test_bad_jsons_name_file_line_and_reason(tmp_path, old, new, message):
    assert old in WHOLE
    with pytest.raises(DataError, match=message):
        list(tinyperson(tmp_path, WHOLE.replace(old, new)).read("train"))


@pytest.fixture
def release(tmp_path):
    """Return a release whose JSONs say by an image id which one they are."""
    files = {
        "annotations/tiny_set_train.json": "train",
        "annotations/task/tiny_set_train_all.json": "train",
        "annotations/task/tiny_set_test_all.json": "test",
        "annotations/corner/task/tiny_set_train_sw640_sh512_all.json": "train",
        "erase_with_uncertain_dataset/annotations/task/tiny_set_train_all.json": "train",
        "erase_with_uncertain_dataset/annotations/corner/task/tiny_set_train_sw640_sh512_all.json": "train",
        "mini_annotations/tiny_set_train_sw640_sh512_all_erase.json": "train",
        "mini_annotations/tiny_set_train_sw640_sh512_all.json": "train",
        "mini_annotations/tiny_set_test_all.json": "test",
        "dense/tiny_set_train_with_dense.json": "train",
    }
    for name in files:
        image = {"file_name": "labeled_images/sea.jpg", "width": 40, "height": 30, "id": 0, "json": name}
        content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
        save_text(tmp_path / name, json.dumps(content))
    for folder in ("train", "test", "erase_with_uncertain_dataset/train"):
        save_picture(tmp_path / folder / "labeled_images" / "sea.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "train", "images", "test"),
    [
        (".", "annotations/task/tiny_set_train_all.json", "train", "annotations/task/tiny_set_test_all.json"),
        ("annotations/corner/task", "annotations/corner/task/tiny_set_train_sw640_sh512_all.json", "train",
         "annotations/task/tiny_set_test_all.json"),
        ("erase_with_uncertain_dataset", "erase_with_uncertain_dataset/annotations/task/tiny_set_train_all.json",
         "erase_with_uncertain_dataset/train", "annotations/task/tiny_set_test_all.json"),
        ("erase_with_uncertain_dataset/annotations/corner/task",
         "erase_with_uncertain_dataset/annotations/corner/task/tiny_set_train_sw640_sh512_all.json",
         "erase_with_uncertain_dataset/train", "annotations/task/tiny_set_test_all.json"),
        ("mini_annotations", "mini_annotations/tiny_set_train_sw640_sh512_all_erase.json",
         "erase_with_uncertain_dataset/train", "mini_annotations/tiny_set_test_all.json"),
        ("dense", "dense/tiny_set_train_with_dense.json", "train", "annotations/task/tiny_set_test_all.json"),
    ],
)  # fmt: skip
def test_the_source_decides_which_json_is_read(release, source, train, images, test):
    dataset = find_format("tinyperson")(release / source)
    assert dataset.splits() == ["train", "test"]
    (image,) = dataset.read("train")
    assert (image.flags["json"], image.file.parent.parent) == (train, (release / images).resolve())
    (image,) = dataset.read("test")
    assert (image.flags["json"], image.file.parent.parent) == (test, (release / "test").resolve())


def test_another_folder_is_refused(tmp_path):
    save_picture(tmp_path / "train" / "a.jpg")
    with pytest.raises(DataError, match=r"not laid out as TinyPerson.*tiny_set_.*Found: train/"):
        find_format("tinyperson")(tmp_path).splits()


def test_images_must_be_there(tmp_path):
    dataset = tinyperson(tmp_path, images="pictures")
    with pytest.raises(DataError, match="not laid out as TinyPerson"):
        list(dataset.read("train"))
    save_picture(tmp_path / "train" / NAMES[0])
    with pytest.raises(DataError, match=r"line 4: .*train/labeled_dense_images/crowd\.jpg does not exist"):
        list(dataset.read("train"))


def test_a_mark_that_is_text_is_refused(tmp_path):
    dataset = tinyperson(tmp_path, WHOLE.replace('"uncertain": true', '"uncertain": "false"'))
    with pytest.raises(DataError, match=r'line 13: annotations\[2\]: uncertain is "false"; it is 0 or 1'):
        list(dataset.read("train"))


def test_test_stands_for_val_in_the_dataset_yaml(tmp_path):
    tinyperson(tmp_path / "in")
    tinyperson(tmp_path / "in", name="annotations/task/tiny_set_test_all.json", images="test")
    report = convert("tinyperson", tmp_path / "in", tmp_path / "out")
    data = load_data_config(report.data)
    assert list(report.splits) == ["train", "test"]
    assert data.images["val"] == data.images["test"] == [tmp_path / "out" / "images" / "test"]
    assert data.annotations["val"] == data.annotations["test"]
    assert report.notes == ["TinyPerson has no val split; papers select on test, so val: in data.yaml is test."]
