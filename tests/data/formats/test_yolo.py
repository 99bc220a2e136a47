"""Plain YOLO: label files become boxes in pixels; what is wrong with them is an error."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.convert import convert
from uavdet.data.formats.base import find_format
from uavdet.errors import ConfigError, DataError, UsageError


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


def test_boxes_beyond_the_border_and_polygons_are_kept(folder):
    save_text(folder / "labels" / "val" / "a.txt", "0 .1 .1 .3 .3\n1 .1 .1 .5 .1 .5 .6\n")
    first = next(iter(find_format("yolo")(folder).read("val")))
    # (0.1 - 0.15) * 40, (0.1 - 0.15) * 20, 0.3 * 40, 0.3 * 20
    assert [o.box for o in first.objects] == [(-2.0, -1.0, 12.0, 6.0), (4.0, 2.0, 16.0, 10.0)]
    assert [o.flags for o in first.objects] == [{}, {"polygon": [4.0, 2.0, 20.0, 2.0, 20.0, 12.0]}]
    assert first.objects[1].origin == f"{folder / 'labels' / 'val' / 'a.txt'} line 2"


def test_what_is_left_out_names_its_line(folder):
    file = save_text(folder / "labels" / "val" / "a.txt", "1 .5 .5 .25 .5\n\n1 .50 .5 .25 .5\n")
    reader = find_format("yolo")(folder)
    assert len(next(iter(reader.read("val"))).objects) == 1
    assert reader.drops.places == {("val", "label row that stands twice"): f"{file} line 3"}


def test_images_without_label_files_are_noted(folder):
    reader = find_format("yolo")(folder)
    assert reader.notes() == []
    list(reader.read("val"))
    assert reader.notes() == ["val: 1 x image without a label file: background."]


def test_ignored_regions_of_a_coco_json_are_counted(folder):
    save_text(
        folder / "val.json",
        '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "car"}],\n"annotations": [\n'
        '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1},\n'
        '{"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 0}],\n'
        '"ignore_regions": [{"image_id": 1, "bbox": [1, 1, 5, 5]}]}',
    )
    save_text(folder / "data.yaml", "val: images/val\nannotations: {val: val.json}\nnames: {0: car, 1: person}\n")
    reader = find_format("yolo")(folder)
    list(reader.read("val"))
    assert reader.drops.counts == {("val", "ignored region of the COCO JSON"): 2}
    assert reader.drops.places["val", "ignored region of the COCO JSON"] == f"{folder / 'val.json'} ignore_regions[0]"
    assert reader.notes()[-1].endswith("format=coco reads them.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"car\ncar\n", "classes.txt line 2: the class 'car' stands twice"),
        (b"car\n\nperson\n", "classes.txt line 2 is empty"),
        (b"car\xe9\n", "classes.txt is no text in UTF-8"),
    ],
)
def test_bad_class_lists_are_refused(folder, text, message):
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_bytes(text)
    with pytest.raises(DataError, match=message):
        find_format("yolo")(folder).class_names()


def test_nothing_is_written_between_images_that_are_read(folder):
    with pytest.raises(UsageError, match="lies inside the source"):
        convert("yolo", folder / "data.yaml", folder / "images" / "val" / "new")
