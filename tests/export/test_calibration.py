"""Statistics of tensors, against numbers worked by hand."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from uavdet.errors import DataError
from uavdet.export.calibration import measure_statistics

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def graph():
    """Return x -> 2x -> 2x + 1, over maps of two channels."""
    value = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(np.float32(number), name) for name, number in (("two", 2), ("one", 1))]
    nodes = [helper.make_node("Mul", ["x", "two"], ["d"]), helper.make_node("Add", ["d", "one"], ["y"])]
    shape = [None, 2, 1, 2]
    parts = [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)]
    model = helper.make_graph(nodes, "g", *parts, constants)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batch(*numbers):
    return np.array(numbers, np.float32).reshape(-1, 2, 1, 2)


def test_no_image_is_refused(graph):
    with pytest.raises(DataError, match="There is no image to calibrate on"):
        measure_statistics(graph, ["x"], [])


def test_no_tensor_needs_nothing(graph):
    assert measure_statistics(graph, [], [batch(0, 0, 0, 0)]) == {}


def test_extremes_and_means_are_averaged_over_batches(graph):
    found = measure_statistics(graph, ["d", "x"], iter([batch(0, 1, 2, 3), batch(-4, 5, 0, 1)]))
    assert list(found) == ["d", "x"]
    assert (found["x"].low, found["x"].high) == (-2, 4)  # of 0 and -4, of 3 and 5
    np.testing.assert_allclose(found["x"].means, [0.5, 1.5])  # of 0.5 and 0.5, of 2.5 and 0.5
    assert (found["d"].low, found["d"].high) == (-4, 8)
    np.testing.assert_allclose(found["d"].means, [1, 3])


def test_a_batch_of_several_images_counts_as_one(graph):
    found = measure_statistics(graph, ["x"], [batch(0, 1, 2, 3, -4, 5, 0, 1)])["x"]
    assert (found.low, found.high) == (-4, 5)
    np.testing.assert_allclose(found.means, [0.5, 1.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_told_with_their_tensor(graph, bad):
    with pytest.raises(DataError, match="gives NaN or infinity in 'd'"):
        measure_statistics(graph, ["d"], [batch(0, 1, 2, 3), batch(bad, 0, 0, 0)])


def test_batches_may_reuse_their_memory(graph):
    def batches():
        array = batch(0, 0, 0, 0)
        for number in (1, 3):
            array[:] = number
            yield array

    found = measure_statistics(graph, ["x"], batches())["x"]
    assert (found.low, found.high) == (2, 2)
