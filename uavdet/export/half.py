"""Half precision in an ONNX graph: float16 where it holds, float32 where it does not.

The converters of ONNX Runtime and onnxconverter-common put a pair of casts around every node that is to stay in
float32, and give two of these casts one name where two such nodes read the same tensor: ONNX Runtime refuses the file.
Here a precision is chosen for every node first, and a tensor is cast at most once each way.

What stays in float32, and why:

* LayerNormalization and Softmax, whose sums overflow, and GridSample, which ONNX Runtime's CUDA provider has in float32
  alone;
* the products of the Fourier transform, whose spectra reach thousands;
* the heads, scores, boxes and sampling coordinates: float16 has 11 bits, a pixel of a 2048-pixel axis at best;
* input and outputs, so that the file is used like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from uavdet.export.decoder import BoxHead, QuerySelection, SamplingGrids, ScoreHead
from uavdet.export.outputs import DeepStreamRows, DetectionRows, PictureInput, RawOutputs
from uavdet.nn.ddf import EquivariantDDF, FrequencyModulation

FLOAT32_OPERATORS = frozenset(
    {"LayerNormalization", "Softmax", "GridSample", "ReduceMax", "TopK", "Log", "Cast", "Constant", "ConstantOfShape"}
)
FLOAT32_MODULES = (
    BoxHead,
    DeepStreamRows,
    DetectionRows,
    EquivariantDDF,
    FrequencyModulation,
    PictureInput,
    QuerySelection,
    RawOutputs,
    SamplingGrids,
    ScoreHead,
)
_MOVING = frozenset({"Concat", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Slice"})
_MOVING |= frozenset({"Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that move numbers without arithmetic; they stay in the precision of what they move."""
_CONVERTED_INPUTS = {"Resize": 1}
"""How many inputs of a node are converted, where it is not all: the others have float32 by ONNX's definition."""


def float32_scopes(network: nn.Module) -> frozenset[str]:
    """Return the names that the nodes of modules in float32 have in their paths."""
    return frozenset(
        _scope(name) for name, module in network.named_modules() if isinstance(module, FLOAT32_MODULES) and name
    )


def _scope(name: str) -> str:
    """Return a module's part of a node's path: its last name, for a numbered one with the name of its list."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def convert_to_half(graph: Any, scopes: frozenset[str]) -> Any:
    """Return an ONNX model in mixed precision; its input and outputs stay as they are.

    Args:
        graph: The model in float32, in topological order.
        scopes: Nodes with one of these names in their path stay in float32.
    """
    from onnx.shape_inference import infer_shapes

    graph = infer_shapes(graph)
    conversion = _Conversion(graph, scopes)
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    for node in nodes:
        conversion.convert(node)
    conversion.restore_outputs()
    graph.graph.node.extend(conversion.nodes)
    del graph.graph.value_info[:]
    _drop_unused_constants(graph)
    return graph


class _Conversion:
    """The state of a conversion: which tensors are floating-point, and which of them are in half precision."""

    def __init__(self, graph: Any, scopes: frozenset[str]) -> None:
        from onnx import TensorProto

        self.graph, self.scopes = graph, scopes
        self.nodes: list[Any] = []
        self.half: set[str] = set()
        self.casts: dict[tuple[str, bool], str] = {}
        self.constants = {tensor.name: tensor for tensor in graph.graph.initializer}
        values = [*graph.graph.value_info, *graph.graph.input, *graph.graph.output]
        self.floating = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.floating |= {name for name, tensor in self.constants.items() if tensor.data_type == TensorProto.FLOAT}

    def convert(self, node: Any) -> None:
        """Add a node in the precision that it takes."""
        wanted = self._takes_half(node)
        limit = _CONVERTED_INPUTS.get(node.op_type, len(node.input))
        for index, name in enumerate(node.input):
            if name in self.floating:
                node.input[index] = self._in_precision(name, wanted and index < limit)
        if wanted:
            self.half |= {name for name in node.output if name in self.floating}
        self.nodes.append(node)

    def restore_outputs(self) -> None:
        """Give outputs of the graph that are in half precision back in float32."""
        from onnx import TensorProto, helper

        for value in self.graph.graph.output:
            if value.name in self.half:
                inner = f"{value.name}_half"
                for node in self.nodes:
                    for names in (node.input, node.output):
                        for index, name in enumerate(names):
                            names[index] = inner if name == value.name else name
                self.nodes.append(
                    helper.make_node("Cast", [inner], [value.name], name=f"{inner}_cast", to=TensorProto.FLOAT)
                )

    def _takes_half(self, node: Any) -> bool:
        if node.op_type in FLOAT32_OPERATORS or self.scopes & set(node.name.split("/")):
            return False
        if node.op_type in _MOVING:
            moved = [name for name in node.input if name in self.floating and name not in self.constants]
            return any(name in self.half for name in moved)
        return any(name in self.floating for name in (*node.input, *node.output))

    def _in_precision(self, name: str, half: bool) -> str:
        """Return the name of a tensor in a precision; a constant is converted, anything else cast."""
        if (name in self.half) == half:
            return name
        if (name, half) not in self.casts:
            self.casts[name, half] = self._half_constant(name) if name in self.constants else self._cast(name, half)
        return self.casts[name, half]

    def _half_constant(self, name: str) -> str:
        from onnx import numpy_helper

        with np.errstate(over="ignore"):  # what overflows is refused, by name, with the finished graph
            value = numpy_helper.to_array(self.constants[name]).astype(np.float16)
        self.graph.graph.initializer.append(numpy_helper.from_array(value, f"{name}_half"))
        return f"{name}_half"

    def _cast(self, name: str, half: bool) -> str:
        from onnx import TensorProto, helper

        output = f"{name}_{'half' if half else 'float'}"
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.nodes.append(helper.make_node("Cast", [name], [output], name=f"{output}_cast", to=kind))
        return output


def _drop_unused_constants(graph: Any) -> None:
    used = {name for node in graph.graph.node for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
