"""DOTA's label rows, its three versions and its folders."""

import math

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

ROWS = """imagesource:GoogleEarth
gsd:0.146343590398
2753 2408 2861 2385 2888 2468 2805 2502 plane 0
10.5 20.0 30.5 20.0 30.5 40.25 10.5 40.25 small-vehicle 1

3445 3391 3484 3409 3478 3422 3437 3402 large-vehicle 2
"""


def dota(folder, rows=ROWS, label_folder="labelTxt", version="dota-v1"):
    for split in ("train", "val"):
        save_picture(folder / split / "images" / f"P{split}.png")
        save_text(folder / split / label_folder / f"P{split}.txt", rows)
    save_picture(folder / "test" / "images" / "P0006.png", 60, 20)
    return find_format(version)(folder)


def test_an_image_without_rows_is_empty(tmp_path):
    (image,) = dota(tmp_path, "imagesource:GoogleEarth\ngsd:null\n").read("train")
    assert (image.name, image.size, image.objects) == ("Ptrain.png", (40, 30), [])


def test_rows_become_upright_boxes_and_keep_their_points(tmp_path):
    dataset = dota(tmp_path)
    assert dataset.splits() == ["train", "val", "test-challenge"]
    (image,) = dataset.read("val")
    plane, small, large = image.objects
    assert (plane.category, plane.box) == ("plane", (2753, 2385, 135, 117))  # 2888 - 2753, 2502 - 2385
    assert plane.flags == {"difficult": 0, "polygon": [2753, 2408, 2861, 2385, 2888, 2468, 2805, 2502]}
    assert (small.category, small.box, small.flags["difficult"]) == ("small-vehicle", (10.5, 20, 20, 20.25), 1)
    assert (large.category, large.box, large.flags["difficult"]) == ("large-vehicle", (3437, 3391, 47, 31), 2)
    assert not any(entry.ignored for entry in image.objects)  # difficult objects are objects
    assert large.origin == f"{tmp_path / 'val' / 'labelTxt' / 'Pval.txt'} line 6"


def test_test_images_have_no_labels_unless_somebody_has_them(tmp_path):
    dataset = dota(tmp_path)
    (image,) = dataset.read("test-challenge")
    assert (image.name, image.size, image.objects) == ("P0006.png", (60, 20), [])
    save_text(tmp_path / "test" / "labelTxt" / "P0006.txt", "1 1 5 1 5 5 1 5 ship 0\n")
    assert dataset.splits() == ["train", "val", "test"]
    (image,) = dataset.read("test")
    assert [entry.category for entry in image.objects] == ["ship"]


@pytest.mark.parametrize(
    ("version", "count", "last"),
    [("dota-v1", 15, "swimming-pool"), ("dota-v1.5", 16, "container-crane"), ("dota-v2", 18, "helipad")],
)
def test_versions_add_classes_at_the_end(version, count, last):
    classes = find_format(version).classes
    assert (len(classes), classes[-1]) == (count, last)
    assert classes[:3] == ("plane", "ship", "storage-tank")


@pytest.mark.parametrize(
    ("version", "folder"),
    [
        ("dota-v1", "labelTxt-v1.0/labelTxt"),
        ("dota-v1.5", "labelTxt-v1.5/DOTA-v1.5_train"),
        ("dota-v2", "labelTxt-v2.0"),
    ],
)
def test_label_folders_of_the_releases(tmp_path, version, folder):
    dataset = dota(tmp_path, label_folder=folder, version=version)
    wrong = save_text(tmp_path / "train" / folder / ".." / "DOTA_train_hbb" / "Ptrain.txt", "not read").parent
    assert wrong.is_dir()
    (image,) = dataset.read("train")
    assert len(image.objects) == 3


def test_archives_may_have_left_folders_in_images(tmp_path):
    dataset = dota(tmp_path)
    save_picture(tmp_path / "train" / "images" / "part2" / "P2.png")
    save_text(tmp_path / "train" / "labelTxt" / "P2.txt", "1 1 5 1 5 5 1 5 ship 0\n")
    assert [image.name for image in dataset.read("train")] == ["P2.png", "Ptrain.png"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1 2 3 4 5 6 7 8 plane", r"Ptrain\.txt line 1: 9 fields"),
        ("\n1 2 3 4 5 6 7 8 tennis court 0", "line 2: 11 fields"),
        ("1 2 3 4 5 6 7 x plane 0", "line 1: '1 2 3 4 5 6 7 x' are not 8 numbers"),
        ("1 2 3 4 5 6 7 1_0 plane 0", "are not 8 numbers"),
        ("1 2 3 4 5 6 7 8 plane no", "difficult is 'no'"),
        ("1 2 3 4 5 6 7 8 plan 0", r"unknown class 'plan'.*Did you mean 'plane'"),
        ("1 2 3 4 5 6 7 8 container-crane 0", r"DOTA 1\.5 has it: give format=dota-v1\.5"),
        ("1 2 3 4 5 6 7 8 helipad 0", r"DOTA 2\.0 has it: give format=dota-v2\."),
    ],
)
def test_bad_rows_name_file_line_and_reason(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as raised:
        list(dota(tmp_path, row).read("train"))
    assert "\n" not in str(raised.value)


def test_a_point_that_is_no_number_makes_a_box_that_is_none(tmp_path):
    (image,) = dota(tmp_path, "1 2 nan 4 5 6 7 8 plane 0").read("train")
    left, top, width, height = image.objects[0].box
    assert math.isnan(left)
    assert math.isnan(width)
    assert (top, height) == (2, 6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "train/labelTxt/Ptrain.txt").rename(d / "train/labelTxt/P1.txt"), r"Ptrain\.png has no annot"),
        (lambda d: save_text(d / "train/labelTxt/P9.txt", ""), r"P9\.txt has no image 'P9'"),
        (lambda d: (d / "train/images/Ptrain.png").unlink(), "has no image"),
        (lambda d: (d / "train/labelTxt/Ptrain.txt").write_bytes(b"\xff\xfe\xfa"), "no text in UTF-8"),
        (lambda d: ((d / "train/labelTxt/Ptrain.txt").unlink(), (d / "train/labelTxt/Ptrain.txt").mkdir()),
         r"Ptrain\.txt cannot be read"),
    ],
)  # fmt: skip
def test_bad_folders_are_named(tmp_path, spoil, message):
    dataset = dota(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        list(dataset.read("train"))


def test_labels_of_another_version_are_not_read(tmp_path):
    dataset = dota(tmp_path, label_folder="labelTxt-v2.0", version="dota-v1.5")
    with pytest.raises(DataError, match=r"has labelTxt-v1\.5/.*Found: images/, labelTxt-v2\.0/"):
        dataset.splits()


def test_another_folder_is_refused(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match=r"not laid out as DOTA 2\.0.*Found: images/"):
        find_format("dota-v2")(tmp_path).splits()
