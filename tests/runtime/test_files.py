"""Sessions and the settings that they are opened with."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from uavdet.runtime.files import SLOW_FUSIONS, create_session


@pytest.fixture
def norm(tmp_path):
    """Return a network of an Add and a LayerNormalization, a pair that ONNX Runtime would run as one node."""
    shape = [1, 5, 8]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["sum"]),
            helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["y"], axis=-1),
        ],
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.full(8, value, np.float32), name) for name, value in (("scale", 2), ("bias", 1))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    return tmp_path / "x.onnx"


@pytest.mark.parametrize(
    ("providers", "disabled"),
    [
        (["CPUExecutionProvider"], SLOW_FUSIONS),
        ([("OpenVINOExecutionProvider", {"device_type": "CPU"}), "CPUExecutionProvider"], None),
    ],
)
def test_fusions_that_slow_the_cpu_down_are_left_out_there(norm, monkeypatch, providers, disabled):
    given = {}
    session = onnxruntime.InferenceSession

    def record(path, options, **settings):
        given.update(settings)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    create_session(norm, providers)
    assert given["disabled_optimizers"] == disabled


def test_the_result_is_that_of_the_formula(norm):
    x = np.random.default_rng(0).random((1, 5, 8), dtype=np.float32)
    found = create_session(norm, ["CPUExecutionProvider"]).run(None, {"x": x})[0]
    doubled = 2.0 * x.astype(np.float64)
    centred = doubled - doubled.mean(-1, keepdims=True)
    np.testing.assert_allclose(found, 2 * centred / np.sqrt(doubled.var(-1, keepdims=True) + 1e-5) + 1, atol=1e-5)
