"""Text files of datasets: their lines, and lists of images."""

import pytest

from uavdet.data.formats.text_lines import read_image_list, read_lines
from uavdet.errors import DataError


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", [""]),
        (b"a", ["a"]),
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b", ""]),
        ("a\u2028b\x0cc\n".encode(), ["a\u2028b\x0cc", ""]),  # lines are what editors number
    ],
)
def test_lines_are_those_of_editors(tmp_path, content, lines):
    (tmp_path / "a.txt").write_bytes(content)
    assert read_lines(tmp_path / "a.txt") == lines


def test_names_come_with_their_lines_and_without_their_suffixes(tmp_path):
    (tmp_path / "a.txt").write_text("1.5\n\nb c.jpg\nd\n")
    assert read_image_list(tmp_path / "a.txt") == {"1.5": 1, "b c": 3, "d": 4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.txt cannot be read"),
        (b"\n \n", r"a\.txt is empty"),
        (b"a\n\na.png\n", r"a\.txt line 3: a stands on line 1, too"),
        (b"\xe9", r"a\.txt is no text in UTF-8 \(byte 0\)"),
    ],
)
def test_bad_lists_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_image_list(tmp_path / "a.txt")
