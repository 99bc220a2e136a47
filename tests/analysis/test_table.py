"""CSV files: what is written, and that nothing is left of one that fails."""

import pytest

from uavdet.analysis.table import write_rows


def test_a_table_without_a_row_has_its_header(tmp_path):
    assert write_rows(tmp_path / "x.csv", [], ("a", "b")).read_text() == "a,b\n"


def test_floats_are_short_and_none_is_nothing(tmp_path):
    rows = [{"a": 1 / 3, "b": None}, {"a": 12, "b": "x, y"}]
    assert write_rows(tmp_path / "x.csv", rows, ("a", "b")).read_text() == '0.333333,\n12,"x, y"\n'.join(["a,b\n", ""])


def test_a_table_that_fails_leaves_the_old_one(tmp_path):
    file = write_rows(tmp_path / "x.csv", [{"a": 1}], ("a",))
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_rows(file, [{"a": 2}, {"other": 3}], ("a",))
    assert file.read_text() == "a\n1\n"
    assert list(tmp_path.iterdir()) == [file]
