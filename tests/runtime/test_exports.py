"""The runtime on files that uavdet exports, against the networks that they were made from, in PyTorch."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from uavdet.engine.families import build_model, load_model_config
from uavdet.export.onnx import export_onnx
from uavdet.runtime import Detector
from uavdet.runtime.preprocess import stretch_images

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]


def network(channels=3):
    torch.manual_seed(0)
    return build_model(load_model_config("rtdetr-n"), nc=2, channels=channels, queries=10).eval()


@pytest.fixture(scope="module")
def model():
    return network()


def images(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def rows_of(model, image, channels=3):
    with torch.no_grad():
        return model(torch.from_numpy(stretch_images([image], (64, 96), channels)))[0][0].numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 2},
        {"dynamic": True, "input": "uint8"},
        {"output": "raw", "dynamic": True},
        {"output": "deepstream", "input": "uint8"},
    ],
)
def test_a_file_detects_what_its_network_detects(settings, model, tmp_path):
    detector = Detector(export_onnx(model, tmp_path / "x.onnx", [64, 96], simplify=False, **settings), conf=0.0)
    several = images((50, 70), (64, 96), (80, 31))
    for image, found in zip(several, detector.detect(several), strict=True):
        expected = rows_of(model, image)
        np.testing.assert_allclose(found.scores, np.sort(expected[:, 4])[::-1][: len(found)], atol=1e-4)
        height, width = image.shape[:2]
        best = expected[expected[:, 4].argmax()]
        corners = np.array([best[0] - best[2] / 2, best[1] - best[3] / 2, best[0] + best[2] / 2, best[1] + best[3] / 2])
        clipped = (corners * [width, height, width, height]).clip(0, [width, height, width, height])
        assert np.abs(found.boxes - clipped).max(1).min() < 0.05
    assert detector.session.network.output == settings.get("output", "detections")


def test_a_grey_network_detects_in_grey_and_colour_images(tmp_path):
    model = network(channels=1)
    detector = Detector(export_onnx(model, tmp_path / "x.onnx", [64, 96], simplify=False), conf=0.0)
    assert detector.session.channels == 1
    (colour,) = images((50, 70))
    found = detector(colour)
    expected = np.sort(rows_of(model, colour, 1)[:, 4])[::-1][: len(found)]
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)
    np.testing.assert_array_equal(found.boxes, detector(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)).boxes)
    assert detector.session.network.images.color == "grey"


@pytest.mark.parametrize("words", [[], ["x.onnx"], ["x.onnx", "x.jpg", "more"]])
def test_the_example_says_how_it_is_used(words):
    command = [sys.executable, str(ROOT / "examples" / "run_without_torch.py"), *words]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "usage: python examples/run_without_torch.py detector.onnx image.jpg\n"
