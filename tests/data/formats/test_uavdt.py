"""UAVDT: rows of its two files, its attribute folders, and the val split that it lacks."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

WHOLE = "1,1,10,11,12,13,1,1,1\n2,1,11,11,12,13,2,3,3\n2,5,0,0,9,8,1,4,2\n"
IGNORED = "2,-1,30,31,32,33,1,-1,-1\n"


def add_sequence(folder, name, split, truths="UAV-benchmark-MOTD_v1.0/GT"):
    for frame in (1, 2):
        save_picture(folder / "UAV-benchmark-M" / name / f"img{frame:06d}.jpg", 1024, 540)
    save_text(folder / truths / f"{name}_gt_whole.txt", WHOLE)
    save_text(folder / truths / f"{name}_gt_ignore.txt", IGNORED)
    save_text(folder / truths / f"{name}_gt.txt", "of tracking, not read")
    save_text(folder / "M_attr" / split / f"{name}_attr.txt", "1,0,0")


@pytest.fixture
def folder(tmp_path):
    """Return seven training sequences and one test sequence of two frames."""
    for number in range(1, 8):
        add_sequence(tmp_path, f"M010{number}", "train")
    add_sequence(tmp_path, "M0203", "test")
    return tmp_path


def test_rows_are_read_field_by_field(folder):
    first, second = find_format("uavdt")(folder).read("test")
    assert (first.name, first.size, first.flags) == (
        "M0203/img000001.jpg", (1024, 540), {"sequence": "M0203", "frame": 1},
    )  # fmt: skip
    (car,) = first.objects
    assert (car.category, car.box, car.track_id) == ("car", (10, 11, 12, 13), 1)
    assert car.flags == {"out_of_view": 1, "occlusion": 1}
    assert first.ignore_regions == []
    assert [(o.category, o.track_id, o.flags["out_of_view"]) for o in second.objects] == [
        ("bus", 1, 2),
        ("truck", 5, 1),
    ]
    assert [region.box for region in second.ignore_regions] == [(30, 31, 32, 33)]


def test_every_sixth_training_sequence_is_val(folder):
    reader = find_format("uavdt")(folder)
    assert reader.splits() == ["train", "val", "test"]
    assert {image.flags["sequence"] for image in reader.read("val")} == {"M0106"}
    train = [image.flags["sequence"] for image in reader.read("train")]
    assert train[::2] == ["M0101", "M0102", "M0103", "M0104", "M0105", "M0107"]
    assert reader.notes() == ["UAVDT has no val split: val is every 6th training sequence (M0106)."]


def test_few_sequences_have_no_val(tmp_path):
    add_sequence(tmp_path, "M0101", "train", truths="GT")
    reader = find_format("uavdt")(tmp_path)
    assert reader.splits() == ["train"]
    assert "leave none for it" in reader.notes()[0]


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("M0203_gt_whole.txt", "1,1,10,11,12,13,1,1,4", r"M0203_gt_whole.txt line 4: category 4. UAVDT has 1 to 3"),
        ("M0203_gt_whole.txt", "1,1,10,11,12,13,1,1", r"M0203_gt_whole.txt line 4: 8 fields"),
        ("M0203_gt_whole.txt", "3,1,10,11,12,13,1,1,1", r"M0203_gt_whole.txt line 4: frame 3 has no image"),
        ("M0203_gt_ignore.txt", "1,1,10,11,12", r"M0203_gt_ignore.txt line 2: 5 fields"),
        ("M0203_gt_ignore.txt", "1,1,10,11,12,x", r"M0203_gt_ignore.txt line 2: .* no integer"),
    ],
)
def test_bad_rows_name_file_and_line(folder, file, row, message):
    path = folder / "UAV-benchmark-MOTD_v1.0" / "GT" / file
    save_text(path, path.read_text() + row + "\n")
    with pytest.raises(DataError, match=message):
        list(find_format("uavdt")(folder).read("test"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("UAV-benchmark-MOTD_v1.0/GT/M0203_gt_whole.txt", "M0203 has no .*M0203_gt_whole.txt"),
        ("UAV-benchmark-MOTD_v1.0/GT/M0203_gt_ignore.txt", "M0203 has no .*M0203_gt_ignore.txt"),
        ("M_attr/test/M0203_attr.txt", "M0203 is in neither split"),
    ],
)
def test_missing_files_are_named(folder, path, message):
    (folder / path).unlink()
    with pytest.raises(DataError, match=message):
        list(find_format("uavdt")(folder).read("test"))


def test_a_listed_sequence_without_images_and_one_in_two_splits_are_named(folder):
    save_text(folder / "M_attr" / "test" / "M9999_attr.txt", "")
    with pytest.raises(DataError, match=r"M9999 does not exist, but M_attr lists M9999"):
        list(find_format("uavdt")(folder).read("test"))
    save_text(folder / "M_attr" / "test" / "M0101_attr.txt", "")
    with pytest.raises(DataError, match="lists M0101 in train and in test"):
        find_format("uavdt")(folder).splits()


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"UAV-benchmark-M/Mxxxx"):
        find_format("uavdt")(tmp_path).splits()
