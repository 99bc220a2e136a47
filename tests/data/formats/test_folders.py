"""Files of a dataset's folders, and what is said where they are missing."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.data.formats.folders import files_by_stem, first_existing, image_size, list_entries, wrong_layout
from uavdet.errors import DataError


def test_a_folder_that_is_not_there_has_no_files(tmp_path):
    assert files_by_stem([], {".txt"}) == {}
    assert files_by_stem([tmp_path / "gone"], {".txt"}) == {}


def test_files_are_found_by_name_without_suffix(tmp_path):
    for name in ("a/1.txt", "a/2.TXT", "a/3.xml", "a/inner/4.txt", "b/5.v2.txt"):
        save_text(tmp_path / name, "")
    found = files_by_stem([tmp_path / "a", tmp_path / "b"], {".txt"})
    assert found == {"1": tmp_path / "a/1.txt", "2": tmp_path / "a/2.TXT", "5.v2": tmp_path / "b/5.v2.txt"}


@pytest.mark.parametrize(("first", "second"), [("a/1.jpg", "a/1.png"), ("a/1.jpg", "b/1.jpg")])
def test_two_files_of_one_name_are_refused(tmp_path, first, second):
    save_picture(tmp_path / first)
    save_picture(tmp_path / second)
    with pytest.raises(DataError, match=f"{second} has the name of .*{first}"):
        files_by_stem([tmp_path / "a", tmp_path / "b"], {".jpg", ".png"})


def test_the_first_folder_that_has_a_file_gives_it(tmp_path):
    save_text(tmp_path / "b" / "sub" / "1.txt", "")
    save_text(tmp_path / "c" / "sub" / "1.txt", "")
    locate = first_existing(tmp_path / name for name in "abc")
    assert locate("sub/1.txt") == tmp_path / "b/sub/1.txt"
    assert locate("2.txt") == tmp_path / "a/2.txt"  # for the message that it is missing


def test_image_sizes_are_width_and_height(tmp_path):
    assert image_size(save_picture(tmp_path / "a.png", 40, 30)) == (40, 30)
    with pytest.raises(DataError, match=r"b\.png does not exist"):
        image_size(tmp_path / "b.png")


def test_entries_are_listed_folders_first_and_cut_short(tmp_path):
    assert list_entries(tmp_path) == "nothing"
    for number in range(9):
        save_text(tmp_path / f"{number}.txt", "")
    (tmp_path / "z").mkdir()
    assert list_entries(tmp_path) == "z/, 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt, 6.txt and 2 more"


def test_a_wrong_layout_says_what_was_looked_for_and_found(tmp_path):
    save_text(tmp_path / "notes.txt", "")
    message = str(wrong_layout(find_format("seaperson")(tmp_path)))
    assert "SeaPerson. Looked for: anns/release/rgb_{train,valid,trainvalid,test}.json" in message
    assert "Found: notes.txt. Correct source= or format=." in message
