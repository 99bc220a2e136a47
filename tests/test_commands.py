"""What the commands print and write: JSON that is whole, and errors of one line."""

import io
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from uavdet.cli import main
from uavdet.commands import _print_results
from uavdet.errors import DataError


def result(folder="runs/x"):
    boxes = type("Boxes", (), {"cpu": lambda self: self, "__len__": lambda self: 0})()
    return SimpleNamespace(path="x.jpg", save_dir=str(folder), orig_shape=(4, 4), boxes=boxes, names={})


def failing(after, error):
    for _ in range(after):
        yield result()
    raise error


def test_results_are_one_json_object(tmp_path):
    output = io.StringIO()
    assert _print_results([result(tmp_path), result(tmp_path)], output) == 2
    written = json.loads(output.getvalue())
    assert [entry["frame"] for entry in written["results"]] == [0, 1]
    assert written["save_dir"] == str(tmp_path)
    assert "error" not in written


def test_a_folder_that_was_not_made_is_null(tmp_path):
    output = io.StringIO()
    _print_results([result(tmp_path / "gone")], output)
    assert json.loads(output.getvalue())["save_dir"] is None


@pytest.mark.parametrize("error", [DataError("It broke.\nTwice."), KeyboardInterrupt()])
def test_errors_keep_standard_output_readable(error):
    output = io.StringIO()
    with pytest.raises(type(error)):
        _print_results(failing(0, error), output)
    assert output.getvalue() == ""
    with pytest.raises(type(error)):
        _print_results(failing(2, error), output)
    written = json.loads(output.getvalue())
    assert len(written["results"]) == 2
    assert written["error"] in {"It broke. Twice.", "KeyboardInterrupt"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["predict", "source=gone.jpg", "json=True"], 3, "does not exist"),
        (["track", "source=gone.mp4", "json=True"], 3, "does not exist"),
        (["predict", "source=x.jpg", "project=file"], 2, "is a file"),
        (["demo", "project=file"], 2, "is a file"),
        (["demo", "tracker=foo"], 2, "tracker=foo is unknown"),
        (["demo", "device=banana"], 2, "device=banana"),
        (["demo", "imgsz=1"], 2, "imgsz=1"),
        (["demo", "source=gone.mp4"], 3, "cannot be read"),
        (["info", "model=yolo11n.yaml", "queries=3"], 2, "'queries' has no effect"),
        (["export", "model=yolo11n.yaml", "queries=3"], 2, "'queries' has no effect"),
        (["val", "model=junk.onnx", "data=d.yaml"], 4, "no ONNX file"),
        (["predict", "source=x.jpg", "device=cpu:0"], 2, "device=cpu:0 is not available"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(words, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "junk.onnx").write_text("junk")
    cv2.imwrite("x.jpg", np.zeros((32, 64, 3), np.uint8))
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.out == "" or "json=True" not in words
    errors = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not any((tmp_path / "runs").glob("*/*"))


def test_queries_of_an_export_are_all_written(tmp_path, capsys):
    import onnxruntime

    words = ["export", "model=rtdetr-n.yaml", "queries=500", "imgsz=256", f"out={tmp_path / 'x.onnx'}", "json=True"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 500, 6]
