"""What quantizing each row of a network costs, measured where the head reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uavdet.export.graph_rows import head_inputs
from uavdet.export.quantize import Statistics, quantize_graph
from uavdet.export.tolerances import relative_error


@dataclass(frozen=True)
class RowCost:
    """The cost of one row.

    Attributes:
        row: Its name.
        convolutions: How many of its convolutions can be quantized.
        error: Relative error of the feature maps that the head reads, where this row alone is quantized: norm of the
            difference over the norm, averaged over levels and images. AP would need hundreds of images to tell rows
            apart, and errors of single rows move it by less than its noise.
    """

    row: str
    convolutions: int
    error: float


def measure_costs(
    graph: Any, rows: Mapping[str, Sequence[str]], statistics: Statistics, target: str, batches: Sequence[np.ndarray]
) -> tuple[RowCost, ...]:
    """Return the cost of every row, the highest first.

    Args:
        graph: The model in float32.
        rows: Names of the convolutions by row.
        statistics: Those of `calibrated_tensors`.
        target: See `quantize_graph`.
        batches: Inputs as the graph takes them, a few: their feature maps are held in memory.
    """
    if not rows:
        return ()
    session = _open_to_head(graph)
    expected = [_run(session, batch) for batch in batches]
    costs = []
    for row, convolutions in rows.items():
        session = _open_to_head(quantize_graph(graph, convolutions, statistics, target))
        errors = [
            relative_error(wanted, given)
            for batch, maps in zip(batches, expected, strict=True)
            for wanted, given in zip(maps, _run(session, batch), strict=True)
        ]
        costs.append(RowCost(row, len(convolutions), float(np.mean(errors))))
    return tuple(sorted(costs, key=lambda cost: -cost.error))


def cost_table(costs: Iterable[RowCost], kept: Iterable[str]) -> str:
    """Return costs as text, a row a line, with what becomes of each."""
    costs, kept = list(costs), set(kept)
    width = max((len(cost.row) for cost in costs), default=0)
    fates = ["  stays float" if cost.row in kept else "" for cost in costs]
    rows = (
        f"{cost.row:<{width}}  {cost.convolutions:>12}  {cost.error:.4f}{fate}"
        for cost, fate in zip(costs, fates, strict=True)
    )
    return "\n".join([f"{'row':<{width}}  convolutions  error where it alone is int8", *rows])


def _run(session: Any, batch: np.ndarray) -> list[np.ndarray]:
    return list(session.run(None, {session.get_inputs()[0].name: batch}))


def _open_to_head(graph: Any) -> Any:
    """Return a session that computes what the head reads, and no more."""
    import onnx
    import onnxruntime

    cut = onnx.ModelProto()
    cut.CopyFrom(graph)
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in head_inputs(graph))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
