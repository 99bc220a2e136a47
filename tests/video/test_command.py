"""`uavdet predict` and `uavdet track` by way of the pipeline: what they print and write, and their exit codes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.runtime.networks import write_network
from uavdet.cli import main
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.errors import DataError
from uavdet.video.command import _refuse_unwritable

pytest.importorskip("onnxruntime")
pytest.importorskip("trackers")

ROOT = Path(__file__).resolve().parents[2]
COUNTS = ("frames_in", "processed", "dropped")
WITHOUT_TORCH = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ultralytics", "timm"}:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Missing())
from uavdet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Return a video of six frames at 5 frames a second."""
    from uavdet.video.writer import VideoWriter

    file = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(file, 5) as writer:
        for frame in Scene(SceneConfig(seed=1, size=(160, 128), modality="thermal", objects=5)).frames(6):
            writer.write(frame.image)
    return file


@pytest.fixture
def weights(request, tmp_path, monkeypatch, tiny_run):
    """Return a model of each kind, in a folder to work in."""
    monkeypatch.chdir(tmp_path)
    return write_network(tmp_path / "x.onnx") if request.param == "onnx" else tiny_run.best


BOTH = pytest.mark.parametrize("weights", ["onnx", "pt"], indirect=True)
ONNX = pytest.mark.parametrize("weights", ["onnx"], indirect=True)


@BOTH
def test_tracks_of_a_clip_are_printed_and_written(weights, clip, capsys):
    words = [f"model={weights}", f"source={clip}", "sinks=jsonl,mot", "save_txt=True", "json=True", "conf=0.001"]
    assert main(["track", *words]) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    folder = Path.cwd() / "runs" / "track" / "track"
    assert result["save_dir"] == str(folder)
    assert {result["report"][key] for key in ("frames_in", "processed")} == {6}
    assert result["report"]["dropped"] == 0
    assert result["report"]["milliseconds"].keys() >= {"decode", "preprocess", "inference", "postprocess", "track"}
    assert [entry["frame"] for entry in result["results"]] == list(range(6))
    assert [entry["pts"] for entry in result["results"]] == pytest.approx([index / 5 for index in range(6)], abs=1e-3)
    lines = [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]
    assert [line["detections"] for line in lines] == [entry["detections"] for entry in result["results"]]
    assert {path.name for path in folder.iterdir()} == {"clip.mp4", "detections.jsonl", "labels", "mot"}
    assert "milliseconds" in output.err
    if str(weights).endswith(".onnx"):
        assert [row["track_id"] for row in result["results"][-1]["detections"]] == [1]
        assert len((folder / "mot" / "clip.txt").read_text().splitlines()) == 6


