"""Finds the first node of an ONNX file that computes something else than it should.

The file is run beside a fresh export of the same module in float32, with the outputs of nodes exposed piece by piece,
in topological order; nodes are paired by name. Where all agree, the fault is in the export itself: then the rows of the
network are compared with the module's own.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.tolerances import relative_error

_LIMITS = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.1, "int8": 0.3}
"""Relative error from which a node diverges, by the precision of the file."""
_JUMP = 5.0
"""How many times a node's error exceeds those of its inputs where it is the culprit, and not one of many."""
_NOISE = 1e-7
"""Relative error from which a node with a changed weight is the culprit: both graphs run by the same kernels."""
_INSERTED = frozenset({"Cast", "Constant", "QuantizeLinear", "DequantizeLinear"})
"""Operators that a change of precision puts between the nodes of an export."""
_PIECE = 256 << 20
"""Bytes of tensors that are exposed at once."""
_UNKNOWN = 4 << 20
"""Bytes that a tensor of unknown shape is taken for."""


@dataclass(frozen=True)
class Divergence:
    """The first node whose output is wrong while its inputs are right.

    Attributes:
        node: Its name, whose path is that of the network's rows and modules; empty where every node agrees.
        operator: Its type.
        weights: Names of its weights that are not those of the checkpoint.
        error_before: Greatest relative error of its inputs (norm of the difference over the norm).
        error_after: That of its output; infinite where it is not finite.
        compared: Nodes that were compared, or rows of the network.
        foreign: The first nodes, three at most, that a fresh export does not have.
        against: What the file was compared with: "a fresh export", or "the module" itself, row by row.
    """

    node: str
    operator: str
    weights: tuple[str, ...]
    error_before: float
    error_after: float
    compared: int
    against: str
    foreign: tuple[str, ...] = ()

    @property
    def scope(self) -> str:
        """The row and the modules in which the node stands, such as `decoder/layers.2/sampling`."""
        return "/".join(part for part in self.node.split("/")[:-1] if part not in {"", "detector"})

    def line(self) -> str:
        """Return the finding in one line."""
        foreign = f"; a fresh export has no {', '.join(self.foreign)}" if self.foreign else ""
        if not self.node:
            return f"no node diverges from {self.against}, so that the fault lies before or behind the network{foreign}"
        weights = f", whose {', '.join(self.weights)} differs" if self.weights else ""
        return (
            f"the first diverging node is {self.node} ({self.operator}){weights}: relative error "
            f"{self.error_before:.1e} before it, {self.error_after:.1e} after{foreign}"
        )


def find_divergence(
    module: nn.Module, file: Path, batch: np.ndarray, images: np.ndarray, precision: str, output: str
) -> Divergence | None:
    """Find the first node of a file that computes something else than the module.

    Args:
        module: The checkpoint's module.
        file: The exported file; only ONNX is looked into.
        batch: An input as the file takes it.
        images: The same as the module takes it, (B, C, H, W) float32.
        precision: Of the file.
        output: Layout of its outputs.

    Returns:
        The finding, with an empty node where every node agrees; None for other formats, and where the file is so far
        from what an export gives that nothing can be paired or run.
    """
    if ".onnx" not in file.suffixes:
        return None
    import onnx

    try:
        graph = onnx.load(str(file))
        reference = _fresh_export(module, graph, output)
        found = _compare_graphs(reference, graph, batch, _LIMITS[precision])
        if found is not None and not found.node:
            found = _compare_with_module(module, graph, batch, images, _LIMITS[precision])
        return found and replace(found, foreign=_foreign_nodes(reference, graph))
    except Exception:  # the file has failed already: what it failed is to be told, not what its search met
        return None


def _compare_graphs(reference: Any, graph: Any, batch: np.ndarray, limit: float) -> Divergence | None:
    """Return the first node that is wrong; one of several that are slightly wrong is passed over for a clear one."""
    pairs = _pair_nodes(reference, graph)
    if not pairs:
        return None
    weights = _changed_weights(reference, graph)
    shuffled = _behind_top_k(reference)
    errors: dict[str, float] = {}
    candidate: Divergence | None = None
    for piece in _pieces(reference, pairs):
        expected = _run(reference, [node.output[0] for node, _ in piece], batch)
        given = _run(graph, [name for _, name in piece], batch)
        for (node, _), wanted, got in zip(piece, expected, given, strict=True):
            before = max((errors.get(source, 0.0) for source in node.input), default=0.0)
            after = relative_error(wanted, got, shuffled=node.output[0] in shuffled)
            errors[node.output[0]] = after
            changed = tuple(source for source in node.input if source in weights)
            if after <= (max(before, _NOISE) if changed else limit) or not np.isfinite(before):
                continue
            found = Divergence(node.name, node.op_type, changed, before, after, len(pairs), "a fresh export")
            if changed or after > _JUMP * before:
                return found
            candidate = candidate or found
    return candidate or Divergence("", "", (), 0.0, max(errors.values()), len(pairs), "a fresh export")


def _foreign_nodes(reference: Any, graph: Any) -> tuple[str, ...]:
    own = {node.name for node in reference.graph.node}
    others = [node for node in graph.graph.node if node.name not in own and node.op_type not in _INSERTED]
    return tuple(f"{node.name or node.output[0]} ({node.op_type})" for node in others[:3])


