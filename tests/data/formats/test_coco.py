"""Plain COCO: its many layouts, its ids, its crowds."""

import json

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}]


def coco_text(name="a.jpg", categories=CATEGORIES):
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 7.5},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 3,
            "bbox": [5, 6, 7, 8],
            "iscrowd": 1,
            "segmentation": {"size": [1, 1]},
        },
    ]
    content = {"images": [{"id": 1, "file_name": name}], "annotations": annotations, "categories": categories}
    return json.dumps(content)


@pytest.mark.parametrize(
    ("file", "image", "split"),
    [
        ("annotations/instances_val.json", "images/val/a.jpg", "val"),
        ("annotations/instances_val2017.json", "val2017/a.jpg", "val"),
        ("annotations/instances_train2017.json", "images/train2017/a.jpg", "train"),
        ("annotations/test.json", "test/a.jpg", "test"),
        ("instances_train.json", "images/a.jpg", "train"),
        ("valid/_annotations.coco.json", "valid/a.jpg", "val"),
        ("train.json", "a.jpg", "train"),
    ],
)
@pytest.mark.parametrize("area", ["box", "polygon"])
def test_layouts_are_found(tmp_path, file, image, split, area):
    save_text(tmp_path / file, coco_text())
    save_picture(tmp_path / image)
    reader = find_format("coco")(tmp_path, area=area)
    assert reader.splits() == [split]
    assert reader.class_names() == ("car", "person")
    (read,) = reader.read(split)
    assert read.name == "a.jpg"
    assert [(o.category, o.ignored, o.area) for o in read.objects] == [
        ("person", False, 7.5 if area == "polygon" else None),
        ("car", True, None),
    ]
    assert len(reader.drops) == 0


def test_names_lose_their_images_folder(tmp_path):
    save_text(tmp_path / "annotations" / "instances_val.json", coco_text("images/a.jpg"))
    save_picture(tmp_path / "images" / "a.jpg")
    (read,) = find_format("coco")(tmp_path).read("val")
    assert read.name == "a.jpg"


def test_images_that_nobody_lists_are_counted(tmp_path):
    save_text(tmp_path / "annotations" / "instances_val.json", coco_text())
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        save_picture(tmp_path / "val" / name)
    reader = find_format("coco")(tmp_path)
    list(reader.read("val"))
    assert reader.drops.counts == {("val", "image that the JSON does not list"): 2}
    assert next(iter(reader.drops.places.values())) == str(tmp_path / "val" / "b.jpg")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "is not laid out as COCO"),
        (["annotations/instances_val2014.json", "annotations/instances_val2017.json"], "2 JSONs of 'val'"),
        (["annotations/instances_val.json"], r"a.jpg does not exist"),
    ],
)
def test_bad_folders_are_named(tmp_path, files, message):
    for file in files:
        save_text(tmp_path / file, coco_text())
    reader = find_format("coco")(tmp_path)
    with pytest.raises(DataError, match=message):
        list(reader.read(reader.splits()[0]))


def test_a_category_that_the_first_split_lacks_is_named(tmp_path):
    save_text(tmp_path / "annotations" / "instances_train.json", coco_text())
    save_text(
        tmp_path / "annotations" / "instances_val.json", coco_text(categories=[*CATEGORIES, {"id": 4, "name": "bus"}])
    )
    save_picture(tmp_path / "images" / "a.jpg")
    reader = find_format("coco")(tmp_path)
    assert len(list(reader.read("train"))) == 1
    with pytest.raises(DataError, match=r"instances_val.json line 1: categories\[2\]: the category 'bus' is unknown"):
        list(reader.read("val"))
