"""ONNX files: operators, layout, size, and agreement with the torch model."""

import ast
import collections
import json
import re

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tests.export.networks import assert_same_detections, detect, make_model, run_onnx
from uavdet.engine.exported import read_exported
from uavdet.errors import CheckpointError, UsageError
from uavdet.export.metadata import hash_weights
from uavdet.export.onnx import export_onnx
from uavdet.export.operators import REFUSED_OPERATORS
from uavdet.runtime import Session

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def open_batch(tmp_path_factory):
    """Return a model and its file with an open batch, of operator set 18 and two sides."""
    model = make_model("so-detr-n")
    return model, export_onnx(model, tmp_path_factory.mktemp("open") / "x.onnx", [64, 96], dynamic=True, opset=18)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_open_batch_takes_any_number(open_batch, batch):
    model, path = open_batch
    x = torch.rand(batch, 3, 64, 96)
    expected = detect(model, x)
    assert read_exported(path).rows == expected.shape[1]  # max_det follows it where the file is run
    assert_same_detections(run_onnx(path, x)[0], expected)


def test_an_open_batch_keeps_the_sides(open_batch):
    value = onnx.load(str(open_batch[1])).graph.input[0]
    assert [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] == ["batch", 3, 64, 96]
    assert onnx.load(str(open_batch[1])).opset_import[0].version == 18


@pytest.fixture(scope="module")
def graph_at_640(tmp_path_factory):
    """Return the graph of the paper's block at the paper's size."""
    return onnx.load(str(export_onnx(make_model("so-detr-n"), tmp_path_factory.mktemp("g") / "x.onnx", 640)))


def test_the_graph_at_640_is_plain(graph_at_640):
    counts = collections.Counter(node.op_type for node in graph_at_640.graph.node)
    assert not set(counts) & {*REFUSED_OPERATORS, "Identity", "Constant", "Shape", "Where", "Range", "Sin", "Cos"}
    assert counts["GridSample"] == 9  # three levels in three layers
    assert counts["LayerNormalization"] >= 10
    assert counts["Cast"] == 1  # of the class ids, in the rows


def test_constants_appear_once_and_are_finite(graph_at_640):
    tensors = [numpy_helper.to_array(tensor) for tensor in graph_at_640.graph.initializer]
    contents = collections.Counter((str(value.dtype), value.shape, value.tobytes()) for value in tensors)
    assert max(contents.values()) == 1
    assert all(np.isfinite(value).all() for value in tensors if value.dtype.kind == "f")


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model, x = make_model("so-detr-n"), torch.rand(1, 3, 64, 64)
    before = detect(model, x)
    export_onnx(model, tmp_path / "x.onnx", 64, simplify=False)
    np.testing.assert_array_equal(detect(model, x), before)


