"""The torch-free runtime against formulas and against the torch model."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from uavdet.engine.families import build_model, load_model_config
from uavdet.errors import CheckpointError, UsageError
from uavdet.export.onnx import export_onnx
from uavdet.runtime import Detector, Session
from uavdet.runtime.postprocess import decode_rows
from uavdet.runtime.preprocess import stretch_images

pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "run_without_torch.py"


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    from uavdet.model import UAVDet

    model = UAVDet(tiny_run.best)
    return model, export_onnx(model.module, tmp_path_factory.mktemp("onnx") / "x.onnx", [64, 96], batch=2)


def images(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_preprocessing_equals_training_pixel_by_pixel():
    from ultralytics.data.augment import LetterBox

    given = stretch_images(images((50, 70), (64, 96)), (64, 96))
    for row, image in zip(given, images((50, 70), (64, 96)), strict=True):
        resized = LetterBox((64, 96), scale_fill=True)(image=image)
        expected = torch.from_numpy(np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1))).float() / 255
        np.testing.assert_array_equal(row, expected.numpy())


def test_grey_images_have_three_equal_channels():
    batch = stretch_images([images((20, 30))[0][..., 0]], (32, 32))
    np.testing.assert_array_equal(batch[0, 0], batch[0, 2])


def test_a_grey_network_reads_grey_and_colour_images():
    colour = images((20, 30))[0]
    grey = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    batch = stretch_images([colour, grey], (32, 64), channels=1)
    assert batch.shape == (2, 1, 32, 64)
    np.testing.assert_array_equal(batch[0], batch[1])
    np.testing.assert_array_equal(batch[0, 0], cv2.resize(grey, (64, 32)) / np.float32(255))


def _export_conv(path, channels):
    """Write a network of one convolution with the metadata of an export; rows are (B, 1, 6)."""
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Conv2d(channels, 6, 1), torch.nn.Flatten(2))
    rows = torch.nn.Sequential(network, _Transpose())
    torch.onnx.export(rows, (torch.zeros(1, channels, 32, 32),), str(path), dynamo=False)
    graph = onnx.load(str(path))
    onnx.helper.set_model_props(graph, {"names": "{0: 'a'}", "imgsz": "[32, 32]"})
    onnx.save(graph, str(path))
    return path


class _Transpose(torch.nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_other_numbers_of_channels_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="images of 4 channels"):
        Detector(_export_conv(tmp_path / "x.onnx", 4))
    assert Session(tmp_path / "x.onnx").run(np.zeros((3, 4, 32, 32), np.float32)).shape == (3, 1, 6)


def test_an_exported_grey_model_runs(tmp_path):
    torch.manual_seed(0)
    model = build_model(load_model_config("rtdetr-n"), nc=2, channels=1, queries=10).eval()
    detector = Detector(export_onnx(model, tmp_path / "x.onnx", [64, 96]), conf=0.0)
    assert detector.session.channels == 1
    colour = images((50, 70))[0]
    with torch.no_grad():
        rows = model(torch.from_numpy(stretch_images([colour], (64, 96), 1)))[0][0].numpy()
    given = detector.session.run(stretch_images([colour], (64, 96), 1))[0]
    np.testing.assert_allclose(np.sort(given[:, 4]), np.sort(rows[:, 4]), atol=1e-4)
    grey = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(detector(colour).boxes, detector(grey).boxes)
    assert detector.session.metadata["uavdet"]["preprocessing"]["color"] == "grey"


@pytest.mark.parametrize("device", ["CPU", "Cpu", "", None])
def test_the_cpu_may_be_written_in_any_case(device, tmp_path):
    detector = Detector(_export_conv(tmp_path / "x.onnx", 3), device=device)
    assert detector.session.provider == "CPUExecutionProvider"
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), None]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="Give uint8"):
        stretch_images([image], (32, 32))


def test_rows_become_pixels_inside_the_image():
    rows = np.array(
        [[0.5, 0.5, 0.2, 0.4, 0.9, 1], [0.0, 0.5, 0.2, 0.2, 0.8, 0], [0.5, 0.5, 0.1, 0.1, 0.1, 0]], np.float32
    )
    found = decode_rows(rows, (100, 200), {0: "a", 1: "b"})
    np.testing.assert_allclose(found.boxes, [[80, 30, 120, 70], [0, 40, 20, 60]], atol=1e-4)
    assert found.classes.tolist() == [1, 0]
    assert len(decode_rows(rows, (9, 9), {0: "a", 1: "b"}, conf=0.0, max_det=1)) == 1
    assert decode_rows(rows, (9, 9), {0: "a", 1: "b"}, conf=0.0, classes=[0]).classes.tolist() == [0, 0]
    assert found.to_json()[0]["name"] == "b"


def test_boxes_outside_the_image_are_dropped():
    rows = np.array(
        [[1.5, 0.5, 0.2, 0.2, 0.9, 0], [0.5, 0.5, 0.2, 0.0, 0.8, 0], [0.5, 0.5, 0.2, 0.2, 0.7, 0]], np.float32
    )
    assert decode_rows(rows, (100, 100), {0: "a"}).scores.tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_images_runs_through_a_fixed_batch(exported, count):
    _, path = exported
    detector = Detector(path, conf=0.0)
    several = images(*[(40 + 8 * i, 60) for i in range(count)])
    found = detector.detect(several)
    for image, detections in zip(several, found, strict=True):
        np.testing.assert_allclose(detections.scores, detector(image).scores, atol=1e-5)


def test_it_detects_what_the_torch_model_detects(exported):
    model, path = exported
    image = images((80, 120))[0]
    with torch.no_grad():
        expected = model.module.eval()(torch.from_numpy(stretch_images([image], (64, 96))))[0][0].numpy()
    rows = Session(path).run(stretch_images([image], (64, 96)))[0]
    np.testing.assert_allclose(np.sort(rows[:, 4]), np.sort(expected[:, 4]), atol=1e-4)


def test_the_session_knows_the_model(exported):
    session = Session(exported[1])
    assert session.names == {0: "person", 1: "car"}
    assert session.imgsz == (64, 96)
    assert session.batch == 2
    assert session.provider == "CPUExecutionProvider"


def test_files_and_devices_that_do_not_work_are_refused(exported, tmp_path):
    empty, text = tmp_path / "empty.onnx", tmp_path / "text.onnx"
    empty.touch()
    text.write_text("no graph")
    for path, message in ((tmp_path / "gone.onnx", "does not exist"), (empty, "is empty"), (text, "damaged")):
        with pytest.raises(CheckpointError, match=message):
            Session(path)
    with pytest.raises(UsageError, match="device=cuda needs CUDAExecutionProvider"):
        Session(exported[1], device="cuda")
    with pytest.raises(UsageError, match="device=0 needs CUDAExecutionProvider"):
        Session(exported[1], device=0)


def test_foreign_onnx_files_are_refused(tmp_path):
    torch.onnx.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), str(tmp_path / "x.onnx"), dynamo=False)
    with pytest.raises(CheckpointError, match="does not say its classes"):
        Session(tmp_path / "x.onnx")


@pytest.mark.parametrize("words", [[], ["x.onnx"], ["x.onnx", "x.jpg", "more"]])
def test_the_example_says_how_it_is_used(words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLE), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "usage: python examples/run_without_torch.py detector.onnx image.jpg\n"


def test_the_runtime_imports_no_torch():
    code = "import sys, uavdet.runtime; sys.exit(any(m in sys.modules for m in ('torch', 'ultralytics')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
