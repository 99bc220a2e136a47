"""Which graphs are refused, and that the lists are those of the importers."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from uavdet.errors import UsageError
from uavdet.export.operators import LARGEST_TOP_K, REFUSED_OPERATORS, check_graph, operators, tensorrt_importers


def graph_of(*nodes, inputs=(), constants=None):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, [], tensors))


def top_k(count):
    return graph_of(helper.make_node("TopK", ["x", "k"], ["v", "i"], name="best"), constants={"k": np.array([count])})


def test_an_empty_graph_passes():
    check_graph(graph_of())
    assert operators(graph_of()) == set()


def test_the_importers_are_those_of_tensorrt():
    known = tensorrt_importers()
    assert {version: len(names) for version, names in known.items()} == {"8.6": 166, "10.1": 172}
    assert all("DFT" not in names and "LayerNormalization" in names for names in known.values())
    assert known["10.1"] - known["8.6"] >= {"CastLike", "DeformConv", "Gelu"}


@pytest.mark.parametrize("name", sorted(REFUSED_OPERATORS))
def test_refused_operators_are_named_with_their_node_and_reason(name):
    with pytest.raises(UsageError, match=rf"holds {name} \('here'\)") as caught:
        check_graph(graph_of(helper.make_node(name, ["x"], ["y"], name="here")))
    assert REFUSED_OPERATORS[name] in str(caught.value)


def test_operators_without_an_importer_are_named_with_the_version():
    with pytest.raises(UsageError, match=r"holds Gelu \('here'\), which TensorRT 8.6 cannot import"):
        check_graph(graph_of(helper.make_node("Gelu", ["x"], ["y"], name="here")))


def test_top_k_ends_where_tensorrt_ends():
    check_graph(top_k(LARGEST_TOP_K))
    with pytest.raises(UsageError, match=r"selects 3841 queries .* TensorRT at most 3840. Give queries=3840 or fewer"):
        check_graph(top_k(3841))


def test_top_k_of_an_unknown_number_is_refused():
    with pytest.raises(UsageError, match="depends on the data"):
        check_graph(graph_of(helper.make_node("TopK", ["x", "k"], ["v", "i"])))


@pytest.mark.parametrize(("operator", "fine"), [("Cast", True), ("Transpose", False)])
def test_uint8_is_converted_first(operator, fine):
    pictures = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 2, 2, 3])
    graph = graph_of(helper.make_node(operator, ["x"], ["y"]), inputs=[pictures])
    if fine:
        return check_graph(graph)
    with pytest.raises(UsageError, match=r"Transpose .* reads uint8"):
        check_graph(graph)
    return None


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_constants_are_finite(value):
    with pytest.raises(UsageError, match="constant 'c' is not finite"):
        check_graph(graph_of(constants={"c": np.array([1.0, value], dtype=np.float16)}))
