"""Writes quantizers (QuantizeLinear and DequantizeLinear) around convolutions of an ONNX graph.

Two runtimes want two forms of the same arithmetic, each of which the other refuses or runs slowly:

* `tensorrt`: activations and weights are int8 and symmetric, every zero point 0; every convolution has a pair of its
  own before its input and one before its weights; outputs and biases stay float. TensorRT fuses what follows a
  convolution (bias, activation) into it, and refuses uint8, other zero points and a bias in int32.
* `cpu`: activations are uint8 with zero points, weights int8, biases int32, and outputs are quantized as well, behind
  the ReLU where one follows: the pattern that ONNX Runtime and OpenVINO turn into one int8 kernel. It is meant for
  processors with VNNI or dot products; x86 without them is slow and may saturate.

Weights have one scale a channel, activations one a tensor. Rounded weights shift the mean of what a convolution gives,
above all where its inputs are positive; the expected shift is taken off its bias (bias correction, Nagel et al. 2019,
arXiv 1906.04721, section 4.2). ONNX Runtime's own quantizer does not, and calibrates anew in every call; here tensors
are measured once, as the graph is written once for every row of the network (`sensitivity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

TARGETS = ("tensorrt", "cpu")
_LEAST_STEP = 1e-8  # of a tensor that is always zero
_LARGEST_BIAS = 2**30  # steps of int32, with room for the sum that it is added to


@dataclass(frozen=True)
class TensorStatistics:
    """What quantizers have to know of a tensor (B, C, H, W).

    Attributes:
        low: The least value that it is to hold.
        high: The greatest.
        means: (C,) mean of each channel.
    """

    low: float
    high: float
    means: np.ndarray


Statistics = Mapping[str, TensorStatistics]
"""Statistics by the tensor's name."""


def quantize_graph(graph: Any, convolutions: Collection[str], statistics: Statistics, target: str) -> Any:
    """Return a copy of an ONNX model in which convolutions compute in int8.

    Args:
        graph: The model in float32, in topological order.
        convolutions: Names of the nodes; their weights are constants.
        statistics: Those of `calibrated_tensors`, at least.
        target: "tensorrt" or "cpu".
    """
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    writers = {"tensorrt": _TensorRTWriter, "cpu": _ProcessorWriter}
    writers[target](copied, frozenset(convolutions), statistics).write()
    return copied


def calibrated_tensors(graph: Any, convolutions: Collection[str]) -> list[str]:
    """Return the tensors whose statistics are needed: what convolutions read and give, and nothing else."""
    behind = _rectified(graph)
    found: dict[str, None] = {}
    for node in graph.graph.node:
        if node.name in convolutions:
            found[node.input[0]] = None
            found[behind.get(node.output[0], node.output[0])] = None
    return list(found)


def weight_steps(weights: np.ndarray) -> np.ndarray:
    """Return the step (O,) float32 of each output channel of weights (O, ...): the greatest magnitude is 127 steps."""
    greatest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    return np.asarray(np.maximum(greatest / 127, _LEAST_STEP), dtype=np.float32)


def symmetric_step(low: float, high: float) -> np.float32:
    """Return the step of a range in int8 with zero point 0."""
    return np.float32(max(abs(low), abs(high), _LEAST_STEP) / 127)


