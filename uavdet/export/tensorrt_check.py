"""Does TensorRT build a graph? Asked of `tensorrt_rtx`, which needs no GPU for the answer.

TensorRT for RTX shares parser and builder with TensorRT, but its engines run on other GPUs than a Jetson's, so that
they are thrown away. What it tells, as seen with version 1.7 on graphs made for the purpose:

* It refuses, as TensorRT does: `DFT`, operators on uint8 other than `Cast`, quantizers with zero points or uint8,
  biases in INT32 with quantizers, `ScatterND` with a reduction, `Resize` with antialias, `DynamicQuantizeLinear`; and
  `TopK` of more than 3,840, which parses and fails in the build alone.
* It lets through what TensorRT 10.3 of JetPack 6.2 does not read: `GridSample` in five dimensions, ellipses in
  `Einsum`, anything that came after 10.3. `uavdet.export.operators` is for these.
* It refuses what TensorRT has as plugins: `NonZero`, `NonMaxSuppression`, `DeformConv`. Exports hold none of them.
* It is strongly typed, as TensorRT 11: graphs have to be right in their types.

It says nothing of numbers, speed or memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.errors import MissingDependencyError
from uavdet.export.tensorrt_build import LARGEST_BATCH, collect_messages, parser_problems


@dataclass(frozen=True)
class GraphProblem:
    """What TensorRT does not take.

    Attributes:
        operator: The node's, or "" where the whole graph is meant.
        node: Its name, or "".
        reason: What TensorRT says.
    """

    operator: str
    node: str
    reason: str


@dataclass(frozen=True)
class GraphCheck:
    """The answer for one file.

    Attributes:
        file: The ONNX file.
        layers: Layers that the parser made of it.
        engine_bytes: Size of the engine; 0 where none was built.
        seconds: How long parsing and building took.
        problems: What TensorRT does not take.
    """

    file: Path
    layers: int
    engine_bytes: int
    seconds: float
    problems: tuple[GraphProblem, ...]

    @property
    def passed(self) -> bool:
        """Whether an engine was built."""
        return not self.problems and self.engine_bytes > 0


def check_graph(file: str | Path) -> GraphCheck:
    """Parse an ONNX file and build an engine of it, for compute capability 8.6, with tensorrt_rtx.

    Raises:
        MissingDependencyError: tensorrt_rtx is not installed.
    """
    try:
        import tensorrt_rtx as trt
    except ImportError:
        raise MissingDependencyError(
            "tensorrt_rtx is not installed; there are wheels for Linux and Windows on x86_64. "
            "It comes with: pip install 'uavdet[dev]'."
        ) from None
    file, started = Path(file), time.perf_counter()
    messages = collect_messages(trt)
    builder = trt.Builder(messages)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, messages)
    size, problems = 0, []
    if not parser.parse_from_file(str(file)):
        problems = [GraphProblem(*problem) for problem in parser_problems(parser)]
    elif network.num_inputs:
        size = _build(trt, builder, network)
    if not size and not problems:
        problems = [GraphProblem("", "", text) for text in messages.errors or ["the file holds no graph"]]
    return GraphCheck(file, network.num_layers, size, round(time.perf_counter() - started, 2), tuple(problems))


def _build(trt: Any, builder: Any, network: Any) -> int:
    """Build an engine and return its size; 0 where that fails."""
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    given = network.get_input(0)
    batch_side, *sides = given.shape
    if batch_side == -1:
        profile = builder.create_optimization_profile()
        profile.set_shape(given.name, (1, *sides), (1, *sides), (LARGEST_BATCH, *sides))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return 0 if plan is None else int(plan.nbytes)
