"""VisDrone-DET: rows as the authors write them, and rows that they do not."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

GENUINE = """684,8,273,116,0,0,0,0
406,119,265,70,0,0,0,0
255,22,119,128,0,0,0,0
1,3,209,78,0,0,0,0
708,471,74,33,1,4,0,1
639,425,61,46,1,4,0,0
594,399,64,51,1,4,0,0
562,390,61,38,1,4,0,0
540,372,65,33,1,4,0,1
440,541,271,152,1,6,0,0,
"""  # the first rows of a genuine file, and one that ends in a comma


@pytest.fixture
def folder(tmp_path):
    """Return a folder of one split: a genuine file, an empty one, and one with every kind of row."""
    for stem, text in {"b": GENUINE, "a": "", "c": "1,2,3,4,1,11,1,2\n\n5,6,7,8,0,10,1,2\n"}.items():
        save_picture(tmp_path / "images" / f"{stem}.jpg", 960, 540)
        save_text(tmp_path / "annotations" / f"{stem}.txt", text)
    return tmp_path


def read(source, split="val"):
    return list(find_format("visdrone")(source).read(split))


def test_genuine_rows_are_read_field_by_field(folder):
    empty, genuine, _ = read(folder)
    assert (empty.name, empty.size, empty.objects, empty.ignore_regions) == ("a.jpg", (960, 540), [], [])
    assert [region.box for region in genuine.ignore_regions] == [
        (684, 8, 273, 116), (406, 119, 265, 70), (255, 22, 119, 128), (1, 3, 209, 78),
    ]  # fmt: skip
    assert [(o.category, o.box, o.flags["occlusion"]) for o in genuine.objects] == [
        ("car", (708, 471, 74, 33), 1),
        ("car", (639, 425, 61, 46), 0),
        ("car", (594, 399, 64, 51), 0),
        ("car", (562, 390, 61, 38), 0),
        ("car", (540, 372, 65, 33), 1),
        ("truck", (440, 541, 271, 152), 0),
    ]
    assert not any(o.ignored for o in genuine.objects)
    assert genuine.objects[0].origin == f"{folder / 'annotations' / 'b.txt'} line 5"


def test_others_are_excluded_and_score_0_is_ignored(folder):
    image = read(folder)[2]
    (other,), (ignored,) = image.excluded, image.objects
    assert (other.category, other.box, other.flags) == (
        "others", (1, 2, 3, 4), {"truncation": 1, "occlusion": 2, "score": 1},
    )  # fmt: skip
    assert (ignored.category, ignored.ignored, ignored.origin[-6:]) == ("motor", True, "line 3")


def test_the_ten_classes_stand_in_native_order():
    assert find_format("visdrone").classes == (
        "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
    )  # fmt: skip


def test_the_folders_of_the_release_are_its_splits(tmp_path):
    for split in ("train", "val", "test-dev", "test-challenge"):
        folder = tmp_path / f"VisDrone2019-DET-{split}"
        save_picture(folder / "images" / f"{split}.jpg")
        if split != "test-challenge":
            save_text(folder / "annotations" / f"{split}.txt", "1,2,3,4,1,1,0,0")
    reader = find_format("visdrone")(tmp_path)
    assert reader.splits() == ["train", "val", "test", "test-challenge"]
    assert [len(next(iter(reader.read(split))).objects) for split in reader.splits()] == [1, 1, 1, 0]
    assert find_format("visdrone")(tmp_path / "VisDrone2019-DET-test-dev").splits() == ["test"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,3,4,1,1,0", "7 fields in '1,2,3,4,1,1,0'"),
        ("1,2,3,4,1,1,0,0,0", "9 fields"),
        ("1,2,3,4,1,1,0,0,,", "9 fields"),
        ("1,2,3,4,0.87,1,-1,-1", "no integer"),
        ("1,2,3,nan,1,1,0,0", "no integer"),
        ("1_0,2,3,4,1,1,0,0", "no integer"),
        (f"{'9' * 400},2,3,4,1,1,0,0", "no integer"),
        ("1,2,3,4,1,12,0,0", "category 12. VisDrone has 0 to 11"),
        ("1,2,3,4,1,-1,0,0", "category -1"),
        ("1,2,3,4,2,1,0,0", "score 2"),
    ],
)
def test_malformed_rows_name_file_and_line(folder, row, message):
    file = save_text(folder / "annotations" / "b.txt", f"{GENUINE}{row}\n")
    with pytest.raises(DataError, match=message) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{file} line 11: ")


def test_images_and_annotations_come_in_pairs(folder):
    (folder / "annotations" / "a.txt").unlink()
    with pytest.raises(DataError, match=r"images/a.jpg has no annotation file .*annotations/a.txt"):
        read(folder)
    save_text(folder / "annotations" / "a.txt", "")
    save_text(folder / "annotations" / "z.txt", "")
    with pytest.raises(DataError, match=r"annotations/z.txt has no image 'z' in .*images"):
        read(folder)


def test_files_that_are_no_text_or_no_image_are_refused(folder):
    (folder / "annotations" / "a.txt").write_bytes(b"\xff\xd8\xff\x00")
    with pytest.raises(DataError, match=r"a\.txt is no text"):
        read(folder)
    save_text(folder / "images" / "a.jpg", "no image")
    with pytest.raises(DataError, match=r"a\.jpg is not a readable image"):
        read(folder)


def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path):
    save_text(tmp_path / "readme.md", "")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError) as caught:
        find_format("visdrone")(tmp_path).splits()
    for part in ("VisDrone2019-DET-{train,val", "images/ and annotations/", "pictures/, readme.md"):
        assert part in str(caught.value)
