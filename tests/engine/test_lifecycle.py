"""A detector's life as processes: trained, killed, resumed, validated, used, exported; no pickle is ever opened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import TINY
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.video.writer import VideoWriter

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("no_pickles.py")


def start(*words, **popen):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, str(RUNNER), *words], env=environment, **popen)


def run(*words):
    process = start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(output)


def keys(**options):
    return [f"{key}={value}" for key, value in options.items()]


def wait_for_epoch(csv, epoch, process):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if csv.exists() and len(csv.read_text().splitlines()) > epoch:
            return
        time.sleep(0.01)
    raise AssertionError(f"epoch {epoch} did not come")


@pytest.fixture(scope="module")
def killed_run(tiny_data, tmp_path_factory):
    """Return the folder of a run that was killed three times and resumed each time."""
    project = tmp_path_factory.mktemp("killed")
    folder, random_state = project / "run", random.Random(0)
    words = [
        "train",
        *keys(**{**TINY, "data": tiny_data, "epochs": 8, "project": project, "name": "run", "json": True}),
    ]
    for kill in range(3):
        process = start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_epoch(folder / "results.csv", 1 + 2 * kill, process)
        time.sleep(random_state.uniform(0, 0.8))
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = len((folder / "results.csv").read_text().splitlines()) - 1
        epoch = read_checkpoint(folder / "weights" / "last.pt").meta["epoch"]
        assert epoch + 1 >= done - 1, "more than the running epoch was lost"
        words = ["train", f"resume={folder / 'weights' / 'last.pt'}", "json=True"]
    result = run(*words)
    assert result["save_dir"] == str(folder)
    return folder


def test_a_run_killed_three_times_comes_to_its_end(killed_run):
    rows = (killed_run / "results.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 9))
    assert read_checkpoint(killed_run / "weights" / "best.pt").training is None
    assert not list((killed_run / "weights").glob(".*"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene = Scene(SceneConfig(seed=1, size=(160, 128), modality="thermal", objects=5))
    with VideoWriter(path, 10) as writer:
        for frame in scene.frames(6):
            writer.write(frame.image)
    return path


def test_its_weights_validate(killed_run, tiny_data, tmp_path):
    options = {"model": killed_run / "weights" / "best.pt", "data": tiny_data, "project": tmp_path, "json": True}
    metrics = run("val", *keys(**options, plots=False))
    recorded = read_checkpoint(killed_run / "weights" / "best.pt").meta["metrics"]
    for name in ("coco/AP", "coco/AP50", "coco/AR"):
        assert metrics[name] == pytest.approx(recorded[name], abs=1e-4)


def test_its_weights_predict_track_and_export(killed_run, clip, tmp_path):
    weights = killed_run / "weights" / "best.pt"
    common = keys(project=tmp_path, json=True, conf=0.001)
    result = run("predict", f"model={weights}", f"source={clip}", *common)
    assert len(result["results"]) == 6
    assert all(0 <= d["box"]["x1"] <= d["box"]["x2"] <= 160 for r in result["results"] for d in r["detections"])
    assert (Path(result["save_dir"]) / "clip.mp4").exists()
    tracked = run("track", f"model={weights}", f"source={clip}", *common)
    assert all("track_id" in d for r in tracked["results"] for d in r["detections"])
    exported = run("export", f"model={weights}", "format=onnx", "imgsz=64", f"out={tmp_path / 'x.onnx'}", "json=True")
    frame = tmp_path / "frame.jpg"
    cv2.imwrite(str(frame), Scene(SceneConfig(seed=1, size=(160, 128), modality="thermal", objects=5)).render(0).image)
    found = [run("predict", f"model={m}", f"source={frame}", *common) for m in (weights, exported["file"])]
    scores = [sorted(d["confidence"] for d in f["results"][0]["detections"]) for f in found]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_pickled_checkpoints_are_refused_by_the_command_line(tmp_path):
    import torch

    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "x.pt")
    cv2.imwrite(str(tmp_path / "x.jpg"), np.zeros((32, 64, 3), np.uint8))
    words = ("predict", f"model={tmp_path / 'x.pt'}", f"source={tmp_path / 'x.jpg'}")
    process = start(*words, stderr=subprocess.PIPE, text=True)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 4
    assert "uavdet import weights=" in errors
    assert errors.count("\n") == 1
