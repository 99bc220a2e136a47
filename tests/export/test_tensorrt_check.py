"""Graphs that TensorRT builds, and graphs that it does not, as `tensorrt_rtx` tells them apart without a GPU."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from uavdet.errors import MissingDependencyError
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.tensorrt_check import check_graph

from .networks import make_model


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("so-detr-n", {"input": "uint8", "dynamic": True}),
        ("so-detr-r18", {"half": True}),
        ("rtdetr-n", {"output": "deepstream", "half": True}),
        ("so-detr-n-thumb2", {"output": "raw"}),
    ],
)
def test_exports_build(name, options, rtx, tmp_path):
    file = tmp_path / "x.onnx"
    write_onnx(make_model(name), file, NetworkOptions(imgsz=(64, 64), **options), {})
    check = check_graph(file)
    assert check.passed, check.problems
    assert check.layers > 300
    assert check.engine_bytes > 1e6


def write(file, nodes, shape=(1, 3, 8, 8), kind=TensorProto.FLOAT, constants=(), out=TensorProto.FLOAT):
    given = helper.make_tensor_value_info("images", kind, shape)
    output = helper.make_tensor_value_info("y", out, None)
    graph = helper.make_graph(nodes, "g", [given], [output], initializer=list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(file))
    return file


def constant(name, value, kind):
    return numpy_helper.from_array(np.array(value, dtype=kind), name)


def top_k(count):
    nodes = [helper.make_node("TopK", ["images", "k"], ["y", "i"], name="choose")]
    return {"nodes": nodes, "shape": (1, 8400), "constants": [constant("k", [count], np.int64)]}


def transform():
    complex_last = [
        helper.make_node("Reshape", ["images", "s"], ["r"]),
        helper.make_node("DFT", ["r"], ["y"], name="dft"),
    ]
    return {"nodes": complex_last, "constants": [constant("s", [1, 192, 1], np.int64)]}


def transposed_bytes():
    nodes = [
        helper.make_node("Transpose", ["images"], ["t"], perm=[0, 3, 1, 2], name="turn"),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT),
    ]
    return {"nodes": nodes, "shape": (1, 8, 8, 3), "kind": TensorProto.UINT8}


def quantized(kind, zero):
    names = ["images", "s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", names, ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", *names[1:]], ["d"], name="dequantize"),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    return {"nodes": nodes, "constants": [constant("s", 0.1, np.float32), constant("z", zero, kind)]}


@pytest.mark.parametrize("graph", [top_k(300), quantized(np.int8, 0)], ids=["TopK 300", "symmetric int8"])
def test_what_it_takes(graph, rtx, tmp_path):
    check = check_graph(write(tmp_path / "x.onnx", **graph))
    assert check.passed, check.problems


@pytest.mark.parametrize(
    ("graph", "operator", "node", "reason"),
    [
        (transform(), "DFT", "dft", ""),
        (top_k(3841), "", "", "3840"),
        (transposed_bytes(), None, None, ""),
        (quantized(np.uint8, 128), None, None, ""),
    ],
    ids=["DFT", "TopK 3841", "uint8 Transpose", "uint8 quantizer"],
)
def test_what_it_refuses(graph, operator, node, reason, rtx, tmp_path):
    check = check_graph(write(tmp_path / "x.onnx", **graph))
    assert not check.passed
    assert check.problems
    assert reason in " ".join(problem.reason for problem in check.problems)
    if operator is not None:
        assert (check.problems[0].operator, check.problems[0].node) == (operator, node)


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_what_is_no_graph(content, rtx, tmp_path):
    file = tmp_path / "x.onnx"
    file.write_bytes(content)
    check = check_graph(file)
    assert not check.passed
    assert check.problems


def test_without_tensorrt_rtx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"tensorrt_rtx is not installed.*uavdet\[dev\]"):
        check_graph(tmp_path / "x.onnx")
