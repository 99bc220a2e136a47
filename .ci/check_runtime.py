"""Detects with an exported file where the runtime extra alone is installed, and proves that nothing more is.

    python .ci/check_runtime.py detector.onnx [folder of real images [expected.json]]

It is run by the Python of an environment that holds `uavdet[runtime]` and nothing else. `expected.json` is what
`uavdet predict source=FOLDER conf=0.2 json=True` printed elsewhere with the weights, in PyTorch.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uavdet.data.scenes import Scene, SceneConfig
from uavdet.errors import MissingDependencyError, UAVDetError, UsageError
from uavdet.runtime import Detections, Detector
from uavdet.video.sources import read_picture

CONF = 0.2
SCORE, PIXELS = 1e-3, 0.1  # by how much detections may differ from PyTorch's; scores within the first of CONF may miss
ABSENT = ("torch", "torchvision", "ultralytics", "timm", "supervision", "scipy", "av", "pydantic", "PIL")


def check_that_nothing_else_is_installed() -> None:
    """Check that the packages of training are no part of this environment."""
    for package in ABSENT:
        assert importlib.util.find_spec(package) is None, f"{package} is installed here"


def make_pictures(folder: Path) -> list[Path]:
    """Write a few thermal scenes like those that the bundled weights were trained on."""
    files = []
    for seed in (22, 23, 24):
        scene = Scene(SceneConfig(seed=seed, modality="thermal", ground="urban", objects=24, min_size=12))
        files.append(folder / f"scene{seed}.png")
        cv2.imwrite(str(files[-1]), scene.render(0).image)
    return files


def check_detections(detector: Detector, files: list[Path]) -> int:
    """Check that something is found, alone and in a batch alike, and that boxes lie in their images."""
    images = [read_picture(file) for file in files]
    several, total = detector.detect(images), 0
    for image, found in zip(images, several, strict=True):
        alone = detector(image)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)
        height, width = image.shape[:2]
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [width, height, width, height]).all()
        total += len(found)
    assert total, "nothing was detected"
    return total


def check_forms(found: Detections) -> None:
    """Check what needs nothing more, and that the rest says what it needs."""
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    assert len(found.to_coco(1)) == len(found)
    expect(MissingDependencyError, "pip install 'uavdet[video]'", found.to_supervision)
    expect(
        MissingDependencyError, "pip install 'uavdet[train]'", lambda: found.to_results(np.zeros((9, 9, 3), np.uint8))
    )


def expect(kind: type[UAVDetError], message: str, call: Callable[[], object]) -> None:
    """Check that a call fails with a message of one line."""
    said = None
    try:
        call()
    except kind as error:
        said = str(error)
    assert said is not None, f"no {kind.__name__}: {message}"
    assert message in said, said
    assert "\n" not in said, said


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of this environment."""
    return subprocess.run([sys.executable, "-m", "uavdet", *words], capture_output=True, text=True, check=False)


def rows(detections: list[dict[str, Any]]) -> np.ndarray:
    """Return detections of JSON as rows (K, 6): x1, y1, x2, y2, score, class."""
    found = [[*each["box"].values(), each["confidence"], each["class"]] for each in detections]
    return np.array(found, dtype=np.float64).reshape(-1, 6)


def check_against_pytorch(found: dict[str, Any], expected: dict[str, Any]) -> int:
    """Check that two outputs of `uavdet predict` hold the same detections; return their number."""
    both = [
        {Path(entry["path"]).name: rows(entry["detections"]) for entry in each["results"]} for each in (found, expected)
    ]
    assert both[0].keys() == both[1].keys(), "other images"
    for name in both[0]:
        for ours, theirs in (both, both[::-1]):
            near = np.abs(ours[name][:, None] - theirs[name][None]) <= [*[PIXELS] * 4, SCORE, 0]
            alone = ours[name][~near.all(2).any(1)]
            assert (alone[:, 4] < CONF + SCORE).all(), f"{name}: {alone} has no counterpart"
    return sum(map(len, both[1].values()))


def check_command(weights: str, files: list[Path], folder: Path, expected: Path | None) -> int:
    """Check `uavdet predict`, on pictures and on a video; return the number of detections that PyTorch's were."""
    given = [f"model={weights}", f"conf={CONF}", "json=True", f"project={folder / 'runs'}"]
    done = run("predict", *given, f"source={files[0].parent}/*{files[0].suffix}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["results"]) >= len(files)
    assert any(entry["detections"] for entry in result["results"])
    assert len(list(Path(result["save_dir"]).glob("*.jpg"))) == len(result["results"])
    agreed = check_against_pytorch(result, json.loads(expected.read_text(encoding="utf-8"))) if expected else 0
    video = folder / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 128))
    for _ in range(3):
        writer.write(cv2.resize(read_picture(files[0]), (160, 128)))
    writer.release()
    done = run("predict", *given, f"source={video}")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == 3
    return agreed


def check_bad_input(weights: str, picture: Path, folder: Path) -> None:
    """Check that everything that is no good ends with one line and its exit code."""
    (folder / "zero.onnx").touch()
    (folder / "cut.onnx").write_bytes(Path(weights).read_bytes()[:-100])
    (folder / "zero.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    good, model = f"source={picture}", f"model={weights}"
    for words, code, message in (
        (["model=gone.onnx", good], 4, "does not exist"),
        ([f"model={folder / 'zero.onnx'}", good], 4, "is empty"),
        ([f"model={folder / 'cut.onnx'}", good], 4, "is damaged"),
        (["model=x.engine", good], 2, "is a TensorRT engine"),
        ([model, "source=gone.jpg"], 3, "does not exist"),
        ([model, f"source={folder / 'zero.jpg'}"], 3, "is empty"),
        ([model, f"source={folder / 'text.jpg'}"], 3, "cannot be decoded"),
        ([model, good, "device=cuda"], 2, "uavdet[runtime-gpu]"),
        ([model, good, "device=openvino"], 2, "uavdet[runtime-openvino]"),
        ([model, "source=rtsp://127.0.0.1/x"], 6, "needs av (PyAV), which is not installed"),
        ([model, good, "show=True"], 6, "pip install 'uavdet[train]'"),
        ([good], 6, "pip install 'uavdet[train]'"),
    ):
        done = run("predict", *words)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert done.returncode == code, (words, done.returncode, done.stderr)
        assert len(errors) == 1, done.stderr
        assert message in errors[0], (words, errors)
    expect(UsageError, "runtime-gpu", lambda: Detector(weights, device="tensorrt"))


def main(weights: str, real: str | None = None, expected: str | None = None) -> None:
    """Check the runtime with an exported file, on real images where there are some."""
    check_that_nothing_else_is_installed()
    detector = Detector(weights, conf=CONF)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scenes").mkdir()
        files = make_pictures(folder / "scenes")
        kind = "generated"
        if real:
            files, kind = sorted(Path(real).glob("*.jpg"))[:10], "real"
            assert files, f"{real} holds no image"
        total = check_detections(detector, files)
        check_forms(detector(read_picture(files[0])))
        agreed = check_command(weights, files, folder, Path(expected) if expected else None)
        check_bad_input(weights, files[0], folder)
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & set(ABSENT))
    assert not loaded, loaded
    print(f"{total} detections in {len(files)} {kind} images on {detector.session.device}, without {', '.join(ABSENT)}")
    if expected:
        print(f"uavdet predict finds the {agreed} detections in {real} that PyTorch finds")


if __name__ == "__main__":
    main(*sys.argv[1:])
