"""COCO JSONs of any origin: what is read, and what is said of bad ones, with the line."""

import json

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.coco_json import CocoJson
from uavdet.errors import DataError

GOOD = """{
"images": [
  {"id": 7, "file_name": "b.png", "width": 40, "height": 30, "camera": "left"},
  {"id": "x", "file_name": "a.png"}
],
"annotations": [
  {"id": 1, "image_id": 7, "category_id": 0, "bbox": [1, 2.5, 3, 4], "area": 9.5, "truncated": 1, "track_id": 12},
  {"id": 2, "image_id": 7, "category_id": 5, "bbox": [5, 6, 7, 8], "iscrowd": 1},
  {"id": 3, "image_id": "x", "category_id": 5, "bbox": [NaN, 6, Infinity, 8], "ignore": 1},
  {"id": 4, "image_id": "x", "category_id": 9, "bbox": [0, 0, 2, 2]}
],
"categories": [{"id": 0, "name": "rubbish"}, {"id": 5, "name": "airplane"}, {"id": 9, "name": "mist"}],
"ignore_regions": [{"image_id": 7, "bbox": [0, 0, 10, 10], "name": "glare", "reason": "sun"}]
}"""


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name)
    save_text(tmp_path / "good.json", GOOD)
    return tmp_path


def read(folder, **hooks):
    return list(CocoJson(folder / "good.json").read(lambda name: folder / name, **hooks))


def test_no_images_are_read_from_an_empty_list(tmp_path):
    file = save_text(tmp_path / "e.json", '{"images": [], "annotations": [], "categories": []}')
    assert list(CocoJson(file).read(lambda name: tmp_path / name)) == []


def test_images_are_read_field_by_field(folder):
    first, second = read(folder)
    assert (first.name, first.size, first.flags) == ("a.png", (40, 30), {})  # the size is the file's
    assert (second.name, second.size, second.flags) == ("b.png", (40, 30), {"camera": "left"})
    plain, crowd = second.objects
    assert (plain.box, plain.category, plain.area, plain.ignored) == ((1.0, 2.5, 3.0, 4.0), "rubbish", 9.5, False)
    assert (plain.track_id, plain.flags) == (12, {"truncated": 1})
    assert plain.origin == f"{folder / 'good.json'} annotations[0]"
    assert (crowd.category, crowd.area, crowd.ignored, crowd.flags) == ("airplane", None, True, {})
    (region,) = second.ignore_regions
    assert (region.box, region.name, region.flags) == ((0.0, 0.0, 10.0, 10.0), "glare", {"reason": "sun"})
    assert first.objects[0].ignored
    assert str(first.objects[0].box) == "(nan, 6.0, inf, 8.0)"  # for the conversion to drop


def test_callers_decide_names_classes_regions_and_splits(folder):
    (image,) = read(
        folder,
        rename={"airplane": "plane"},
        classes=("rubbish", "plane"),
        exclude=("mist",),
        ignored=lambda annotation: annotation["category_id"] == 0,
        region=lambda annotation: "crowd" if annotation.get("iscrowd") else None,
        select=lambda image: image["id"] == 7,
        image_name=lambda name: f"set/{name}",
        annotated_area=False,
    )
    assert (image.name, [(o.category, o.ignored, o.area) for o in image.objects]) == (
        "set/b.png", [("rubbish", True, None)],
    )  # fmt: skip
    assert [region.name for region in image.ignore_regions] == ["crowd", "glare"]
    first = read(folder, exclude=("mist",), regions=("airplane",))[0]
    assert isinstance(first, AnnotatedImage)
    assert ([o.category for o in first.objects], [e.category for e in first.excluded]) == ([], ["mist"])
    assert [region.name for region in first.ignore_regions] == ["airplane"]


