"""ONNX files: operators, layout, and agreement with the torch model."""

import ast

import numpy as np
import onnx
import pytest
import torch

from uavdet.assets import list_assets
from uavdet.engine.exported import read_exported
from uavdet.engine.families import build_model, load_model_config
from uavdet.errors import UsageError
from uavdet.export.onnx import FORBIDDEN_OPERATORS, check_operators, export_onnx, operators

onnxruntime = pytest.importorskip("onnxruntime")


def make(name, seed=0):
    torch.manual_seed(seed)
    model = build_model(load_model_config(name), nc=3, queries=30).eval()
    for key, parameter in model.named_parameters():
        if key.endswith(("alpha", "base_gain")):  # zero at first, which would hide an error of the transform
            torch.nn.init.normal_(parameter)
    return model


def run(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def assert_same_detections(rows, expected, tolerance=2e-4):
    for given, wanted in zip(rows, expected, strict=True):
        np.testing.assert_allclose(np.sort(given[:, 4]), np.sort(wanted[:, 4]), atol=tolerance)
        distance = np.abs(given[:, None, :4] - wanted[None, :, :4]).max(-1)
        assert np.quantile(distance.min(1), 0.9) < 1e-3


@pytest.mark.parametrize("name", sorted(list_assets("cfg/models")))
def test_every_shipped_model_exports_and_agrees(name, tmp_path):
    model = make(name)
    stride = int(model.stride.max())
    x = torch.rand(1, 3, 2 * stride, 3 * stride)
    path = export_onnx(model, tmp_path / "x.onnx", [2 * stride, 3 * stride])
    graph = onnx.load(str(path))
    assert not operators(graph) & FORBIDDEN_OPERATORS
    assert graph.opset_import[0].version == 17
    with torch.no_grad():
        assert_same_detections(run(path, x), model(x)[0].numpy())


@pytest.mark.parametrize("batch", [1, 3])
def test_an_open_batch_takes_any_number(batch, tmp_path):
    model = make("so-detr-n")
    path = export_onnx(model, tmp_path / "x.onnx", 64, dynamic=True, opset=18)
    x = torch.rand(batch, 3, 64, 64)
    rows = len(model(x)[0][0])
    assert read_exported(path).rows == rows  # max_det follows it where the file is run
    with torch.no_grad():
        assert_same_detections(run(path, x), model(x)[0].numpy())


def test_the_graph_at_640_has_no_forbidden_operator(tmp_path):
    graph = onnx.load(str(export_onnx(make("so-detr-n"), tmp_path / "x.onnx", 640)))
    assert not operators(graph) & FORBIDDEN_OPERATORS
    assert {"MatMul", "GridSample", "LayerNormalization"} <= operators(graph)


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model, x = make("so-detr-n"), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)[0]
        export_onnx(model, tmp_path / "x.onnx", 64)
        torch.testing.assert_close(model(x)[0], before)


def test_ultralytics_reads_the_file(tmp_path):
    from ultralytics import RTDETR

    model = make("rtdetr-n")
    model.names = {0: "a", 1: "b", 2: "c"}
    path = export_onnx(model, tmp_path / "x.onnx", 64)
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert ast.literal_eval(metadata["names"]) == model.names
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    result = RTDETR(str(path)).predict(image, conf=0.0, verbose=False, project=str(tmp_path))[0]
    with torch.no_grad():
        rows = model(torch.from_numpy(image[None, ..., ::-1].transpose(0, 3, 1, 2).copy()).float() / 255)[0][0]
    np.testing.assert_allclose(np.sort(result.boxes.conf.numpy()), np.sort(rows[:, 4].numpy()), atol=1e-4)
    assert result.names == model.names


def test_forbidden_operators_are_found():
    node = onnx.helper.make_node("DFT", ["x"], ["y"])
    graph = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    with pytest.raises(UsageError, match="holds DFT"):
        check_operators(graph)
