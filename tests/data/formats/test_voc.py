"""Pascal VOC in both layouts, and real drone images against a parse of their XML that is written out here."""

import xml.etree.ElementTree as ET

import pytest

from tests.data.formats.pictures import save_picture, save_text
from tests.realdata import REAL_DATA
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError


def voc_text(*objects, size=(40, 30)):
    """Return an XML with (name, difficult, xmin, ymin, xmax, ymax) objects."""
    rows = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>\n"
        for name, difficult, left, top, right, bottom in objects
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>\n{sides}\n{rows}</annotation>\n"


@pytest.fixture
def listed(tmp_path):
    """Return a dataset with lists: two images to train on, one to test on, one in no list."""
    for stem in ("000001", "000002", "000003", "000004"):
        save_picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
    save_text(tmp_path / "Annotations" / "000001.xml", voc_text(("boat", 0, 1, 2, 11, 22), ("Car", 1, 0, 0, 5, 5)))
    save_text(tmp_path / "Annotations" / "000002.xml", voc_text())
    save_text(tmp_path / "Annotations" / "000003.xml", voc_text(("apple", 0, 3, 3, 9, 9)))
    save_text(tmp_path / "ImageSets" / "Main" / "train.txt", "000002\n000001\n\n")
    save_text(tmp_path / "ImageSets" / "Main" / "test.txt", "000003.jpg\r\n")
    save_text(tmp_path / "ImageSets" / "Main" / "boat_train.txt", "000001  1\n000002 -1\n")
    return tmp_path


def open_voc(folder):
    return find_format("voc")(folder)


def test_lists_name_the_images_of_a_split(listed):
    dataset = open_voc(listed)
    assert dataset.splits() == ["train", "test"]
    assert dataset.class_names() == ("apple", "boat", "Car")  # sorted without regard to case
    first, second = dataset.read("train")
    assert (first.name, first.size, first.file) == ("000001.jpg", (40, 30), listed / "JPEGImages" / "000001.jpg")
    assert [(entry.category, entry.box, entry.ignored) for entry in first.objects] == [
        ("boat", (1, 2, 10, 20), False),
        ("Car", (0, 0, 5, 5), True),
    ]
    assert (second.name, second.objects) == ("000002.jpg", [])
    assert len(dataset.drops) == 0


def test_trainval_trains_where_there_is_no_train_list(listed):
    main = listed / "ImageSets" / "Main"
    (main / "train.txt").rename(main / "trainval.txt")
    dataset = open_voc(listed)
    assert dataset.splits() == ["train", "test"]
    assert len(list(dataset.read("train"))) == 2


def test_a_folder_a_split(tmp_path):
    for folder in ("train", "valid"):
        save_picture(tmp_path / folder / "a.png")
        save_text(tmp_path / folder / "a.xml", voc_text((folder, 0, 1, 1, 2, 2)))
    dataset = open_voc(tmp_path)
    assert dataset.splits() == ["train", "val"]
    assert dataset.class_names() == ("train", "valid")
    assert [image.objects[0].category for image in dataset.read("val")] == ["valid"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "Annotations/000002.xml").unlink(), r"000002\.jpg has no annotation file .*000002\.xml"),
        (lambda d: (d / "JPEGImages/000001.jpg").unlink(), r"train\.txt line 2: 000001 has no image in JPEGImages"),
        (lambda d: save_picture(d / "JPEGImages/000001.png"), "one file a name"),
        (lambda d: save_picture(d / "JPEGImages/000001.jpg", 30, 40), r"000001\.xml: its size is 40x30, .* has 30x40"),
        (lambda d: (d / "JPEGImages/000001.jpg").write_bytes(b"no image"), r"000001\.jpg is not a readable image"),
        (lambda d: save_text(d / "ImageSets/Main/train.txt", "000001\n000002\n000001\n"),
         r"train\.txt line 3: 000001 stands on line 1, too"),
        (lambda d: save_text(d / "ImageSets/Main/train.txt", "\n"), r"train\.txt is empty"),
        (lambda d: (d / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe\xfa"), r"train\.txt is no text"),
        (lambda d: save_text(d / "Annotations/000001.xml", "<annotation>\n<object>"), r"000001\.xml line 2: malformed"),
    ],
)  # fmt: skip
def test_bad_datasets_are_named(listed, spoil, message):
    spoil(listed)
    with pytest.raises(DataError, match=message) as raised:
        list(open_voc(listed).read("train"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("lonely", ["b.png", "b.xml"])
def test_images_and_xml_files_come_in_pairs(tmp_path, lonely):
    save_picture(tmp_path / "train" / "a.png")
    save_text(tmp_path / "train" / "a.xml", voc_text())
    if lonely.endswith("png"):
        save_picture(tmp_path / "train" / lonely)
    else:
        save_text(tmp_path / "train" / lonely, voc_text())
    with pytest.raises(DataError, match=lonely.replace(".", r"\.")):
        list(open_voc(tmp_path).read("train"))


def test_a_dataset_without_objects_has_no_classes(tmp_path):
    save_picture(tmp_path / "train" / "a.png")
    save_text(tmp_path / "train" / "a.xml", voc_text())
    with pytest.raises(DataError, match="no object in its 1 XML files"):
        open_voc(tmp_path).class_names()


def test_another_folder_is_refused_with_what_it_holds(tmp_path):
    save_text(tmp_path / "labels" / "a.txt", "")
    save_text(tmp_path / "notes.txt", "")
    with pytest.raises(DataError, match=r"Looked for: ImageSets/Main.*Found: labels/, notes\.txt"):
        open_voc(tmp_path).splits()
    with pytest.raises(DataError, match="does not exist"):
        open_voc(tmp_path / "nowhere").splits()
    with pytest.raises(DataError, match="is no folder"):
        open_voc(tmp_path / "notes.txt").splits()


def parse_plainly(file):
    """Return (name, xmin, ymin, xmax, ymax) of each object, as the standard library reads them."""
    rows = []
    for element in ET.parse(file).getroot().findall("object"):
        box = element.find("bndbox")
        rows.append((element.findtext("name"), *(float(box.findtext(t)) for t in ("xmin", "ymin", "xmax", "ymax"))))
    return rows


@pytest.mark.skipif(REAL_DATA is None, reason="the real images are not at hand")
@pytest.mark.parametrize(("split", "folder", "count"), [("val", "valid", 105), ("test", "test", 32)])
def test_real_drone_images_are_read_field_by_field(split, folder, count):
    source = REAL_DATA / "maritime"
    dataset = open_voc(source)
    assert dataset.splits() == ["val", "test"]
    assert dataset.class_names() == ("boat", "car", "dock", "jetski", "lift")
    images = list(dataset.read(split))
    assert len(images) == count
    for image in images:
        read = [(o.category, o.box[0], o.box[1], o.box[0] + o.box[2], o.box[1] + o.box[3]) for o in image.objects]
        assert read == parse_plainly((source / folder / image.name).with_suffix(".xml"))
        assert image.size == (800, 600)
        assert not any(entry.ignored for entry in image.objects)
