"""`uavdet doctor`: what it prints, writes and returns."""

import json
import os
import sys

import pytest

from uavdet.cli import main

BOX = "0 .5 .5 .4 .4\n"


@pytest.fixture
def sound(write_dataset):
    return write_dataset({"train": {"a.jpg": BOX, "b.jpg": BOX}, "val": {"c.jpg": BOX}})


def test_no_dataset_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 2
    assert main(["doctor", "data=gone.yaml"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_sound_dataset_is_printed_and_written(sound, tmp_path, capsys):
    assert main(["doctor", f"data={sound}", f"project={tmp_path / 'runs'}"]) == 0
    out = capsys.readouterr().out
    assert "No problem was found." in out
    assert "Advice:" in out
    folder = tmp_path / "runs" / "doctor"
    assert sorted(path.name for path in folder.iterdir()) == ["doctor.html", "doctor.json"]
    assert json.loads((folder / "doctor.json").read_text())["usable"] is True
    assert main(["doctor", f"data={sound}", f"project={tmp_path / 'runs'}"]) == 0
    assert (tmp_path / "runs" / "doctor2" / "doctor.html").is_file()


def test_damage_is_printed_before_exit_code_3(sound, tmp_path, capsys):
    label = tmp_path / "labels" / "train" / "a.txt"
    label.write_text(BOX + "0 .5 .5 .1\n0 .5 .5 -.1 .1\n")
    assert main(["doctor", f"data={sound}", f"project={tmp_path / 'runs'}", "name=x"]) == 3
    out = capsys.readouterr().out
    assert f"{label} line 2: 4 fields" in out
    assert f"{label} line 3: " in out
    assert (tmp_path / "runs" / "x" / "doctor.html").is_file()


def test_json_is_all_that_stands_on_standard_output(sound, tmp_path, capsys):
    (tmp_path / "images" / "val" / "c.jpg").write_bytes(b"")
    words = [f"data={sound}", f"project={tmp_path / 'runs'}", "json=True", "queries=50", "imgsz=320,640"]
    assert main(["doctor", *words]) == 3
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["queries"], result["imgsz"], result["usable"]) == (50, [320, 640], False)
    assert result["findings"][0]["kind"] == "unreadable image"
    assert result["save_dir"] == str(tmp_path / "runs" / "doctor")
    written = json.loads((tmp_path / "runs" / "doctor" / "doctor.json").read_text())
    assert {key: value for key, value in result.items() if key != "save_dir"} == written


def test_the_model_brings_its_queries(sound, tmp_path, capsys):
    model = tmp_path / "own.yaml"
    model.write_text("head:\n- [[1], 1, RTDETRDecoder, [nc, 64, 77]]\n")
    assert main(["doctor", f"data={sound}", f"model={model}", f"project={tmp_path / 'runs'}"]) == 0
    assert "77 queries" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told(sound, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["doctor", f"data={sound}", f"project={tmp_path / 'file'}"]) == 2
    captured = capsys.readouterr()
    assert "cannot be written" in captured.err
    assert captured.err.count("\n") == 1


def test_a_missing_package_is_named(sound, monkeypatch, capsys):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["doctor", f"data={sound}"]) == 6
    assert "opencv-python is not installed" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_utf8_are_written_with_escapes(sound, tmp_path, capsys):
    for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
        file = tmp_path / kind / "val" / f"c{suffix}"
        file.rename(file.with_stem(os.fsdecode(b"\xff")))
    assert main(["doctor", f"data={sound}", f"project={tmp_path / 'runs'}"]) == 0
    assert "No problem was found." in capsys.readouterr().out
    assert "val/\\udcff.jpg" in (tmp_path / "runs" / "doctor" / "doctor.html").read_text(encoding="utf-8")
