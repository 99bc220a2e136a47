"""VisDrone-VID: rows of sequences become objects of frames, with their track ids."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

ROWS = """1,0,593,43,174,190,0,0,0,0
1,17,10,11,12,13,1,4,1,2
3,17,20,21,12,13,1,4,0,0,
3,18,1,2,3,4,0,1,0,0
3,19,1,2,3,4,1,11,0,0
"""


@pytest.fixture
def folder(tmp_path):
    """Return one sequence of three frames, the second of which shows nothing."""
    split = tmp_path / "VisDrone2019-VID-val"
    for frame in (1, 2, 3):
        save_picture(split / "sequences" / "uav01_v" / f"{frame:07d}.jpg", 800, 600)
    save_text(split / "annotations" / "uav01_v.txt", ROWS)
    return tmp_path


def read(source, split="val"):
    return list(find_format("visdrone-vid")(source).read(split))


def test_rows_go_to_their_frames(folder):
    reader = find_format("visdrone-vid")(folder)
    assert reader.splits() == ["val"]
    first, second, third = reader.read("val")
    assert [image.name for image in (first, second, third)] == [f"uav01_v/000000{n}.jpg" for n in (1, 2, 3)]
    assert first.flags == {"sequence": "uav01_v", "frame": 1}
    assert [region.box for region in first.ignore_regions] == [(593, 43, 174, 190)]
    (car,) = first.objects
    assert (car.category, car.box, car.track_id) == ("car", (10, 11, 12, 13), 17)
    assert car.flags == {"truncation": 1, "occlusion": 2, "score": 1}
    assert (second.objects, second.ignore_regions, second.flags["frame"]) == ([], [], 2)
    assert [(o.category, o.track_id, o.ignored) for o in third.objects] == [
        ("car", 17, False), ("pedestrian", 18, True),
    ]  # fmt: skip
    assert [(o.category, o.track_id) for o in third.excluded] == [("others", 19)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("4,1,1,2,3,4,1,1,0,0", "line 6: frame 4 has no image; there are 1 to 3"),
        ("0,1,1,2,3,4,1,1,0,0", "line 6: frame 0 has no image"),
        ("1,1,2,3,4,1,1,0,0", "line 6: 9 fields"),
        ("1,1,1,2,3,4,1,12,0,0", "line 6: category 12"),
    ],
)
def test_bad_rows_name_file_and_line(folder, row, message):
    file = folder / "VisDrone2019-VID-val" / "annotations" / "uav01_v.txt"
    save_text(file, ROWS + row)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_sequences_and_annotations_come_in_pairs(folder):
    split = folder / "VisDrone2019-VID-val"
    save_text(split / "annotations" / "uav02_v.txt", "")
    with pytest.raises(DataError, match=r"uav02_v.txt has no sequence 'uav02_v'"):
        read(folder)
    (split / "annotations" / "uav02_v.txt").unlink()
    save_picture(split / "sequences" / "uav03_v" / "0000001.jpg")
    with pytest.raises(DataError, match=r"uav03_v has no annotation file .*uav03_v.txt"):
        read(folder)


def test_frames_have_numbers(folder):
    save_picture(folder / "VisDrone2019-VID-val" / "sequences" / "uav01_v" / "cover.jpg")
    with pytest.raises(DataError, match=r"cover.jpg has no frame number"):
        read(folder)


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="VisDrone2019-VID-"):
        find_format("visdrone-vid")(tmp_path).splits()


def test_two_frames_of_one_number_are_refused(folder):
    save_picture(folder / "VisDrone2019-VID-val" / "sequences" / "uav01_v" / "1.png")
    with pytest.raises(DataError, match=r"1\.png has the frame number of 0000001\.jpg"):
        read(folder)