def test_the_keys_of_hit_uav_are_understood(tmp_path):
    save_picture(tmp_path / "a.png")
    file = save_text(
        tmp_path / "h.json",
        '{"images": [{"filename": "a.png", "id": 3}], "categories": [{"id": 0, "name": "car"}],\n'
        '"annotation": [{"id": 1, "image_id": 3, "category_id": 0, "bbox": [1, 2, 3, 4]}]}',
    )
    (image,) = CocoJson(file).read(lambda name: tmp_path / name)
    assert (image.name, image.objects[0].box) == ("a.png", (1.0, 2.0, 3.0, 4.0))


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('"bbox": [0, 0, 2, 2]}\n]', '"bbox": [0, 0, 2, 2]},\n]', 11, r"a comma stands before the closing '\]'"),
        ('"reason": "sun"}]', '"reason": "sun"}],', 14, "a comma stands before the closing '}'"),
        ('"id": 7,', '"id" 7,', 3, "no JSON, column 9"),
        ('"id": "x",', '"id": 7,', 4, r"images\[1\]: the image id 7 is that of images\[0\], too"),
        ('"a.png"', '"b.png"', 4, r"'b.png' is listed by images\[0\], too"),
        ('"file_name": "a.png"', '"name": "a.png"', 4, "'file_name' is missing"),
        ('"id": 3,', '"id": 1,', 9, r"annotations\[2\]: the id 1 is that of annotations\[0\], too"),
        ('"image_id": "x", "category_id": 9', '"image_id": 8, "category_id": 9', 10, "the image id 8 is not among"),
        (
            '"category_id": 9,',
            '"category_id": 4,',
            10,
            "the category id 4 is not among the categories, which are 0, 5, 9",
        ),
        ('"category_id": 9, ', "", 10, "'category_id' is missing"),
        ('"image_id": 7, "category_id": 5', '"category_id": 5', 8, "'image_id' is missing"),
        ("[1, 2.5, 3, 4]", "[1, 2.5, 3]", 7, r"bbox is \[1, 2.5, 3\]; it has 4 numbers"),
        ("[1, 2.5, 3, 4]", '[1, 2.5, "3", 4]', 7, "bbox is"),
        ("[1, 2.5, 3, 4]", "null", 7, "'bbox' is missing"),
        ("[1, 2.5, 3, 4]", f"[1, 2.5, 3, {'9' * 400}]", 7, "bbox is"),
        ('"area": 9.5', '"area": NaN', 7, "area is NaN; it is in square pixels"),
        ('"area": 9.5', '"area": -1', 7, "area is -1"),
        ('"area": 9.5', '"area": "12"', 7, 'area is "12"'),
        ("[1, 2.5, 3, 4]", '[1, 2.5, 3, 4], "ignore": "0"', 7, 'ignore is "0"; it is 0 or 1'),
        ('"image_id": 7, "bbox": [0, 0, 10, 10]', '"image_id": 1, "bbox": [0, 0, 10, 10]', 13, r"ignore_regions\[0\]"),
        ('{"id": 5, "name": "airplane"}', '{"id": 0, "name": "airplane"}', 12, "category id 0 stands twice"),
        ('{"id": 5, "name": "airplane"}', '{"id": 5, "name": "rubbish"}', 12, "category name 'rubbish' stands twice"),
        ('{"id": 5, "name": "airplane"}', "5", 12, r"categories\[1\]: 5 is no mapping"),
        ('"width": 40', '"width": 41', 3, "width is 41, but that of .*b.png.* is 40"),
        ('"file_name": "b.png"', '"file_name": "c.png"', 3, r"images\[0\]: .*c.png does not exist"),
    ],
)
def test_bad_files_are_refused_with_their_line(folder, old, new, line, message):
    assert GOOD.count(old) == 1
    file = save_text(folder / "good.json", GOOD.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{file} line {line}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("", "line 1: this is no JSON"),
        ("[]", "holds no mapping but a list"),
        ('{"images": [], "categories": []}', "has no list 'annotations', it has images, categories"),
        ('{"images": {}, "annotations": [], "categories": []}', "has no list 'images'"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
    ],
)
def test_files_that_are_no_coco_json_are_refused(tmp_path, text, message):
    file = tmp_path / "a.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        CocoJson(file)


def test_categories_that_a_format_does_not_know_are_refused(folder):
    with pytest.raises(DataError, match=r"line 12: categories\[1\]: the category 'airplane' is unknown"):
        read(folder, classes=("rubbish",))


def test_a_list_of_images_alone_is_enough_where_nothing_is_annotated(tmp_path):
    save_picture(tmp_path / "a.png")
    file = tmp_path / "t.json"
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.png"}]}))
    (image,) = CocoJson(file, annotated=False).read(lambda name: tmp_path / name)
    assert image.objects == []


@pytest.mark.parametrize(
    ("track", "read_as", "kept"), [("3", 3, {}), ('"c3"', None, {"track_id": "c3"}), ("null", None, {})]
)
def test_a_track_id_that_is_no_integer_is_kept_as_a_flag(tmp_path, track, read_as, kept):
    save_picture(tmp_path / "a.png")
    file = save_text(
        tmp_path / "h.json",
        '{"images": [{"file_name": "a.png", "id": 3}], "categories": [{"id": 0, "name": "car"}], "annotations": '
        f'[{{"id": 1, "image_id": 3, "category_id": 0, "bbox": [1, 2, 3, 4], "track_id": {track}}}]}}',
    )
    (image,) = CocoJson(file).read(lambda name: tmp_path / name)
    assert (image.objects[0].track_id, image.objects[0].flags) == (read_as, kept)
