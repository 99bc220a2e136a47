"""AI-TOD in both versions: categories by name, the JSON's area, and the places of files."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

# the ids and the order of categories are none of ours: names decide
TRAIN = """{
"images": [
  {"file_name": "b.png", "id": 7, "width": 40, "height": 30},
  {"file_name": "a.png", "id": 9, "width": 40, "height": 30}
],
"annotations": [
  {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 8.0, 8.0], "area": 64.0, "segmentation": []},
  {"id": 2, "image_id": 7, "category_id": 2, "bbox": [10, 10, 5, 4], "area": 19.5, "iscrowd": 0}
],
"categories": [
  {"id": 2, "name": "wind-mill"},
  {"id": 3, "name": "storage_tank"}
]}
"""
EMPTY = '{"images": [], "annotations": [], "categories": []}'


def aitod(folder, text=TRAIN, name="annotations/aitod_train_v1.json", images="images/train", version="aitod"):
    save_text(folder / name, text)
    for stem in ("a", "b"):
        save_picture(folder / images / f"{stem}.png")
    return find_format(version)(folder)


def test_a_json_without_images_has_none(tmp_path):
    assert list(aitod(tmp_path, EMPTY).read("train")) == []


def test_categories_are_matched_by_name_and_areas_kept(tmp_path):
    dataset = aitod(tmp_path)
    assert dataset.splits() == ["train"]
    assert dataset.class_names() == (
        "airplane", "bridge", "storage-tank", "ship", "swimming-pool", "vehicle", "person", "wind-mill",
    )  # fmt: skip
    first, second = dataset.read("train")
    assert (first.name, first.objects) == ("a.png", [])
    tank, mill = second.objects
    assert (tank.category, tank.box, tank.area) == ("storage-tank", (1, 2, 8, 8), 64)
    assert (mill.category, mill.box, mill.area) == ("wind-mill", (10, 10, 5, 4), 19.5)
    assert second.file == tmp_path / "images" / "train" / "b.png"


@pytest.mark.parametrize(
    ("name", "images", "version"),
    [
        ("annotations/aitod_trainval_v1.json", "trainval/images", "aitod"),
        ("annotations/small_train_v1_1.0.json", "train", "aitod"),
        ("annotations/aitodv2_train.json", "images/trainval", "aitod-v2"),
        ("annotations_v2/aitodv2_trainval.json", "images/val", "aitod-v2"),
        ("aitod_train_v2.json", "images", "aitod-v2"),
    ],
)
def test_places_of_files(tmp_path, name, images, version):
    dataset = aitod(tmp_path, TRAIN, name, images, version)
    assert dataset.splits() == ["train"]
    assert [image.file.name for image in dataset.read("train")] == ["a.png", "b.png"]


def test_train_and_val_come_before_trainval(tmp_path):
    for name in ("trainval", "val", "test"):
        save_text(tmp_path / "annotations" / f"aitod_{name}_v1.json", EMPTY)
    dataset = aitod(tmp_path)
    assert dataset.splits() == ["train", "val", "test"]
    assert len(list(dataset.read("train"))) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"area": 19.5, "iscrowd": 0}\n]', '"area": 19.5, "iscrowd": 0},\n]', "line [89]: a comma stands before"),
        ('"wind-mill"', '"windmill"', "line 11: .*category 'windmill' is unknown"),
        ('"id": 2, "image_id": 7', '"id": 1, "image_id": 7', "line 8: .*the id 1 is that of annotations.0., too"),
        ('"image_id": 7, "category_id": 2', '"image_id": 8, "category_id": 2', "line 8: .*image id 8 is not among"),
        ('"file_name": "a.png"', '"file_name": "c.png"', r"line 4: .*c\.png does not exist"),
        ('"id": 9', '"id": 7', "line 4: .*the image id 7"),
        ("[10, 10, 5, 4]", "[10, 10, 5]", "line 8: .*bbox is"),
    ],
)
def test_bad_jsons_name_file_line_and_reason(tmp_path, old, new, message):
    assert old in TRAIN
    with pytest.raises(DataError, match=message) as raised:
        list(aitod(tmp_path, TRAIN.replace(old, new)).read("train"))
    assert "aitod_train_v1.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_another_version_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"not laid out as AI-TOD-v2.*aitodv2_.*Found: annotations/, images/"):
        aitod(tmp_path, version="aitod-v2").splits()


def test_images_that_the_json_does_not_list_are_counted_in_folders_of_the_split(tmp_path):
    dataset = aitod(tmp_path)
    lonely = save_picture(tmp_path / "images" / "train" / "c.png")
    assert len(list(dataset.read("train"))) == 2
    assert dataset.drops.places == {("train", "image that the JSON does not list"): str(lonely)}
    shared = aitod(tmp_path / "shared", images="images/trainval")
    save_picture(tmp_path / "shared" / "images" / "trainval" / "of-val.png")
    assert len(list(shared.read("train"))) == 2
    assert len(shared.drops) == 0
