"""Which layers of a weakly typed TensorRT network stay in float32 when the others may be half.

They are found by what they do and by the names of the ONNX nodes that they come from, which hold the paths of the
network's modules: the same modules that `uavdet.export.half` keeps in float32.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from uavdet.errors import UsageError

FLOAT32_TYPES = frozenset({"GRID_SAMPLE", "NORMALIZATION", "SOFTMAX", "TOPK"})
"""Layers that stay in float32 wherever they stand: sums that overflow, and coordinates to sample at."""

_UNCONSTRAINED = frozenset(
    {"ASSERTION", "CAST", "CONDITION", "CONSTANT", "DEQUANTIZE", "FILL", "IDENTITY", "NON_ZERO", "QUANTIZE", "SHAPE"}
)
"""Layers that compute nothing in floating point, or whose types the graph has settled."""


def keep_float32(trt: Any, network: Any, scopes: Collection[str]) -> list[str]:
    """Constrain layers of a network to float32.

    Args:
        trt: The module `tensorrt`, 8.6 or 10.
        network: What its parser made of a graph.
        scopes: Names that the nodes of modules in float32 have in their paths.

    Returns:
        The constrained layers' names.

    Raises:
        UsageError: No layer has one of the names, so that the parser must have named them otherwise.
    """
    chosen, found = [], False
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        inside = is_inside(layer, scopes)
        found = found or inside
        if (inside or _type(layer) in FLOAT32_TYPES) and _constrain(trt, layer):
            chosen.append(layer.name)
    if scopes and not found:
        raise UsageError(
            "TensorRT's parser kept no name of the network's modules, so that none can be kept in float32. "
            "Export with half=False, or take TensorRT 10.3."
        )
    return chosen


def is_inside(layer: Any, scopes: Collection[str]) -> bool:
    """Return whether a layer comes from a module of one of these names."""
    parts = {*layer.name.split("/")}
    told = getattr(layer, "metadata", "") or ""
    parts |= {*told.removeprefix("[ONNX Layer: ").rstrip("]").split("/")}
    return not parts.isdisjoint(scopes)


def _type(layer: Any) -> str:
    return str(layer.type).rpartition(".")[2]


def _constrain(trt: Any, layer: Any) -> bool:
    """Constrain a layer that gives floating-point numbers; return whether it does."""
    outputs = [index for index in range(layer.num_outputs) if layer.get_output(index).dtype == trt.float32]
    if _type(layer) in _UNCONSTRAINED or not outputs:
        return False
    layer.precision = trt.float32
    for index in outputs:
        layer.set_output_type(index, trt.float32)
    return True
