"""Folders of analyses: made before the work, gone where it fails, refused where they cannot be written."""

from pathlib import Path

import pytest

from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.table import write_rows
from uavdet.errors import UsageError

OPTIONS = {"project": None, "name": None, "exist_ok": False}


def test_the_folder_is_called_as_the_kind_and_numbered(tmp_path):
    for expected in ("pca", "pca2"):
        with new_results("pca", {**OPTIONS, "project": str(tmp_path / "some runs")}) as folder:
            assert folder == tmp_path / "some runs" / expected
            assert folder.is_dir()
    with new_results("pca", {**OPTIONS, "project": str(tmp_path), "name": "mine"}) as folder:
        assert folder.name == "mine"


def test_an_error_leaves_no_folder_but_what_was_there(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(RuntimeError), new_results("pca", {**OPTIONS, "project": str(tmp_path / "runs/a/b")}):
        raise RuntimeError
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_an_error_leaves_what_was_written(tmp_path):
    with pytest.raises(OSError, match="gone"), new_results("pca", {**OPTIONS, "project": str(tmp_path)}) as folder:
        write_rows(folder / "x.csv", [], ["a"]).with_name("gone").read_text()
    assert [file.name for file in (tmp_path / "pca").iterdir()] == ["x.csv"]


@pytest.mark.parametrize("call", ["mkdir", "TemporaryFile"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch, call):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*((Path, "mkdir") if call == "mkdir" else ("tempfile.TemporaryFile",)), refuse)
    said = f"Results cannot be written to {tmp_path / 'pca'}: Permission denied. Give a folder that can be written"
    with pytest.raises(UsageError, match=said), new_results("pca", {**OPTIONS, "project": str(tmp_path)}):
        pytest.fail("the work began")


@pytest.mark.parametrize("data", ["hituav/data.yaml", "data.yaml"])
def test_the_subject_names_model_data_and_split(data, tmp_path, monkeypatch):
    (tmp_path / "hituav").mkdir()
    monkeypatch.chdir(tmp_path if "/" in data else tmp_path / "hituav")
    options = {"model": "runs/best.pt", "data": data, "split": "val"}
    assert describe_subject(options) == "best.pt on hituav/data.yaml, val images"
