"""Where runs put their results."""

from uavdet.run_folders import run_folder


def test_runs_are_numbered_where_they_exist(tmp_path):
    options = {"project": str(tmp_path), "name": "exp"}
    assert run_folder("train", options) == tmp_path / "exp"
    (tmp_path / "exp").mkdir()
    assert run_folder("train", options) == tmp_path / "exp2"
    assert run_folder("train", {**options, "exist_ok": True}) == tmp_path / "exp"


def test_runs_lie_under_the_working_folder_by_mode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder("val", {}) == tmp_path / "runs" / "val" / "val"