def test_ultralytics_reads_the_same_boxes(tmp_path):
    from ultralytics import RTDETR

    model = make_model("rtdetr-n")
    model.names = {0: "a", 1: "b", 2: "c"}
    path = export_onnx(model, tmp_path / "x.onnx", [64, 96])
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert ast.literal_eval(metadata["names"]) == model.names
    image = np.random.default_rng(0).integers(0, 255, (150, 80, 3), dtype=np.uint8)
    result = RTDETR(str(path)).predict(image, conf=0.0, imgsz=[64, 96], verbose=False, project=str(tmp_path))[0]
    stretched = cv2.resize(image, (96, 64), interpolation=cv2.INTER_LINEAR)
    rows = detect(model, (stretched[None, ..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32))[0]
    assert result.names == model.names
    expected = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    expected = np.concatenate([expected * [80, 150, 80, 150], rows[:, 4:]], 1)
    found = result.boxes.data.numpy()
    distance = np.abs(found[:, None] - expected[None]).max(-1)
    assert len(found) == len(rows)
    assert distance.min(1).max() < 0.01  # pixels


def test_raw_outputs_hold_every_query(tmp_path):
    model, x = make_model("so-detr-n"), torch.rand(2, 3, 64, 64)
    boxes, scores = run_onnx(export_onnx(model, tmp_path / "x.onnx", 64, output="raw", batch=2, simplify=False), x)
    assert (boxes.shape, scores.shape) == ((2, 30, 4), (2, 30, 3))
    with torch.no_grad():
        raw = model(x)[1]
    for given, wanted in ((boxes, raw[0][0]), (scores, raw[1][0].sigmoid())):
        np.testing.assert_allclose(np.sort(given, 1), np.sort(wanted.numpy(), 1), atol=1e-4)


def test_deepstream_rows_are_those_of_the_model(tmp_path):
    model, x = make_model("so-detr-n"), torch.rand(1, 3, 64, 96)
    found = run_onnx(export_onnx(model, tmp_path / "x.onnx", [64, 96], output="deepstream", simplify=False), x)[0]
    rows = detect(model, x)
    corners = np.concatenate([rows[..., :2] - rows[..., 2:4] / 2, rows[..., :2] + rows[..., 2:4] / 2], -1)
    expected = np.concatenate([corners * [96, 64, 96, 64], rows[..., 4:]], -1)
    assert found.shape == (1, 30, 6)
    assert_same_detections(found / [96, 64, 96, 64, 1, 1], expected / [96, 64, 96, 64, 1, 1])


@pytest.mark.parametrize("channels", [3, 1])
def test_uint8_pictures_give_the_same_rows(tmp_path, channels):
    model = make_model("rtdetr-n", channels=channels)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 96, channels), dtype=np.uint8)
    images = (pictures[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    path = export_onnx(model, tmp_path / "x.onnx", [64, 96], input="uint8", dynamic=True, simplify=False)
    assert_same_detections(run_onnx(path, pictures)[0], detect(model, images))


@pytest.mark.parametrize(
    ("output", "queries", "max_det", "rows"),
    [("detections", 50, 300, 50), ("deepstream", 90, 300, 63), ("raw", 50, 300, 50), ("raw", 90, 7, 7)],
)
def test_an_image_of_few_tokens_has_the_rows_of_the_model(output, queries, max_det, rows, tmp_path):
    model, x = make_model("rtdetr-n", queries=queries), torch.rand(1, 3, 32, 32)  # 21 tokens, 3 classes
    session = Session(export_onnx(model, tmp_path / "x.onnx", 32, output=output, max_det=max_det, simplify=False))
    found, expected = session.run(x.numpy()), detect(model, x)[:, :max_det]
    assert found.shape == (1, rows, 6)
    assert_same_detections(found, expected)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = make_model("rtdetr-n")
    name, weights = list(model.named_parameters())[20]
    weights.data.view(-1)[0] = float("nan")
    with pytest.raises(CheckpointError, match=f"NaN or infinity, first in '{re.escape(name)}'"):
        export_onnx(model, tmp_path / "x.onnx", 64, simplify=False)
    assert not list(tmp_path.iterdir())


def test_fewer_rows_are_the_best_ones(tmp_path):
    model, x = make_model("rtdetr-n"), torch.rand(1, 3, 64, 64)
    found = run_onnx(export_onnx(model, tmp_path / "x.onnx", 64, max_det=7, simplify=False), x)[0]
    assert found.shape == (1, 7, 6)
    np.testing.assert_allclose(found[0, :, 4], detect(model, x)[0, :7, 4], atol=1e-4)


def test_the_file_names_the_weights_that_it_was_made_from(tmp_path):
    model = make_model("rtdetr-n")
    path = export_onnx(model, tmp_path / "x.onnx", 64, meta={"metrics": {"coco/AP": 0.5}}, simplify=False)
    entries = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    part = json.loads(entries["uavdet"])
    assert part["weights_sha256"] == hash_weights(model)
    assert part["metrics"] == {"coco/AP": 0.5}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rtdetr-n", {"opset": 16}, r"opset=16 is not supported: it has no LayerNormalization"),
        ("rtdetr-n", {"opset": 19}, r"opset=19 is not supported: TensorRT 8.6 ends at 17"),
        ("yolo11n.yaml", {}, "Export a YOLO with Ultralytics"),
        ("yolo26n.yaml", {}, "Export a YOLO with Ultralytics"),
    ],
)
def test_what_cannot_be_deployed_is_refused(name, options, message, tmp_path):
    model = make_model(name, queries=None)
    with pytest.raises(UsageError, match=message) as caught:
        export_onnx(model, tmp_path / "x.onnx", 64, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