@BOTH
def test_predict_detects_and_does_not_track(weights, clip, capsys):
    assert main(["predict", f"model={weights}", f"source={clip}", "save=False", "vid_stride=2", "json=True"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["results"]) == 3
    assert all("track_id" not in row for entry in result["results"] for row in entry["detections"])
    assert result["save_dir"] is None


@BOTH
def test_tiles_of_a_picture(weights, tmp_path, capsys):
    cv2.imwrite("x.png", np.full((120, 200, 3), 90, np.uint8))
    options = ["tile=100x60", "overlap=0", "full_frame=False", "json=True", "conf=0.01"]
    assert main(["predict", f"model={weights}", "source=x.png", *options]) == 0
    output = capsys.readouterr()
    (entry,) = json.loads(output.out)["results"]
    assert "4 tiles (2x2) of 100x60" in output.err
    if str(weights).endswith(".onnx"):
        centres = sorted((row["box"]["x1"] + row["box"]["x2"]) / 2 for row in entry["detections"] if row["class"] == 1)
        assert centres == pytest.approx([50, 50, 150, 150])
    assert (tmp_path / "runs" / "predict" / "predict" / "x.jpg").is_file()


@ONNX
def test_the_report_is_a_table_for_people(weights, clip, capsys):
    assert main(["predict", f"model={weights}", f"source={clip}", "save=False"]) == 0
    output = capsys.readouterr().out
    assert "frames in  processed    dropped    corrupt reconnects" in output
    assert "frames a second over" in output
    assert main(["predict", f"model={weights}", f"source={clip}", "save=False", "verbose=False"]) == 0
    assert capsys.readouterr().out == ""


@ONNX
def test_several_sources_are_told_apart(weights, clip, capsys):
    Path("all.streams").write_text(f"{clip}\n# a comment\n{clip}\n")
    assert main(["track", f"model={weights}", "source=all.streams", "sinks=jsonl", "save=False", "json=True"]) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert [[row[key] for key in COUNTS] for row in report["sources"]] == [[6, 6, 0], [6, 6, 0]]
    written = sorted(path.name for path in Path("runs/track/track").iterdir())
    assert written == ["detections-0.jsonl", "detections-1.jsonl"]


@ONNX
def test_a_source_that_fails_is_told_of_when_the_others_are_read(weights, clip, capsys):
    Path("bad.mp4").write_bytes(b"no video")
    Path("all.streams").write_text(f"bad.mp4\n{clip}\n")
    assert main(["predict", f"model={weights}", "source=all.streams", "save=False", "json=True"]) == 3
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert len(result["results"]) == 6
    assert result["error"].startswith("1 of 2 sources failed, the others have been read: ")
    assert [row["processed"] for row in result["report"]["sources"]] == [0, 6]
    assert "error: 1 of 2 sources failed" in output.err


@ONNX
def test_ctrl_c_ends_a_run_and_leaves_whole_files(weights, clip, tmp_path):
    """The clip is read a thousand times, which takes a while; the interrupt comes with the first result."""
    Path("long.txt").write_text(f"{clip}\n" * 1000)
    words = ["predict", f"model={weights}", "source=long.txt", "sinks=jsonl", "save=False", "json=True"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    result = json.loads(first + process.stdout.read())
    assert process.stderr.read().splitlines()[-1] == "interrupted"
    assert process.wait(120) == 130
    assert result["error"] == "KeyboardInterrupt"
    written = (tmp_path / "runs" / "predict" / "predict" / "detections.jsonl").read_text().splitlines()
    assert len(result["results"]) <= len([json.loads(line) for line in written]) < 600


@BOTH
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["source=gone.mp4"], 3, "source=gone.mp4 does not exist"),
        (["source=zero.mp4"], 3, "zero.mp4 is empty"),
        (["source=x.png", "overlap=0.5"], 2, "overlap=0.5 has no effect without tile="),
        (["source=x.png", "tile=big"], 2, "tile=big is no size of a tile"),
        (["source=x.png", "latency=fast"], 2, "latency=fast is not allowed. It is one of live, complete"),
        (["source=x.png", "stream_buffer=True", "latency=live"], 2, "stream_buffer=True queues all frames"),
        (["source=x.png", "sinks=vido"], 2, "sinks=vido is unknown. Did you mean 'video'?"),
        (["source=x.png", "sinks=mot"], 2, "sinks=mot writes tracks, but nothing is tracked"),
        (["source=x.png", "tile=auto", "save_crop=True"], 2, "tile=auto does not go with save_crop=True"),
        (["source=x.png", "max_retries=-1"], 2, "max_retries=-1 is not allowed"),
        (["source=x.png", "classes=7"], 2, "classes=7 is no class of"),
        (["source=x.png", "batch=0.5"], 2, "batch=0.5 is for training alone"),
    ],
)
def test_errors_take_one_line_and_leave_no_folder(weights, words, code, message, capsys):
    cv2.imwrite("x.png", np.full((32, 64, 3), 90, np.uint8))
    Path("zero.mp4").touch()
    assert main(["predict", f"model={weights}", *words]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not Path("runs").exists()


@ONNX
def test_tracking_takes_no_torch(weights, clip, tmp_path):
    words = ["track", f"model={weights}", f"source={clip}", "tile=96x96", "sinks=jsonl", "json=True"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["processed"] == 6


@pytest.mark.parametrize(("place", "error"), [("run/x.jpg", DataError), ("", DataError), ("../other/x.jpg", OSError)])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, place, error):
    path = Path(os.path.normpath(tmp_path / place))
    with pytest.raises(error, match="Permission denied"), _refuse_unwritable(tmp_path / "run"):
        raise PermissionError(13, "Permission denied", str(path))


def test_a_full_disk_is_told_in_a_line(tmp_path):
    with pytest.raises(DataError, match=r"The disk is full\. What .*run holds"), _refuse_unwritable(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device")


@ONNX
def test_where_the_results_are_is_said_of_a_failed_run_too(weights, clip, tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(clip, folder / "a.mp4")
    (folder / "b.mp4").write_bytes(b"no video")
    assert main(["predict", f"model={weights}", f"source={folder}"]) == 3
    output = capsys.readouterr()
    assert f"Results saved to {tmp_path / 'runs' / 'predict' / 'predict'}" in output.out
    assert "b.mp4" in output.err
