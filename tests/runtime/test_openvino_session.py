"""Folders for OpenVINO in the runtime."""

import importlib.util
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml

from tests.export.networks import make_model
from uavdet.errors import CheckpointError, UsageError
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.openvino import write_folder
from uavdet.runtime import Detector, Session, openvino_session
from uavdet.runtime.openvino_package import import_openvino
from uavdet.runtime.openvino_session import computes_bf16
from uavdet.runtime.predict import run_predict

# not importorskip: to import OpenVINO by itself is what starts its telemetry
pytestmark = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
SIZE = (64, 96)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return an ONNX file and folders of one model: in float32, and for bf16."""
    model, place = make_model("rtdetr-n", nc=3, queries=30), tmp_path_factory.mktemp("made")
    options = NetworkOptions(imgsz=SIZE, simplify=False)
    half = replace(options, half=True, half_name="bf16")
    write_onnx(model, place / "x.onnx", options, {})
    write_folder(model, place / "x_openvino_model", options, {})
    write_folder(model, place / "half_openvino_model", half, {})
    return place


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made / "x_openvino_model", tmp_path / "x_openvino_model")


@pytest.fixture(scope="module")
def bf16():
    return computes_bf16(import_openvino().Core())


def test_a_folder_says_what_a_file_says(made):
    folder, file = Session(made / "x_openvino_model"), Session(made / "x.onnx", device="cpu")
    for name in ("names", "imgsz", "channels", "stride", "batch", "largest_batch"):
        assert getattr(folder, name) == getattr(file, name), name
    assert folder.device == "openvino"
    assert folder.provider == "OpenVINOExecutionProvider"
    assert not folder.half


@pytest.mark.parametrize("device", [None, "cpu", "openvino", "openvino:cpu", "auto"])
def test_a_folder_detects_as_a_file(made, device):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    folder = Detector(made / "x_openvino_model", device=device, threads=1, conf=0.0)(image)
    file = Detector(made / "x.onnx", device="cpu", conf=0.0)(image)
    np.testing.assert_allclose(folder.scores, file.scores, atol=1e-4)
    assert len(folder) == len(file) == 30


def test_several_images_and_their_order(made):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    detector = Detector(made / "x_openvino_model", conf=0.0)
    together = detector.detect(list(images))
    for image, found in zip(images, together, strict=True):
        np.testing.assert_array_equal(detector(image).scores, found.scores)


def test_results_are_kept_when_the_next_image_comes(made):
    session = Session(made / "x_openvino_model")
    first = session.run(np.zeros((1, 3, *SIZE), np.float32))
    before = first.copy()
    session.run(np.ones((1, 3, *SIZE), np.float32))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize(
    ("folder", "half", "expected"),
    [("x", None, False), ("x", False, False), ("x", True, True), ("half", None, True), ("half", False, False)],
)
def test_the_precision_is_chosen_when_a_folder_is_opened(made, bf16, folder, half, expected):
    if half and not bf16:
        pytest.skip("this CPU does not compute in bf16")
    session = Session(made / f"{folder}_openvino_model", half=half)
    assert session.half == (expected and bf16)
    exact = Session(made / "x.onnx", device="cpu")
    x = np.random.default_rng(1).random((1, 3, *SIZE), dtype=np.float32)
    difference = np.abs(session.run(x)[..., 4] - exact.run(x)[..., 4]).max()
    # weights of the folder for bf16 are in fp16 also where it computes in float32
    assert difference < (0.05 if session.half else 5e-3 if folder == "half" else 1e-4)
    assert difference > (1e-6 if session.half else -1)


def test_a_cpu_without_bf16_computes_in_float32_unless_told(made, monkeypatch):
    monkeypatch.setattr(openvino_session, "computes_bf16", lambda core: False)
    assert not Session(made / "half_openvino_model").half
    with pytest.raises(UsageError, match="half=True is not possible: this CPU has neither AMX nor AVX-512 BF16"):
        Session(made / "half_openvino_model", half=True)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", r"device=cuda does not run .*x_openvino_model', which is for OpenVINO"),
        ("tensorrt", "device=tensorrt does not run"),
        ("openvino:npu", "device=openvino:NPU is not available: OpenVINO finds"),
        ("tpu", "device=tpu is not allowed"),
    ],
)
def test_devices_that_do_not_run_a_folder(made, device, message):
    with pytest.raises(UsageError, match=message) as caught:
        Session(made / "x_openvino_model", device=device)
    assert "\n" not in str(caught.value)


def break_nothing(folder):
    shutil.rmtree(folder)


def break_into_file(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


def break_graph(folder):
    (folder / "detector.xml").write_text("<net")


def break_weights(folder):
    (folder / "detector.bin").unlink()


def break_two(folder):
    shutil.copy(folder / "detector.xml", folder / "another.xml")


def break_metadata(folder):
    (folder / "metadata.yaml").unlink()


def break_yaml(folder):
    (folder / "metadata.yaml").write_text("names: [")


def break_names(folder):
    (folder / "metadata.yaml").write_text("imgsz: [64, 96]\n")


def break_size(folder):
    told = yaml.safe_load((folder / "metadata.yaml").read_text())
    (folder / "metadata.yaml").write_text(yaml.safe_dump({**told, "imgsz": [96, 64]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_nothing, "does not exist"),
        (break_into_file, "is no folder"),
        (break_graph, "is damaged"),
        (break_weights, "does not hold one .xml and its .bin"),
        (break_two, "does not hold one .xml and its .bin"),
        (break_metadata, r"metadata.yaml' cannot be read"),
        (break_yaml, r"metadata.yaml' cannot be read"),
        (break_names, "does not say its classes and input size"),
        (break_size, r"takes images of .*, but says imgsz=\[96, 64\]"),
    ],
)
def test_damaged_folders_are_told_in_one_line(copied, damage, message):
    damage(copied)
    with pytest.raises(CheckpointError, match=message) as caught:
        Session(copied)
    assert "\n" not in str(caught.value)
    assert str(copied) in str(caught.value)


def test_predict_takes_a_folder(made, tmp_path, capsys):
    picture = tmp_path / "x.png"
    cv2.imwrite(str(picture), np.zeros((64, 96, 3), np.uint8))
    options = {"model": str(made / "x_openvino_model"), "source": str(picture), "project": str(tmp_path / "runs")}
    assert run_predict(options) == 0
    assert "64x96 on openvino" in capsys.readouterr().out
