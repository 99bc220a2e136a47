"""Which row of the network a node of an exported graph belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from uavdet.export.half import FLOAT32_MODULES
from uavdet.nn.efficientformer import AttentionDownsample, TalkingHeadsAttention

FLOAT_MODULES = (*FLOAT32_MODULES, AttentionDownsample, TalkingHeadsAttention)
"""Modules whose convolutions are not quantized: attention, what is around the Fourier transform, heads, in- and output.
"""


def row_of(node: Any) -> str:
    """Return the name of the network's row that a node belongs to; "" for nodes outside of all."""
    parts = [part for part in node.name.split("/") if part]
    return parts[1].removeprefix("model.") if len(parts) > 1 and parts[0] == "detector" else ""


def quantizable_rows(graph: Any, network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of the convolutions that can be quantized, by row, in the order of the graph.

    Those of the head and of `FLOAT_MODULES` stay float, and those whose weights are no constants.

    Args:
        graph: The ONNX model.
        network: The `ExportedNetwork` that it was traced from.
    """
    detector: Any = network.detector
    head = [name for name, _ in detector.model.named_children()][-1]
    floats = [_tokens(name) for name, module in network.named_modules() if isinstance(module, FLOAT_MODULES)]
    constants = {tensor.name for tensor in graph.graph.initializer}
    rows: dict[str, list[str]] = {}
    for node in graph.graph.node:
        row = row_of(node)
        if node.op_type != "Conv" or row in {"", head} or not constants.issuperset(node.input[1:]):
            continue
        if not any(_is_inside(_tokens(node.name), module) for module in floats):
            rows.setdefault(row, []).append(node.name)
    return {row: tuple(names) for row, names in rows.items()}


def head_inputs(graph: Any) -> list[str]:
    """Return the tensors that the last row of a graph, the head, reads from the others, in the order of its nodes."""
    rows = {name: row_of(node) for node in graph.graph.node for name in node.output}
    head = next(row for row in map(row_of, reversed(graph.graph.node)) if row)
    read = [name for node in graph.graph.node if row_of(node) == head for name in node.input]
    return list(dict.fromkeys(name for name in read if rows.get(name, head) != head))


def image_tensors(graph: Any, names: Iterable[str]) -> list[str]:
    """Return those of the tensors that come from before the first row: images in [0, 1]."""
    rows = {name: row_of(node) for node in graph.graph.node for name in node.output}
    return [name for name in names if not rows.get(name)]


def _tokens(path: str) -> list[str]:
    return [token for token in re.split(r"[./]", path) if token not in {"", "model"}]


def _is_inside(node: list[str], module: Iterable[str]) -> bool:
    """Return whether a module's path is in a node's, in order: the node's repeats the names of lists of modules."""
    parts = iter(node)
    return all(token in parts for token in module)