def _fresh_export(module: nn.Module, graph: Any, output: str) -> Any:
    """Return a float32 graph of the module with the settings of another graph."""
    import onnx

    given = graph.graph.input[0].type.tensor_type
    sides = [side.dim_value for side in given.shape.dim]
    pictures = given.elem_type == onnx.TensorProto.UINT8
    rows = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    options = NetworkOptions(
        imgsz=(sides[1], sides[2]) if pictures else (sides[2], sides[3]),
        batch=sides[0] or 1,
        dynamic=sides[0] == 0,
        output=output,
        input="uint8" if pictures else "float",
        max_det=rows or 300,
        opset=next(entry.version for entry in graph.opset_import if entry.domain in {"", "ai.onnx"}),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(module, Path(folder) / "reference.onnx", options, {})
        return onnx.load(str(Path(folder) / "reference.onnx"))


def _pair_nodes(reference: Any, graph: Any) -> list[tuple[Any, str]]:
    """Return the nodes of the reference in topological order, each with the name of its counterpart's output.

    Counterparts have the same name, or where that is gone the same output.
    """
    by_name = {node.name: node for node in graph.graph.node if node.name}
    outputs = {name for node in graph.graph.node for name in node.output}
    pairs = []
    for node in reference.graph.node:
        other = by_name.get(node.name)
        if other is not None and other.op_type == node.op_type:
            pairs.append((node, other.output[0]))
        elif node.output[0] in outputs:
            pairs.append((node, node.output[0]))
    return pairs


def _changed_weights(reference: Any, graph: Any) -> frozenset[str]:
    """Return the names of weights that differ by more than half precision's rounding."""
    from onnx import numpy_helper

    others = {tensor.name: tensor for tensor in graph.graph.initializer}
    changed = set()
    for tensor in reference.graph.initializer:
        if tensor.name in others and list(others[tensor.name].dims) == list(tensor.dims):
            wanted, got = numpy_helper.to_array(tensor), numpy_helper.to_array(others[tensor.name])
            if wanted.dtype.kind == "f" and relative_error(wanted, got) > 2e-3:
                changed.add(tensor.name)
    return frozenset(changed)


def _behind_top_k(graph: Any) -> frozenset[str]:
    """Return the tensors whose entries stand in the order of scores, which rounding may swap."""
    behind: set[str] = set()
    for node in graph.graph.node:
        if node.op_type == "TopK" or behind.intersection(node.input):
            behind.update(node.output)
    return frozenset(behind)


def _pieces(graph: Any, pairs: list[tuple[Any, str]]) -> Iterator[list[tuple[Any, str]]]:
    """Yield pairs whose outputs fit in memory together."""
    sizes = _tensor_bytes(graph)
    piece: list[tuple[Any, str]] = []
    total = 0
    for pair in pairs:
        size = sizes.get(pair[0].output[0], _UNKNOWN)
        if piece and total + size > _PIECE:
            yield piece
            piece, total = [], 0
        piece.append(pair)
        total += size
    yield piece


def _tensor_bytes(graph: Any) -> dict[str, int]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(graph)
    return {
        value.name: 4 * int(np.prod([max(side.dim_value, 1) for side in value.type.tensor_type.shape.dim]))
        for value in inferred.graph.value_info
    }


def _run(graph: Any, names: list[str], batch: np.ndarray) -> list[np.ndarray]:
    """Return tensors of a graph by name."""
    import onnx
    import onnxruntime

    exposed = copy.deepcopy(graph)
    known = {value.name for value in exposed.graph.output}
    exposed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(names, {session.get_inputs()[0].name: batch})
    return outputs


def _compare_with_module(
    module: nn.Module, graph: Any, batch: np.ndarray, images: np.ndarray, limit: float
) -> Divergence:
    """Compare the outputs of the network's rows with the module's own."""
    outputs = _row_outputs(module, images)
    nodes = {name: node for name, node in _last_nodes(graph).items() if name in outputs}
    given = _run(graph, [node.output[0] for node in nodes.values()], batch)
    before, compared = 0.0, 0
    for (name, node), got in zip(nodes.items(), given, strict=True):
        if got.shape != outputs[name].shape:
            continue
        compared += 1
        after = relative_error(outputs[name], got)
        if after > limit:
            return Divergence(node.name, node.op_type, (), before, after, compared, "the module")
        before = max(before, after)
    return Divergence("", "", (), before, before, compared, "the module")


def _row_outputs(module: nn.Module, images: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return what every row of the network but the head gives, by the row's name."""
    outputs: dict[str, np.ndarray] = {}
    copied: Any = copy.deepcopy(module).float().cpu().eval()
    for name, row in copied.model.named_children():

        def keep(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output.numpy()

        row.register_forward_hook(keep)
    with torch.inference_mode():
        copied(torch.from_numpy(images))
    return outputs


def _last_nodes(graph: Any) -> dict[str, Any]:
    """Return the last node of every row, in topological order of the rows' first nodes."""
    last: dict[str, Any] = {}
    for node in graph.graph.node:
        parts = [part for part in node.name.split("/") if part]
        if len(parts) > 1 and parts[0] in {"detector", "model"}:
            last[parts[1].removeprefix("model.")] = node
    return last
