"""Which rows are quantized: what they cost, and what stays float while the gate rejects a file."""

import copy

import numpy as np
import onnx
import pytest

from tests.export.networks import make_model
from uavdet.errors import UsageError
from uavdet.export.calibration import measure_statistics
from uavdet.export.graph_rows import quantizable_rows
from uavdet.export.network import NetworkOptions, exported_network
from uavdet.export.onnx import write_onnx
from uavdet.export.quantization import Quantization, check_rows
from uavdet.export.quantize import calibrated_tensors
from uavdet.export.sensitivity import RowCost, cost_table, measure_costs

pytest.importorskip("onnxruntime")


def plan(*errors, **settings):
    """Return a plan of rows a, b, ... with these errors and one convolution each."""
    costs = tuple(RowCost(chr(97 + index), 1, error) for index, error in enumerate(errors))
    return Quantization("cpu", {cost.row: (f"/detector/{cost.row}/Conv",) for cost in costs}, {}, costs, **settings)


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([], None),
        ([1.0], None),  # a file without int8 is not what was asked for
        ([4.0, 1.0], ("a",)),  # 16 of 17
        ([2.0, 2.0, 1.0], ("a", "b")),  # 4 of 9 are less than half, 8 of 9 more
        ([1.0, 1.0, 1.0, 1.0], ("a", "b")),
        ([0.0, 0.0], ("a",)),
    ],
)
def test_half_of_the_error_goes_at_a_time(errors, kept):
    further = plan(*errors).keep_more()
    assert (further and further.kept) == kept


def test_rows_go_until_one_is_left():
    current, steps = plan(8.0, 4.0, 2.0, 1.0, 0.5), []
    while current is not None:
        steps.append(current.kept)
        current = current.keep_more()
    assert steps == [(), ("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")]


def test_rows_that_were_given_are_the_last_word():
    assert plan(4.0, 1.0, kept=("b",), automatic=False).keep_more() is None


def test_kept_rows_are_not_quantized_and_metadata_say_so():
    given = plan(4.0, 1.23456789, kept=("a",), source="3 images")
    assert given.convolutions == ["/detector/b/Conv"]
    assert given.as_dict() == {
        "target": "cpu",
        "calibration": "3 images",
        "rows": [
            {"row": "a", "convolutions": 1, "error": 4.0, "int8": False},
            {"row": "b", "convolutions": 1, "error": 1.23457, "int8": True},
        ],
    }


def test_the_table_has_a_line_a_row():
    lines = cost_table([RowCost("stem1", 1, 0.25), RowCost("p3", 12, 0.001)], ["stem1"]).splitlines()
    assert [line.split() for line in lines[1:]] == [["stem1", "1", "0.2500", "stays", "float"], ["p3", "12", "0.0010"]]
    assert len(cost_table([], []).splitlines()) == 1


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (["stem"], r"int8_exclude=stem is no row .* Did you mean 'stem1'\? Rows: stem1, p3."),
        (["decoder"], "int8_exclude=decoder is no row with convolutions that are quantized. Rows:"),
        (["p3", "stem1"], "leaves nothing to quantize"),
    ],
)
def test_rows_that_cannot_be_kept(kept, message):
    with pytest.raises(UsageError, match=message) as caught:
        check_rows(kept, ["stem1", "p3"])
    assert "\n" not in str(caught.value)


def test_rows_that_can_be_kept():
    check_rows([], ["stem1", "p3"])
    check_rows(["p3"], ["stem1", "p3"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the graph of a small detector and its rows."""
    model, options = make_model("rtdetr-n"), NetworkOptions(imgsz=(64, 64))
    file = tmp_path_factory.mktemp("graph") / "x.onnx"
    write_onnx(model, file, options, {})
    graph = onnx.load(str(file))
    return graph, quantizable_rows(graph, exported_network(model, options))


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_the_row_with_the_coarsest_weights_costs_most(target, exported):
    graph, rows = copy.deepcopy(exported[0]), exported[1]
    weights = {node.input[1] for node in graph.graph.node if node.name in rows["p3"]}
    for tensor in graph.graph.initializer:
        if tensor.name in weights:  # one weight a channel widens its steps fifty times
            value = onnx.numpy_helper.to_array(tensor).copy()
            value[:, 0, 0, 0] = 50 * np.abs(value).max()
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    batches = list(np.random.default_rng(0).random((2, 1, 3, 64, 64), dtype=np.float32))
    tensors = calibrated_tensors(graph, [name for names in rows.values() for name in names])
    costs = measure_costs(graph, rows, measure_statistics(graph, tensors, batches), target, batches)
    assert costs[0].row == "p3"
    assert list(costs) == sorted(costs, key=lambda cost: -cost.error)
    assert {cost.row: cost.convolutions for cost in costs} == {row: len(names) for row, names in rows.items()}
    assert measure_costs(graph, {}, {}, target, batches) == ()
