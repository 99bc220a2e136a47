"""Mixed precision in ONNX files."""

import collections

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from tests.export.networks import detect, make_model, run_onnx
from uavdet.errors import UsageError
from uavdet.export.half import convert_to_half, float32_scopes
from uavdet.export.network import NetworkOptions, exported_network
from uavdet.export.onnx import export_onnx
from uavdet.export.operators import check_graph

pytest.importorskip("onnxruntime")
SIZE = [64, 96]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model, its file in float32 and its file in half precision."""
    model, folder = make_model("so-detr-n"), tmp_path_factory.mktemp("half")
    single = export_onnx(model, folder / "single.onnx", SIZE)
    return model, single, export_onnx(model, folder / "half.onnx", SIZE, half=True)


def precisions(graph):
    """Return the element type of every tensor of a graph by name."""
    graph = infer_shapes(graph)
    values = [*graph.graph.value_info, *graph.graph.input, *graph.graph.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in graph.graph.initializer}


def test_the_file_is_about_half_as_large(files):
    single, half = (path.stat().st_size for path in files[1:])
    assert 0.45 < half / single < 0.65


def test_input_and_output_stay_in_float32(files):
    graph = onnx.load(str(files[2])).graph
    kinds = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT]


def test_every_node_has_one_name_and_no_tensor_is_cast_twice(files):
    nodes = onnx.load(str(files[2])).graph.node
    assert max(collections.Counter(node.name for node in nodes).values()) == 1
    casts = collections.Counter((node.input[0], node.attribute[0].i) for node in nodes if node.op_type == "Cast")
    assert max(casts.values()) == 1


@pytest.mark.parametrize(
    "part", ["LayerNormalization", "Softmax", "GridSample", "/dual_domain/", "/score_head/", "/refinements.", "/grids/"]
)
def test_what_overflows_stays_in_float32(files, part):
    graph = onnx.load(str(files[2]))
    kind = precisions(graph)
    nodes = [
        node for node in graph.graph.node if (part == node.op_type or part in node.name) and node.op_type != "Cast"
    ]
    assert nodes
    assert not [node.name for node in nodes if TensorProto.FLOAT16 in [kind.get(name) for name in node.input]]


def test_convolutions_are_in_half_precision(files):
    graph = onnx.load(str(files[2]))
    kind = precisions(graph)
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv" and "/dual_domain/" not in node.name]
    assert all(kind[name] == TensorProto.FLOAT16 for node in convolutions for name in node.input)


def test_the_modules_that_overflow_are_found_by_their_class():
    network = exported_network(make_model("so-detr-r18"), NetworkOptions(imgsz=(64, 64)))
    expected = {"modulation", "selection", "box_head", "score_head", "grids", "outputs"}
    assert float32_scopes(network) == expected | {f"refinements.{layer}" for layer in range(3)}


def test_scores_are_near_those_of_the_model(files):
    model, _, half = files
    x = torch.rand(1, 3, *SIZE)
    found, expected = run_onnx(half, x)[0], detect(model, x)
    np.testing.assert_allclose(np.sort(found[..., 4]), np.sort(expected[..., 4]), atol=0.03)


def test_half_precision_goes_with_uint8_and_an_open_batch(tmp_path):
    model = make_model("rtdetr-n")
    path = export_onnx(model, tmp_path / "x.onnx", 64, half=True, input="uint8", dynamic=True, opset=18)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    expected = detect(model, (pictures[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32))
    np.testing.assert_allclose(np.sort(run_onnx(path, pictures)[0][..., 4], 1), np.sort(expected[..., 4], 1), atol=0.03)


def small_graph(nodes, constants):
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, [2])], tensors
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_output_in_half_precision_is_given_back_in_float32(tmp_path):
    graph = convert_to_half(
        small_graph([helper.make_node("Mul", ["x", "c"], ["y"], name="m")], {"c": np.float32([2, 3])}), frozenset()
    )
    assert [node.op_type for node in graph.graph.node] == ["Cast", "Mul", "Cast"]
    onnx.save(graph, str(tmp_path / "x.onnx"))
    np.testing.assert_array_equal(run_onnx(tmp_path / "x.onnx", np.float32([1, 2]))[0], [2, 6])


def test_a_scope_keeps_its_nodes_in_float32():
    nodes = [helper.make_node("Mul", ["x", "c"], ["y"], name="/a/heads/Mul")]
    graph = convert_to_half(small_graph(nodes, {"c": np.float32([2, 3])}), frozenset({"heads"}))
    assert [node.op_type for node in graph.graph.node] == ["Mul"]


def test_a_constant_beyond_half_precision_is_refused_by_name():
    nodes = [helper.make_node("Mul", ["x", "huge"], ["y"], name="m")]
    graph = convert_to_half(small_graph(nodes, {"huge": np.float32([1, 70000])}), frozenset())
    with pytest.raises(UsageError, match=r"constant 'huge_half' is not finite. Export with half=False"):
        check_graph(graph)