def affine_step(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Return the step and the zero point of a range in uint8; zero is always one of the 256 values."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / 255, _LEAST_STEP)
    return np.float32(step), np.uint8(np.clip(np.rint(-low / step), 0, 255))


def corrected_bias(bias: np.ndarray | None, weights: np.ndarray, rounded: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the bias (O,) float32 with which rounded weights give the mean that the weights gave.

    Args:
        bias: (O,), or None for zeros.
        weights: (O, C / groups, h, w).
        rounded: The same, as they are quantized.
        means: (C,) of what the convolution reads.
    """
    groups = len(means) // weights.shape[1]
    error = (rounded.astype(np.float64) - weights).sum(axis=(2, 3)).reshape(groups, -1, weights.shape[1])
    shift = (error @ means.reshape(groups, -1, 1).astype(np.float64)).reshape(-1)
    return np.asarray((0.0 if bias is None else bias) - shift, dtype=np.float32)


def _rounded(values: np.ndarray, steps: np.ndarray, kind: type[Any]) -> np.ndarray:
    """Return how many steps (O,) the values (O, ...) count, as integers of a kind, the least one apart."""
    limit = np.iinfo(kind).max
    counts = np.rint(values / _along(steps, values).astype(np.float64))
    return np.asarray(counts.clip(-limit, limit), dtype=kind)


def _along(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    return steps.reshape(-1, *[1] * (values.ndim - 1))


def _rectified(graph: Any) -> dict[str, str]:
    """Return the output of the ReLU that is alone in reading a tensor, by that tensor."""
    readers = Counter(name for node in graph.graph.node for name in node.input)
    readers.update(value.name for value in graph.graph.output)
    return {
        node.input[0]: node.output[0]
        for node in graph.graph.node
        if node.op_type == "Relu" and readers[node.input[0]] == 1
    }


class _Writer:
    """Rewrites a graph, node by node.

    Args:
        graph: The model, which is changed.
        chosen: Names of the convolutions to quantize.
        statistics: Statistics of tensors.
    """

    def __init__(self, graph: Any, chosen: frozenset[str], statistics: Statistics) -> None:
        from onnx import numpy_helper

        self.graph, self.chosen, self.statistics = graph, chosen, statistics
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
        self.nodes: list[Any] = []

    def write(self) -> None:
        """Rewrite the graph."""
        nodes = list(self.graph.graph.node)
        del self.graph.graph.node[:]
        for node in nodes:
            self.redirect(node)
            if node.name in self.chosen:
                self.quantize(node)
            self.nodes.append(node)
            self.follow(node)
        self.graph.graph.node.extend(self.nodes)
        _drop_unused_constants(self.graph)

    def redirect(self, node: Any) -> None:
        """Let a node read what stands in the place of its inputs."""

    def quantize(self, node: Any) -> None:
        """Quantize what a convolution reads."""
        raise NotImplementedError  # each writer has its own; the hooks beside it may stay empty

    def follow(self, node: Any) -> None:
        """Write what stands behind a node."""

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant, once, and return its name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = value
            self.graph.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}_node", **attributes))
        return output

    def bias(self, node: Any) -> np.ndarray | None:
        """Return the bias of a convolution, or None where it has none."""
        return self.constants[node.input[2]] if len(node.input) > 2 else None

    def set_bias(self, node: Any, name: str) -> None:
        """Let a convolution take another bias."""
        del node.input[2:]
        node.input.append(name)

    def pair(self, source: str, prefix: str, step: np.ndarray, zero: np.ndarray) -> str:
        """Add a quantizer and its inverse; return what the latter gives."""
        axis = {"axis": 0} if step.ndim else {}
        names = [self.constant(f"{prefix}_step", step), self.constant(f"{prefix}_zero", zero)]
        quantized = self.node("QuantizeLinear", [source, *names], f"{prefix}_quantized", **axis)
        return self.node("DequantizeLinear", [quantized, *names], f"{prefix}_dequantized", **axis)


class _TensorRTWriter(_Writer):
    """Quantizes inputs and weights, each by a pair that belongs to one convolution."""

    def quantize(self, node: Any) -> None:
        read = self.statistics[node.input[0]]
        step = symmetric_step(read.low, read.high)
        weights = self.constants[node.input[1]]
        steps = weight_steps(weights)
        rounded = _rounded(weights, steps, np.int8) * _along(steps, weights)
        bias = corrected_bias(self.bias(node), weights, rounded, read.means)
        self.set_bias(node, self.constant(f"{node.name}_bias", bias))
        node.input[0] = self.pair(node.input[0], f"{node.name}_input", np.asarray(step), np.asarray(np.int8(0)))
        node.input[1] = self.pair(node.input[1], f"{node.name}_weight", steps, np.zeros(len(steps), np.int8))


class _ProcessorWriter(_Writer):
    """Quantizes every tensor once, and gives what quantized convolutions give to all their readers in int8."""

    def __init__(self, graph: Any, chosen: frozenset[str], statistics: Statistics) -> None:
        super().__init__(graph, chosen, statistics)
        behind = _rectified(graph)
        self.given = {behind.get(node.output[0], node.output[0]) for node in graph.graph.node if node.name in chosen}
        self.originals: dict[str, str] = {}  # the dequantized form of a tensor to the tensor

    def redirect(self, node: Any) -> None:
        for index, name in enumerate(node.input):
            if name in self.given:
                node.input[index] = self._dequantized(name)

    def quantize(self, node: Any) -> None:
        source = self.originals.get(node.input[0], node.input[0])
        node.input[0] = self._dequantized(source)
        input_step = self.constants[f"{source}_step"].astype(np.float64)
        weights = self.constants[node.input[1]]
        steps = weight_steps(weights)
        if (bias := self.bias(node)) is not None:
            steps = np.maximum(steps, (np.abs(bias) / input_step / _LARGEST_BIAS).astype(np.float32))
        rounded = _rounded(weights, steps, np.int8)
        bias = corrected_bias(bias, weights, rounded * _along(steps, weights), self.statistics[source].means)
        bias_steps = (steps * input_step).astype(np.float32)
        self.set_bias(node, self._stored(f"{node.name}_bias", _rounded(bias, bias_steps, np.int32), bias_steps))
        node.input[1] = self._stored(f"{node.name}_weight", rounded, steps)

    def follow(self, node: Any) -> None:
        for name in node.output:
            if name in self.given:
                self._dequantized(name)

    def _dequantized(self, name: str) -> str:
        """Return the dequantized form of a tensor; it is made once."""
        if f"{name}_step" not in self.constants:
            step, zero = affine_step(self.statistics[name].low, self.statistics[name].high)
            self.originals[self.pair(name, name, np.asarray(step), np.asarray(zero))] = name
        return f"{name}_dequantized"

    def _stored(self, prefix: str, counts: np.ndarray, steps: np.ndarray) -> str:
        """Add integers (O, ...) that count steps (O,), and return their dequantized form."""
        inputs = [
            self.constant(f"{prefix}_quantized", counts),
            self.constant(f"{prefix}_step", steps),
            self.constant(f"{prefix}_zero", np.zeros(len(steps), counts.dtype)),
        ]
        return self.node("DequantizeLinear", inputs, f"{prefix}_dequantized", axis=0)


def _drop_unused_constants(graph: Any) -> None:
    used = {name for node in graph.graph.node for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
