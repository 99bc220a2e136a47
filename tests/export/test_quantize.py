"""Quantizers in ONNX graphs, against the arithmetic written out in float64."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from uavdet.export.quantize import (
    TARGETS,
    TensorStatistics,
    affine_step,
    calibrated_tensors,
    corrected_bias,
    quantize_graph,
    symmetric_step,
    weight_steps,
)

onnxruntime = pytest.importorskip("onnxruntime")
SHAPE = (2, 4, 9, 7)


def make_graph(generator, groups=1, bias=True, relu=True):
    """Return x -> Conv A -> ReLU -> Conv B -> y; and Conv C, which reads x as well -> z."""
    weights = {
        "wa": generator.normal(size=(6, 4 // groups, 3, 3)),
        "wb": generator.normal(size=(5, 6, 1, 1)),
        "wc": generator.normal(size=(3, 4, 1, 1)),
        "ba": generator.normal(size=6),
    }
    nodes = [
        helper.make_node("Conv", ["x", "wa", *(["ba"] if bias else [])], ["a"], name="A", pads=[1] * 4, group=groups),
        *([helper.make_node("Relu", ["a"], ["r"], name="R")] if relu else []),
        helper.make_node("Conv", ["r" if relu else "a", "wb"], ["y"], name="B"),
        helper.make_node("Conv", ["x", "wc"], ["z"], name="C"),
        *(helper.make_node("Identity", [name], [f"{name}_out"], name=f"{name}_name") for name in ("y", "z")),
    ]
    value = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    outputs = [value(f"{name}_out", TensorProto.FLOAT, [None] * 4) for name in ("y", "z")]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, SHAPE)], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, {name: array.astype(np.float32).astype(np.float64) for name, array in weights.items()}


def run(graph, x, names=None):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"x": x})


def convolve(x, weights, bias=None, pad=0, groups=1):
    parts = [torch.from_numpy(np.asarray(part, dtype=np.float64)) for part in (x, weights)]
    bias = None if bias is None else torch.from_numpy(np.asarray(bias, dtype=np.float64))
    return torch.conv2d(*parts, bias, padding=pad, groups=groups).numpy()


def describe(array):
    return TensorStatistics(float(array.min()), float(array.max()), array.mean(axis=(0, 2, 3)))


def in_steps(weights):
    steps = np.abs(weights).reshape(len(weights), -1).max(1) / 127
    steps = steps.reshape(-1, 1, 1, 1)
    return np.rint(weights / steps) * steps


def statistics_of(x, weights, groups=1, bias=True):
    a = np.maximum(convolve(x, weights["wa"], weights["ba"] if bias else None, 1, groups), 0)
    return {
        "x": describe(x),
        "r": describe(a),
        "y": describe(convolve(a, weights["wb"])),
        "z": describe(convolve(x, weights["wc"])),
    }


@pytest.mark.parametrize(("groups", "bias"), [(1, True), (2, True), (4, False)])
def test_the_tensorrt_form_is_the_formula(groups, bias):
    generator = np.random.default_rng(groups)
    graph, weights = make_graph(generator, 1 if groups == 4 else groups, bias)
    groups = 1 if groups == 4 else groups
    x = generator.normal(0.3, 1, SHAPE).astype(np.float32)
    statistics = statistics_of(x, weights, groups, bias)
    given = run(quantize_graph(graph, {"A"}, statistics, "tensorrt"), x)[0]

    step = np.abs(x).max().astype(np.float64) / 127
    rounded = np.clip(np.rint(x / step), -128, 127) * step
    shift = (in_steps(weights["wa"]) - weights["wa"]).sum((2, 3))
    means = x.astype(np.float64).mean((0, 2, 3)).reshape(groups, -1)
    shift = np.concatenate([part @ mean for part, mean in zip(np.split(shift, groups), means, strict=True)])
    bias_a = (weights["ba"] if bias else 0.0) - shift
    expected = convolve(np.maximum(convolve(rounded, in_steps(weights["wa"]), bias_a, 1, groups), 0), weights["wb"])
    np.testing.assert_allclose(given, expected, atol=2e-4)


def test_the_cpu_form_is_the_formula():
    generator = np.random.default_rng(5)
    graph, weights = make_graph(generator)
    x = generator.normal(0.3, 1, SHAPE).astype(np.float32)
    statistics = statistics_of(x, weights)
    given = run(quantize_graph(graph, {"A"}, statistics, "cpu"), x)[0]

    def to_uint8(array, one):
        low, high = min(one.low, 0), max(one.high, 0)
        step = (high - low) / 255
        zero = np.rint(-low / step)
        return (np.clip(np.rint(array / step) + zero, 0, 255) - zero) * step, step

    rounded, _ = to_uint8(x, statistics["x"])
    shift = (in_steps(weights["wa"]) - weights["wa"]).sum((2, 3)) @ statistics["x"].means
    middle = np.maximum(convolve(rounded, in_steps(weights["wa"]), weights["ba"] - shift, 1), 0)
    stepped, step = to_uint8(middle, statistics["r"])
    # where the exact value lies between two steps, rounding in float32 may take the other one
    most = np.abs(weights["wb"]).sum((1, 2, 3)).max() * step
    difference = np.abs(given - convolve(stepped, weights["wb"]))
    assert difference.max() <= most
    assert np.median(difference) < 1e-4


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_graph_holds_for_its_target(target):
    generator = np.random.default_rng(1)
    graph, weights = make_graph(generator)
    x = generator.normal(size=SHAPE).astype(np.float32)
    quantized = quantize_graph(graph, {"A", "B", "C"}, statistics_of(x, weights), target)
    onnx.checker.check_model(quantized)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    nodes = quantized.graph.node
    zeros = [constants[node.input[2]] for node in nodes if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    kinds = {zero.dtype.name for zero in zeros}
    reads = [node.input[0] for node in nodes if node.op_type == "QuantizeLinear"]
    if target == "tensorrt":
        assert kinds == {"int8"}
        assert not any(zero.any() for zero in zeros)
        assert reads.count("x") == 2, "a pair for each convolution"
        assert {"wa", "wb", "wc"} <= set(reads)
    else:
        assert kinds == {"uint8", "int8", "int32"}
        assert reads.count("x") == 1, "one pair for both convolutions"
        assert "a" not in reads, "quantized behind the ReLU"
        assert {"r", "y", "z"} <= set(reads)
        assert not {"wa", "wb", "wc"} & set(constants), "weights are stored in int8"
    assert [node.name for node in nodes if node.op_type == "Conv"] == ["A", "B", "C"]
    assert len({node.name for node in nodes}) == len(nodes)
    assert [node.name for node in graph.graph.node][:4] == ["A", "R", "B", "C"], "the graph itself stays as it is"


def test_onnx_runtime_computes_the_cpu_form_in_int8(tmp_path):
    generator = np.random.default_rng(2)
    graph, weights = make_graph(generator)
    x = generator.normal(size=SHAPE).astype(np.float32)
    quantized = quantize_graph(graph, {"A", "B", "C"}, statistics_of(x, weights), "cpu")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "x.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(quantized.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "x.onnx")).graph.node]
    assert kinds.count("QLinearConv") == 3
    assert "Conv" not in kinds
    assert "Relu" not in kinds


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_to_quantize_changes_nothing(target):
    graph, _ = make_graph(np.random.default_rng(0))
    assert quantize_graph(graph, [], {}, target).graph.node == graph.graph.node
    assert calibrated_tensors(graph, []) == []


def test_only_what_convolutions_read_and_give_is_calibrated():
    graph, _ = make_graph(np.random.default_rng(0))
    assert calibrated_tensors(graph, ["A"]) == ["x", "r"]
    assert calibrated_tensors(graph, ["A", "B"]) == ["x", "r", "y"]
    graph, _ = make_graph(np.random.default_rng(0), relu=False)
    assert calibrated_tensors(graph, ["A"]) == ["x", "a"]


def test_a_tensor_that_others_read_too_is_quantized_before_the_relu():
    graph, _ = make_graph(np.random.default_rng(0))
    graph.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [None] * 4))
    assert calibrated_tensors(graph, ["A"]) == ["x", "a"]


@pytest.mark.parametrize(
    ("low", "high", "step", "zero"),
    [(0, 0, 1e-8, 0), (0, 255, 1, 0), (1, 255, 1, 0), (-255, 0, 1, 255), (-1, 4.1, 0.02, 50), (-3, -1, 3 / 255, 255)],
)
def test_steps_of_uint8(low, high, step, zero):
    given = affine_step(low, high)
    assert given[0] == pytest.approx(step)
    assert given[1] == zero


@pytest.mark.parametrize(("low", "high", "step"), [(0, 0, 1e-8 / 127), (-1, 127, 1), (-254, 127, 2), (3, 12.7, 0.1)])
def test_steps_of_int8(low, high, step):
    assert symmetric_step(low, high) == pytest.approx(step)


def test_steps_of_weights():
    weights = np.zeros((3, 2, 1, 1), np.float32)
    weights[1, 0], weights[2, 1] = 127, -254
    np.testing.assert_allclose(weight_steps(weights), [1e-8, 1, 2])


def test_biases_keep_the_means_of_constant_maps():
    weights = np.random.default_rng(3).normal(size=(4, 2, 3, 3)).astype(np.float32)
    rounded, means = np.rint(weights), np.array([0.5, -2.0])
    bias = corrected_bias(None, weights, rounded, means)
    maps = np.ones((1, 2, 5, 5)) * means.reshape(1, 2, 1, 1)
    np.testing.assert_allclose(convolve(maps, rounded, bias), convolve(maps, weights), atol=1e-5)


def test_a_bias_beyond_int32_widens_the_steps_of_its_weights():
    graph, _ = make_graph(np.random.default_rng(0))
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    tensors["ba"].CopyFrom(numpy_helper.from_array(np.float32([1e6, 0, 0, 0, 0, 0]), "ba"))
    tensors["wa"].CopyFrom(numpy_helper.from_array(np.full((6, 4, 3, 3), 1e-9, np.float32), "wa"))
    flat = TensorStatistics(0.0, 1e-3, np.zeros(4))
    statistics = {"x": flat, "r": replace(flat, high=2e6)}
    quantized = quantize_graph(graph, {"A"}, statistics, "cpu")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    assert abs(int(constants["A_bias_quantized"][0])) <= 2**30
    value = constants["A_bias_quantized"] * constants["A_bias_step"].astype(np.float64)
    assert value[0] == pytest.approx(1e6, rel=1e-6)
