"""Pascal VOC XML files: what is read, and what is said of bad ones."""

import math

import pytest

from tests.data.formats.pictures import save_text
from uavdet.data.formats.voc_xml import read_voc_xml
from uavdet.errors import DataError

WHOLE = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <folder>images</folder>
  <filename>a b.jpg</filename>
  <size>
    <width>800</width>
    <height>600</height>
    <depth>3</depth>
  </size>
  <object>
    <name> dock </name>
    <pose>Left</pose>
    <truncated>1</truncated>
    <difficult>0</difficult>
    <occluded>1</occluded>
    <bndbox><xmin>521</xmin><xmax>800</xmax><ymin>565</ymin><ymax>600</ymax></bndbox>
  </object>
  <object>
    <bndbox><ymax>40.25</ymax><xmax>30.5</xmax><ymin>-2</ymin><xmin>-1.5</xmin></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
    <name>car</name>
    <difficult>1</difficult>
  </object>
</annotation>
"""
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>6</ymax></bndbox>"


def test_a_file_without_objects_is_an_empty_image(tmp_path):
    voc = read_voc_xml(save_text(tmp_path / "a.xml", "<annotation><filename>a.jpg</filename></annotation>"))
    assert (voc.image_name, voc.size, voc.objects) == ("a.jpg", None, [])


def test_fields_are_read_in_any_order_and_as_written(tmp_path):
    file = save_text(tmp_path / "a.xml", WHOLE)
    voc = read_voc_xml(file)
    assert (voc.image_name, voc.size) == ("a b.jpg", (800, 600))
    dock, car = voc.objects
    assert (dock.category, dock.box, dock.ignored) == ("dock", (521, 565, 279, 35), False)  # no pixel is subtracted
    assert dock.flags == {"difficult": 0, "truncated": 1, "occluded": 1, "pose": "Left"}
    assert (car.category, car.box, car.ignored) == ("car", (-1.5, -2, 32, 42.25), True)
    assert car.flags == {"difficult": 1}
    assert [entry.origin for entry in voc.objects] == [f"{file} line 10", f"{file} line 18"]


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height><depth>0</depth></size>"])
def test_a_size_may_be_missing(tmp_path, size):
    assert read_voc_xml(save_text(tmp_path / "a.xml", f"<annotation>{size}</annotation>")).size is None


@pytest.mark.parametrize(
    ("box", "read"),
    [
        ("<xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax>", (5, 5, 0, 4)),
        ("<xmin>9</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax>", (9, 5, -4, 4)),
        ("<xmin>nan</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax>", (math.nan, 5, math.nan, 4)),
        ("<xmin>0</xmin><ymin>0</ymin><xmax>inf</xmax><ymax>9</ymax>", (0, 0, math.inf, 9)),
    ],
)
def test_a_box_that_is_none_is_returned_as_it_stands(tmp_path, box, read):
    text = f"<annotation><object><name>car</name><bndbox>{box}</bndbox></object></annotation>"
    (entry,) = read_voc_xml(save_text(tmp_path / "a.xml", text)).objects
    assert entry.box == pytest.approx(read, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: malformed XML"),
        ("<annotation>\n<object>\n</annotation>", "line 3: malformed XML .mismatched tag"),
        ("<annotation>\n<filename>a&b.jpg</filename></annotation>", "line 2: malformed XML"),
        ('<?xml version="1.0" encoding="martian"?><annotation/>', "encoding"),
        ("<annotations/>", "line 1: the root is <annotations>, not <annotation>"),
        (f"<annotation>\n<object>{BOX}</object></annotation>", "line 2: an object without <name>"),
        (f"<annotation><object>\n<name> </name>{BOX}</object></annotation>", "line 1: an object without <name>"),
        ("<annotation>\n\n<object><name>car</name></object></annotation>", "line 3: the object has no <bndbox>"),
        (f"<annotation><object><name>a</name>\n{BOX.replace('<xmax>4</xmax>', '')}</object></annotation>",
         "line 2: <bndbox> has no <xmax>"),
        (f"<annotation><object><name>a</name>{BOX.replace('<xmax>4', chr(10) + '<xmax>4 px')}</object></annotation>",
         "line 2: <xmax> is '4 px', no number"),
        (f"<annotation><object><name>a</name><difficult>maybe</difficult>{BOX}</object></annotation>",
         "line 1: <difficult> is 'maybe'"),
        ("<annotation><size>\n<width>wide</width><height>9</height></size></annotation>", "line 2: <width> is 'wide'"),
        ("<annotation>\n<size><width>inf</width><height>9</height></size></annotation>", "2: <size> is not finite"),
        (f"<annotation><object><name>a</name>{BOX.replace('<xmax>4', '<xmax>1_0')}</object></annotation>",
         "<xmax> is '1_0', no number"),
    ],
)  # fmt: skip
def test_bad_files_name_file_line_and_reason(tmp_path, text, message):
    file = save_text(tmp_path / "a.xml", text)
    with pytest.raises(DataError, match=message) as raised:
        read_voc_xml(file)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.xml does not exist"):
        read_voc_xml(tmp_path / "a.xml")
