"""Removes from an ONNX graph what does not belong in it."""

from __future__ import annotations

from typing import Any


def simplify_graph(graph: Any) -> Any:
    """Return a graph with constants folded and nodes without effect removed, by onnxslim.

    Products and sums stay apart: merged into Gemm, which knows matrices alone, each would stand between two reshapes.
    """
    import onnxslim

    return onnxslim.slim(graph, skip_fusion_patterns=["FusionGemm"])


def share_constants(graph: Any) -> None:
    """Keep one copy of every constant: equal ones are read from the same place.

    onnxslim writes the weights of a layer that runs several times once for every run.
    """
    kept: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    unique = []
    for tensor in graph.graph.initializer:
        key = (tensor.data_type, tuple(tensor.dims), _content(tensor))
        if key in kept:
            renamed[tensor.name] = kept[key]
        else:
            kept[key] = tensor.name
            unique.append(tensor)
    for node in graph.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(unique)


def _content(tensor: Any) -> bytes:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor).tobytes()
