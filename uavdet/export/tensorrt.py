"""`format=engine`: TensorRT engines, built and proven on the device that they run on."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.utils import LOGGER

from uavdet.export.backends import Backend
from uavdet.export.cuda_memory import CudaRuntime
from uavdet.export.engine_file import hash_file, with_origin, write_engine_file
from uavdet.export.half import float32_scopes
from uavdet.export.metadata import describe_export
from uavdet.export.network import NetworkOptions, exported_network
from uavdet.export.onnx import write_onnx
from uavdet.export.tensorrt_build import BuildSettings, build_engine, import_tensorrt, this_platform
from uavdet.export.tensorrt_engine import Engine, input_size, takes_pictures
from uavdet.export.tensorrt_versions import Platform, check_opset, check_platform, rules_of
from uavdet.runtime.providers import cache_folder


def write_engine(model: nn.Module, file: Path, options: NetworkOptions, meta: dict[str, Any]) -> None:
    """Build an engine of a DETR for this GPU and this TensorRT.

    Weakly typed versions build half precision from the graph in float32, with constraints on the layers that have to
    stay so; strongly typed ones from the graph in mixed precision.

    Args:
        model: The detector; it stays as it is.
        file: The file to write; see `uavdet.export.engine_file`.
        options: What to settle in it.
        meta: The checkpoint's metadata; may be empty.

    Raises:
        ExportError: TensorRT cannot parse or build the graph.
        MissingDependencyError: TensorRT or CUDA is not installed.
        UsageError: There is no GPU, this TensorRT is known to be wrong here, or the options cannot be built.
    """
    trt = import_tensorrt()
    here = this_platform(trt, CudaRuntime())
    for warning in check_platform(here):
        LOGGER.warning(warning)
    check_opset(here.tensorrt, options.opset)
    in_graph = options.half and rules_of(here.tensorrt).strongly_typed
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder) / "detector.onnx"
        write_onnx(model, onnx_file, options if in_graph else replace(options, half=False), meta)
        LOGGER.info(f"TensorRT {here.tensorrt} builds an engine for compute capability {here.sm}; it takes minutes.")
        engine = build_engine(trt, onnx_file, _settings(model, options, here))
        origin = with_origin(describe_export(model, options, meta), here, hash_file(onnx_file), options.precision)
    write_engine_file(file, engine, origin)


def _settings(model: nn.Module, options: NetworkOptions, here: Platform) -> BuildSettings:
    return BuildSettings(
        precision=options.precision,
        float32_scopes=float32_scopes(exported_network(model, options)),
        batch=options.batch,
        workspace=options.workspace,
        timing_cache=cache_folder() / "tensorrt" / f"timing-{here.tensorrt}-sm{here.sm}.cache",
    )


def open_engine(file: Path) -> Backend:
    """Open an engine file on this GPU.

    Raises:
        CheckpointError: It is missing or damaged, or an engine of another GPU, TensorRT or CUDA.
        MissingDependencyError: TensorRT or CUDA is not installed.
        UsageError: There is no GPU.
    """
    engine = Engine(file, import_tensorrt(), CudaRuntime())
    batch = engine.input_shape[0]
    return Backend(
        run=engine,
        size=input_size(engine.metadata),
        batch=batch if batch > 0 else None,
        pictures=takes_pictures(engine.metadata),
        metadata=engine.metadata,
    )
