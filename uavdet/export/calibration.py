"""Measures the tensors of an ONNX graph on images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from uavdet.errors import DataError
from uavdet.export.quantize import Statistics, TensorStatistics

_REDUCTIONS = ("ReduceMin", "ReduceMax", "GlobalAveragePool")


def measure_statistics(graph: Any, tensors: Sequence[str], batches: Iterable[np.ndarray]) -> Statistics:
    """Return the least and the greatest value of tensors and the means of their channels, each averaged over batches.

    The average, not the extreme of all, so that an outlier in one image does not widen the steps for every other. The
    graph itself reduces every tensor to these numbers, and one batch is held at a time: memory grows neither with the
    number of images nor with the size of tensors.

    Args:
        graph: The model in float32.
        tensors: Names of tensors (B, C, H, W).
        batches: Inputs as the graph takes them.

    Raises:
        DataError: There is no batch, or a value is not finite.
    """
    if not tensors:
        return {}
    session = _open_reduced(graph, tensors)
    sums: list[np.ndarray] = []
    count = 0
    for batch in batches:
        values = [_mean_of_images(array) for array in session.run(None, {session.get_inputs()[0].name: batch})]
        sums = [total + value for total, value in zip(sums, values, strict=True)] if count else values
        count += 1
    if not count:
        raise DataError("There is no image to calibrate on. Give a dataset with images: data=PATH/data.yaml.")
    means = iter([total.reshape(-1) / count for total in sums])
    return {name: _statistics(name, next(means), next(means), next(means)) for name in tensors}


def _mean_of_images(array: np.ndarray) -> np.ndarray:
    """Return the mean over the batch, which the extremes of all of it no longer have."""
    return np.asarray(array.mean(axis=0, dtype=np.float64) if array.ndim else array, dtype=np.float64)


def _statistics(name: str, low: np.ndarray, high: np.ndarray, means: np.ndarray) -> TensorStatistics:
    if not all(np.isfinite(part).all() for part in (low, high, means)):
        raise DataError(f"The network gives NaN or infinity in '{name}' on these images. Give other weights.")
    return TensorStatistics(float(low[0]), float(high[0]), means)


def _open_reduced(graph: Any, tensors: Sequence[str]) -> Any:
    """Return a session whose outputs are the reductions of every tensor."""
    import onnx
    import onnxruntime

    reduced = onnx.ModelProto()
    reduced.CopyFrom(graph)
    del reduced.graph.output[:]
    for index, name in enumerate(tensors):
        for kind in _REDUCTIONS:
            output = f"{kind}_{index}"
            settings: dict[str, Any] = {} if kind == "GlobalAveragePool" else {"keepdims": 0}
            reduced.graph.node.append(onnx.helper.make_node(kind, [name], [output], name=output, **settings))
            reduced.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(reduced.SerializeToString(), options, providers=["CPUExecutionProvider"])
