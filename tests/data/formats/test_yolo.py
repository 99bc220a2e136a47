"""Plain YOLO: label files become boxes in pixels; what is wrong with them is an error."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one labelled image, one in a subfolder without a label file, and a YAML."""
    save_picture(tmp_path / "images" / "val" / "a.png", 40, 20)
    save_picture(tmp_path / "images" / "val" / "day" / "b.png", 40, 20)
    save_text(tmp_path / "labels" / "val" / "a.txt", "1 0.5 0.5 0.25 0.5\n0 0.125 0.25 0.25 0.5\n")
    save_text(tmp_path / "data.yaml", "val: images/val\nnames: {0: car, 1: person}\n")
    return tmp_path


@pytest.mark.parametrize("given", [".", "data.yaml"])
def test_boxes_are_pixels(folder, given):
    reader = find_format("yolo")(folder / given)
    assert (reader.splits(), reader.class_names()) == (["val"], ("car", "person"))
    first, second = reader.read("val")
    assert [(o.category, o.box, o.area) for o in first.objects] == [
        ("person", (15.0, 5.0, 10.0, 10.0), None),
        ("car", (0.0, 0.0, 10.0, 10.0), None),
    ]
    assert (first.name, first.size) == ("a.png", (40, 20))
    assert (second.name, second.objects) == ("day/b.png", [])
    assert len(reader.drops) == 0


@pytest.mark.parametrize(("sub", "split"), [("val/", "val"), ("", "val"), ("train/", "train")])
def test_classes_txt_does_without_a_yaml(tmp_path, sub, split):
    save_picture(tmp_path / "images" / sub / "a.png")
    save_text(tmp_path / "labels" / sub / "a.txt", "1 .5 .5 .5 .5")
    save_text(tmp_path / "classes.txt", "car\nperson\n")
    reader = find_format("yolo")(tmp_path)
    assert (reader.splits(), reader.class_names()) == ([split], ("car", "person"))
    assert next(iter(reader.read(split))).objects[0].category == "person"


def test_what_is_not_used_is_counted(folder):
    save_text(folder / "labels" / "val" / "a.txt", "1 .5 .5 .25 .5\n1 .5 .5 .25 .5\n")
    save_text(folder / "labels" / "val" / "z.txt", "")
    reader = find_format("yolo")(folder)
    assert [len(image.objects) for image in reader.read("val")] == [1, 0]
    assert reader.drops.counts == {("val", "label row that stands twice"): 1, ("val", "label file without an image"): 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2 .5 .5 .1 .1", r"a.txt line 3: class 2; the dataset YAML has classes 0 to 1"),
        ("0 .5 .5 .1", r"a.txt line 3: 4 fields"),
        ("0 .5 .5 nan .1", r"a.txt line 3: a value is not finite"),
        ("0 15 5 10 10", r"a.txt line 3: coordinate 15 outside"),
    ],
)
def test_bad_rows_name_file_and_line(folder, row, message):
    file = folder / "labels" / "val" / "a.txt"
    save_text(file, file.read_text() + row)
    with pytest.raises(DataError, match=message):
        list(find_format("yolo")(folder).read("val"))


def test_wrong_folders_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="is not laid out as YOLO"):
        find_format("yolo")(folder / "images").splits()
    (folder / "data.yaml").rename(folder / "a.yaml")
    save_text(folder / "b.yaml", "val: images/val\nnames: [car]\n")
    with pytest.raises(DataError, match=r"has the YAMLs a\.yaml, b\.yaml"):
        find_format("yolo")(folder).splits()
    save_text(folder / "data.yaml", "val: nowhere\nnames: [car]\n")
    with pytest.raises(ConfigError, match="nowhere, which does not exist"):
        list(find_format("yolo")(folder).read("val"))
