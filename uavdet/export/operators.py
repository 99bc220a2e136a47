"""Which operators an exported graph may hold: those that every TensorRT of today's drones reads, and why not more."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import UsageError

LARGEST_TOP_K = 3840
"""Most elements that TensorRT's TopK returns; a larger number parses, and fails while the engine is built."""

REFUSED_OPERATORS: dict[str, str] = {
    "DFT": "no TensorRT before 11.2 has it, and in ONNX Runtime it is many times slower than matrix products",
    "STFT": "TensorRT 8.6 and 10.1 lack it",
    "Einsum": "TensorRT before 10.12 reads only a part of its notation",
    "If": "control flow keeps TensorRT from building one static engine",
    "Loop": "control flow keeps TensorRT from building one static engine",
    "Scan": "control flow keeps TensorRT from building one static engine",
    "NonZero": "the shape of its output depends on the data",
    "NonMaxSuppression": "the shape of its output depends on the data",
    "Unique": "the shape of its output depends on the data",
    "Compress": "the shape of its output depends on the data",
}
"""Operators that exported graphs do without, some of which TensorRT does import, and the reason for each."""


@functools.lru_cache
def tensorrt_importers() -> dict[str, frozenset[str]]:
    """Return the ONNX operators that TensorRT imports, by its version; the source stands in the data file."""
    content = json.loads(Path(__file__).with_name("tensorrt_importers.json").read_text(encoding="utf-8"))
    return {version: frozenset(names) for version, names in content["importers"].items()}


def operators(graph: Any) -> set[str]:
    """Return the operator types of an ONNX model."""
    return {node.op_type for node in graph.graph.node}


def check_graph(graph: Any) -> None:
    """Refuse an ONNX model that deployment runtimes cannot read.

    Raises:
        UsageError: It holds an operator that TensorRT 8.6 or 10.1 does not import or that `REFUSED_OPERATORS` names,
            selects more elements than TensorRT can, transposes uint8, or has a constant that is not finite. The message
            names the node.
    """
    constants = _constants(graph)
    for count in _top_k_counts(graph, constants):
        if count > LARGEST_TOP_K:
            raise UsageError(
                f"The exported graph cannot be deployed: it selects {count} queries or detections, and TensorRT at "
                f"most {LARGEST_TOP_K}. Give queries={LARGEST_TOP_K} or fewer."
            )
    for complaint in (*_operator_complaints(graph), *_top_k_complaints(graph, constants), *_uint8_complaints(graph)):
        raise UsageError(f"The exported graph cannot be deployed: {complaint}. Export with the project's own layers.")
    for complaint in _constant_complaints(constants):
        raise UsageError(f"The exported graph overflows: {complaint}. Export with half=False.")


def _operator_complaints(graph: Any) -> Iterator[str]:
    for node in graph.graph.node:
        if node.op_type in REFUSED_OPERATORS:
            yield f"it holds {node.op_type} ('{node.name}'); {REFUSED_OPERATORS[node.op_type]}"
        lacking = [version for version, known in tensorrt_importers().items() if node.op_type not in known]
        if lacking:
            yield f"it holds {node.op_type} ('{node.name}'), which TensorRT {' and '.join(lacking)} cannot import"
        if node.domain not in {"", "ai.onnx"}:
            yield f"it holds {node.op_type} ('{node.name}') of {node.domain}, which is no part of ONNX"


def _top_k_complaints(graph: Any, constants: Mapping[str, np.ndarray]) -> Iterator[str]:
    for node in graph.graph.node:
        if node.op_type == "TopK" and node.input[1] not in constants:
            yield f"TopK ('{node.name}') selects a number of elements that depends on the data"


def _top_k_counts(graph: Any, constants: Mapping[str, np.ndarray]) -> Iterator[int]:
    for node in graph.graph.node:
        if node.op_type == "TopK" and node.input[1] in constants:
            yield int(np.max(constants[node.input[1]]))


def _uint8_complaints(graph: Any) -> Iterator[str]:
    from onnx import TensorProto

    bytes_in = {value.name for value in graph.graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.graph.node:
        if node.op_type != "Cast" and bytes_in & set(node.input):
            yield f"{node.op_type} ('{node.name}') reads uint8, which TensorRT can only convert"


def _constant_complaints(constants: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name, value in constants.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            yield f"its constant '{name}' is not finite"


def _constants(graph: Any) -> dict[str, np.ndarray]:
    """Return the constants of a graph by name."""
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Constant":
            for entry in node.attribute:
                if entry.name == "value":
                    found[node.output[0]] = numpy_helper.to_array(entry.t)
    return found
