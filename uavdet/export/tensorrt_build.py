"""Builds TensorRT engines from ONNX files; takes the module `tensorrt` and nothing of PyTorch."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.engine.atomic import write_atomically
from uavdet.errors import ExportError, MissingDependencyError, UsageError, one_line
from uavdet.export.cuda_memory import CudaRuntime
from uavdet.export.tensorrt_precision import keep_float32
from uavdet.export.tensorrt_versions import Platform, VersionRules, rules_of

LARGEST_BATCH = 8
"""Least upper end of the range of batch sizes, where a graph leaves the batch size open."""

_SHOWN = 5  # messages of TensorRT in an error
_GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class BuildSettings:
    """How to build an engine.

    Attributes:
        precision: "fp32"; "fp16"; or "int8", which takes a graph with quantizers.
        strongly_typed: Take every tensor's type from the graph, as TensorRT 11 always does; None for what the version
            does by itself. Half precision then takes a graph in half precision.
        float32_scopes: Names that the nodes of modules in float32 have in their paths, for weak typing.
        batch: Images a run to tune for, where the graph leaves the batch size open.
        workspace: Memory for tactics in GiB, or None for all of the GPU's.
        timing_cache: File of measured tactics, read and written, which makes the next build faster; or None.
    """

    precision: str = "fp32"
    strongly_typed: bool | None = None
    float32_scopes: frozenset[str] = frozenset()
    batch: int = 1
    workspace: float | None = None
    timing_cache: Path | None = None


def import_tensorrt() -> Any:
    """Return the module `tensorrt`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import tensorrt
    except ImportError:
        raise MissingDependencyError(
            "tensorrt is not installed here. Engines are built on the device: JetPack brings it (python3-libnvinfer), "
            "elsewhere it comes with: pip install tensorrt. Without it write a folder for a Jetson: format=jetson."
        ) from None
    return tensorrt


def this_platform(trt: Any, cuda: CudaRuntime) -> Platform:
    """Return what engines that are built here are bound to."""
    return Platform(trt.__version__, cuda.version, cuda.compute_capability, platform.machine())


def build_engine(trt: Any, onnx_file: Path, settings: BuildSettings) -> bytes:
    """Build an engine.

    Args:
        trt: The module `tensorrt`.
        onnx_file: The graph.
        settings: How.

    Returns:
        The engine, as TensorRT writes it.

    Raises:
        ExportError: TensorRT cannot parse or build the graph; the message names the nodes.
        UsageError: The graph has no quantizers for int8, or the version cannot do what is asked for.
    """
    rules = rules_of(trt.__version__)
    strong = rules.strongly_typed or bool(settings.strongly_typed)
    messages = collect_messages(trt)
    builder = trt.Builder(messages)
    network = builder.create_network(_network_flags(trt, rules, strong))
    parse_graph(trt, network, messages, onnx_file)
    config = builder.create_builder_config()
    config.clear_flag(
        trt.BuilderFlag.TF32
    )  # it has half precision's error, and what is float32 here is so for a reason
    if settings.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings.workspace * _GIBIBYTE))
    _set_precision(trt, config, network, settings, strong)
    _add_profile(builder, config, network, settings.batch)
    _read_timing_cache(config, settings.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT {trt.__version__} cannot build '{onnx_file.name}': {messages.text()}.")
    _write_timing_cache(config, settings.timing_cache)
    return bytes(plan)


def collect_messages(trt: Any) -> Any:
    """Return a logger for TensorRT that keeps its errors, and drops the rest."""

    class Messages(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(str(message).split()))

        def text(self) -> str:
            return "; ".join(self.errors[:_SHOWN]) or "it gave no reason"

    return Messages()


def parse_graph(trt: Any, network: Any, messages: Any, onnx_file: Path) -> None:
    """Read a graph into a network.

    Raises:
        ExportError: The parser refuses nodes, which the message names.
    """
    parser = trt.OnnxParser(network, messages)
    if parser.parse_from_file(str(onnx_file)) and network.num_layers:  # an empty file parses
        return
    reasons = [f"{operator} ('{node}'): {reason}" for operator, node, reason in parser_problems(parser)[:_SHOWN]] or [
        messages.text()
    ]
    raise ExportError(f"TensorRT {trt.__version__} cannot read '{onnx_file.name}': {'; '.join(reasons)}.")


def parser_problems(parser: Any) -> list[tuple[str, str, str]]:
    """Return operator, node and reason of every error of a parser; TensorRT 8 does not tell the first two."""
    problems = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        operator = error.node_operator() if hasattr(error, "node_operator") else "a node"
        node = error.node_name() if hasattr(error, "node_name") else str(error.node())
        problems.append((operator, node, one_line(Exception(error.desc()))))
    return problems


def _network_flags(trt: Any, rules: VersionRules, strong: bool) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if rules.explicit_batch:
        if strong:
            raise UsageError(f"TensorRT {trt.__version__} has no strong typing. Build with weak typing.")
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if strong and hasattr(flags, "STRONGLY_TYPED") else 0


def _set_precision(trt: Any, config: Any, network: Any, settings: BuildSettings, strong: bool) -> None:
    """Say which precisions layers may have; a strongly typed network says so itself."""
    if settings.precision == "int8" and not _has_quantizers(network):
        raise UsageError(
            "precision int8 needs a graph with QuantizeLinear and DequantizeLinear, and this one has none. TensorRT's "
            "own calibration is not used: it was removed in version 11. Export with int8=True, which writes them."
        )
    if strong or settings.precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if settings.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    keep_float32(trt, network, settings.float32_scopes)


def _has_quantizers(network: Any) -> bool:
    types = (str(network.get_layer(index).type).rpartition(".")[2] for index in range(network.num_layers))
    return "QUANTIZE" in types


def _add_profile(builder: Any, config: Any, network: Any, batch: int) -> None:
    """Give the range of batch sizes, where the graph leaves it open."""
    given = network.get_input(0)
    batch_side, *sides = given.shape
    if batch_side != -1:
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(given.name, (1, *sides), (batch, *sides), (max(batch, LARGEST_BATCH), *sides))
    config.add_optimization_profile(profile)


def _read_timing_cache(config: Any, file: Path | None) -> None:
    """Give a build the measurements of earlier ones; those of another version or GPU count as none."""
    if file is None:
        return
    content = file.read_bytes() if file.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_timing_cache(config: Any, file: Path | None) -> None:
    cache = config.get_timing_cache() if file is not None else None
    if file is None or cache is None:
        return
    content = bytes(cache.serialize())
    write_atomically(file, lambda temporary: temporary.write_bytes(content))
