"""DIOR: its folders, and its class names in their various spellings."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from tests.data.formats.test_voc import voc_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

OBJECTS = [
    ("Expressway-toll-station", 0, 1, 2, 21, 12),
    ("ExpresswayServiceArea", 0, 0, 0, 8, 9),
    ("Windmill", 0, 5, 5, 6, 6),
]


@pytest.fixture(params=["Annotations/Horizontal Bounding Boxes", "Annotations"])
def dior(tmp_path, request):
    """Return one image to train on and one to test on, in the release's folders."""
    save_picture(tmp_path / "JPEGImages-trainval" / "00001.jpg", 800, 800)
    save_picture(tmp_path / "JPEGImages-test" / "11726.jpg", 800, 800)
    save_text(tmp_path / request.param / "00001.xml", voc_text(*OBJECTS, size=(800, 800)))
    save_text(tmp_path / request.param / "11726.xml", voc_text(("ship", 0, 1, 1, 3, 4), size=(800, 800)))
    save_text(tmp_path / "Annotations" / "Oriented Bounding Boxes" / "00001.xml", "<annotation/>")
    save_text(tmp_path / "ImageSets" / "Main" / "train.txt", "00001\n")
    save_text(tmp_path / "ImageSets" / "Main" / "test.txt", "11726\n")
    return tmp_path


def test_the_release_is_read(dior):
    dataset = find_format("dior")(dior)
    assert dataset.splits() == ["train", "test"]
    (image,) = dataset.read("train")
    assert image.file == dior / "JPEGImages-trainval" / "00001.jpg"
    assert [(entry.category, entry.box) for entry in image.objects] == [
        ("Expressway-toll-station", (1, 2, 20, 10)),
        ("Expressway-Service-area", (0, 0, 8, 9)),
        ("windmill", (5, 5, 1, 1)),
    ]
    assert [image.name for image in dataset.read("test")] == ["11726.jpg"]


def test_classes_are_in_alphabetical_order():
    names = find_format("dior").classes
    assert len(names) == 20
    assert list(names) == sorted(names, key=str.casefold)


def test_an_unknown_class_is_refused(dior):
    for file in dior.glob("Annotations/**/00001.xml"):
        save_text(file, voc_text(("vehicles", 0, 1, 2, 21, 12), size=(800, 800)))
    with pytest.raises(DataError, match=r"00001\.xml line 3: unknown class 'vehicles'\. Did you mean 'vehicle'\?"):
        list(find_format("dior")(dior).read("train"))


def test_folders_a_split_are_not_dior(tmp_path):
    save_picture(tmp_path / "train" / "a.jpg")
    save_text(tmp_path / "train" / "a.xml", voc_text())
    with pytest.raises(DataError, match=r"not laid out as DIOR.*JPEGImages-.*Found: train/"):
        find_format("dior")(tmp_path).splits()
