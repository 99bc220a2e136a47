"""HIT-UAV: both of its native forms, and that they agree box by box."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from tests.realdata import REAL_DATA
from uavdet.data.formats.base import find_format
from uavdet.data.formats.coco_json import CocoJson
from uavdet.errors import DataError

XML = """<annotation><folder>./JPEGImages</folder><filename>a.jpg</filename>
<size><width>640</width><height>512</height><depth>1</depth></size>
<object><name>Car</name><pose>50</pose><truncated>0</truncated><difficult>1</difficult>
<bndbox><xmin>77</xmin><ymin>60</ymin><xmax>94</xmax><ymax>75</ymax></bndbox></object>
<object><name>DontCare</name><pose>50</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>373</xmin><ymin>352</ymin><xmax>408</xmax><ymax>382</ymax></bndbox></object>
</annotation>"""
JSON = """{"images": [{"filename": "a.jpg", "height": 512, "width": 640, "id": 2319, "date_captured": "20210119"}],
"categories": [{"supercategory": "Person", "id": 0, "name": "Person"}, {"id": 1, "name": "Car"},
{"id": 2, "name": "Bicycle"}, {"id": 3, "name": "OtherVehicle"}, {"id": 4, "name": "DontCare"}],
"annotation": [{"segmentation": [[77, 60, 94, 60, 94, 75, 77, 75]], "area": 255, "image_id": 2319,
"bbox": [77, 60, 17, 15], "category_id": 1, "id": 20088},
{"segmentation": [], "area": 1050, "image_id": 2319, "bbox": [373, 352, 35, 30], "category_id": 4, "id": 20089}]}"""


def voc_folder(tmp_path):
    save_picture(tmp_path / "JPEGImages" / "a.jpg", 640, 512)
    save_picture(tmp_path / "JPEGImages" / "b.jpg", 640, 512)
    save_text(tmp_path / "ImageSets" / "Main" / "test.txt", "a\n")
    save_text(tmp_path / "ImageSets" / "Main" / "trainval.txt", "b\n")
    save_text(tmp_path / "Annotations" / "a.xml", XML)
    return tmp_path


def json_folder(tmp_path):
    save_picture(tmp_path / "test" / "a.jpg", 640, 512)
    save_text(tmp_path / "annotations" / "test.json", JSON)
    return tmp_path


@pytest.mark.parametrize("make", [voc_folder, json_folder])
def test_both_forms_are_read_alike(tmp_path, make):
    reader = find_format("hit-uav")(make(tmp_path))
    assert reader.splits() == ["test"]
    (image,) = reader.read("test")
    assert (image.name, image.size) == ("a.jpg", (640, 512))
    assert [(o.category, o.box, o.ignored) for o in image.objects] == [("Car", (77, 60, 17, 15), False)]
    assert [(r.name, r.box) for r in image.ignore_regions] == [("DontCare", (373, 352, 35, 30))]


def test_files_without_their_other_half_are_named(tmp_path):
    folder = voc_folder(tmp_path)
    save_text(folder / "ImageSets" / "Main" / "test.txt", "a\nb\n")
    with pytest.raises(DataError, match=r"b.jpg has no annotation file .*Annotations/b.xml"):
        list(find_format("hit-uav")(folder).read("test"))
    save_text(folder / "ImageSets" / "Main" / "test.txt", "a\nz\n")
    with pytest.raises(DataError, match=r"test.txt line 2: z has no image in JPEGImages"):
        list(find_format("hit-uav")(folder).read("test"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<name>Car<", "<name>Cat<", r"a.xml line 3: unknown class 'Cat'. Allowed are Person, Car"),
        ("<width>640<", "<width>641<", r"a.xml: the size is \(641, 512\)"),
    ],
)
def test_bad_xml_is_named(tmp_path, old, new, message):
    folder = voc_folder(tmp_path)
    save_text(folder / "Annotations" / "a.xml", XML.replace(old, new))
    with pytest.raises(DataError, match=message):
        list(find_format("hit-uav")(folder).read("test"))


def test_unknown_categories_are_named(tmp_path):
    folder = json_folder(tmp_path)
    save_text(folder / "annotations" / "test.json", JSON.replace('"Bicycle"', '"Bike"'))
    with pytest.raises(DataError, match=r"test.json line 3: categories\[2\]: the category 'Bike' is unknown"):
        list(find_format("hit-uav")(folder).read("test"))


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="normal_xml"):
        find_format("hit-uav")(tmp_path).splits()


@pytest.mark.skipif(REAL_DATA is None, reason="no real drone images at hand")
@pytest.mark.parametrize(("split", "images"), [("train", 403), ("val", 100)])
def test_real_xml_equals_real_json_box_by_box(split, images):
    folder = REAL_DATA / "hituav"
    data = CocoJson(folder / "annotations" / f"instances_{split}.json")
    listed = list(data.read(lambda name: folder / "images" / split / name))
    read = list(find_format("hit-uav")(folder).read(split))
    assert [image.name for image in read] == [image.name for image in listed]
    assert len(read) == images
    for image, expected in zip(read, listed, strict=True):
        assert [(o.box, o.category, False) for o in expected.objects] == [
            (o.box, o.category, o.ignored) for o in image.objects
        ]
        assert [(r.box, r.name) for r in expected.ignore_regions] == [(r.box, r.name) for r in image.ignore_regions]
        assert image.size == expected.size
