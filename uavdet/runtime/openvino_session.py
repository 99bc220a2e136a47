"""Opens a `*_openvino_model` folder with OpenVINO."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from uavdet.errors import CheckpointError, UsageError, one_line
from uavdet.runtime.metadata import NetworkMetadata, describe_network
from uavdet.runtime.opened import OpenedNetwork, check_finite
from uavdet.runtime.openvino_package import import_openvino
from uavdet.runtime.providers import Device, read_device

ENDING = "_openvino_model"
METADATA = "metadata.yaml"
"""Where a folder's metadata lie, in the form in which Ultralytics writes and reads them."""

_EXPORT = "Write it with: uavdet export model=best.pt format=openvino."
_TYPES = {"f32": "tensor(float)", "f16": "tensor(float16)", "u8": "tensor(uint8)"}
"""OpenVINO's names of types to ONNX Runtime's."""


@dataclass(frozen=True)
class _Port:
    """An input or output, described as ONNX Runtime describes them."""

    name: str
    type: str
    shape: list[int | str]


def is_openvino(path: str | Path) -> bool:
    """Return whether a path names a folder for OpenVINO."""
    return Path(path).name.endswith(ENDING)


def open_openvino(path: Path, device: str | int | None, threads: int, half: bool | None) -> OpenedNetwork:
    """Open a folder.

    Args:
        path: The folder.
        device: None, 'cpu' or 'openvino' for the CPU; 'openvino:gpu' or 'openvino:npu'.
        threads: CPU threads.
        half: Compute in half precision: bf16 on a CPU, fp16 elsewhere. By default as the folder was exported, where
            the device can.

    Raises:
        CheckpointError: The folder is missing, damaged or not written by `uavdet export`, or gives numbers that are not
            finite.
        MissingDependencyError: OpenVINO is not installed.
        UsageError: The device is not there, or cannot compute in half precision.
    """
    openvino = import_openvino()
    wanted = _read_device(path, device)
    part = wanted.part or "CPU"
    core = openvino.Core()
    _check_device(core, wanted, part)
    graph = _read_graph(core, path)
    network = describe_folder(path, graph)
    in_half = _choose_half(core, part, half, network)
    try:
        compiled = core.compile_model(graph, part, _settings(part, threads, in_half))
    except Exception as error:  # OpenVINO raises RuntimeErrors of its own
        raise UsageError(f"device={wanted} does not work here: {one_line(error)[:200]}") from error
    opened = OpenedNetwork(network, wanted, in_half, _runner(compiled))
    check_finite(opened, opened.run(network.black_images()))
    return opened


def read_openvino(path: Path) -> NetworkMetadata:
    """Return what a folder says of its network, without compiling it.

    Raises:
        CheckpointError: See `open_openvino`.
        MissingDependencyError: OpenVINO is not installed.
    """
    return describe_folder(path, _read_graph(import_openvino().Core(), path))


def describe_folder(path: Path, graph: Any) -> NetworkMetadata:
    """Return what a folder and the graph in it say of the network.

    Raises:
        CheckpointError: The metadata are missing or damaged, or not `uavdet export`'s.
    """
    try:
        told = yaml.safe_load((path / METADATA).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"'{path / METADATA}' cannot be read: {one_line(error)[:200]}. {_EXPORT}") from error
    told = told if isinstance(told, Mapping) else {}
    raw = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    return describe_network(path, _ports(graph.inputs), _ports(graph.outputs), raw)


def computes_bf16(core: Any) -> bool:
    """Return whether the CPU has instructions for bf16: AMX, or AVX-512 BF16."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _read_device(path: Path, device: str | int | None) -> Device:
    wanted = read_device(device)
    if wanted.name not in {None, "cpu", "openvino"}:
        raise UsageError(
            f"device={device} does not run '{path}', which is for OpenVINO. Give device=openvino, openvino:gpu or "
            "openvino:npu, or an .onnx file."
        )
    return Device("openvino", wanted.part)


def _check_device(core: Any, wanted: Device, part: str) -> None:
    available = {name.partition(".")[0] for name in core.available_devices}
    if part not in available:
        raise UsageError(
            f"device={wanted} is not available: OpenVINO finds {', '.join(sorted(available))} here. "
            "Install its driver, or leave device out."
        )


def _read_graph(core: Any, path: Path) -> Any:
    """Return the graph of a folder."""
    if not path.is_dir():
        state = "is no folder" if path.exists() else "does not exist"
        raise CheckpointError(f"'{path}' {state}. {_EXPORT}")
    files = sorted(path.glob("*.xml"))
    if len(files) != 1 or not files[0].with_suffix(".bin").is_file():
        raise CheckpointError(f"'{path}' does not hold one .xml and its .bin. {_EXPORT}")
    try:
        return core.read_model(str(files[0]))
    except Exception as error:
        raise CheckpointError(f"'{files[0]}' is damaged: {one_line(error)[:200]}. {_EXPORT}") from error


def _choose_half(core: Any, part: str, half: bool | None, network: NetworkMetadata) -> bool:
    able = part != "CPU" or computes_bf16(core)
    if half and not able:
        raise UsageError(
            "half=True is not possible: this CPU has neither AMX nor AVX-512 BF16, which compute in bf16. "
            "Leave half out."
        )
    return (able and network.precision == "bf16") if half is None else half


def _settings(part: str, threads: int, half: bool) -> dict[str, Any]:
    # Without a hint OpenVINO computes in bf16 wherever the CPU can, whatever the file was proven in.
    precision = ("bf16" if part == "CPU" else "f16") if half else "f32"
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if part == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def _runner(compiled: Any) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function that runs a compiled graph on arrays, which OpenVINO reads where they lie."""
    request = compiled.create_infer_request()
    return lambda batch: list(request.infer([batch], share_inputs=True).values())


def _ports(ports: Any) -> list[_Port]:
    return [
        _Port(
            port.get_any_name(),
            _TYPES.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
            [side.get_length() if side.is_static else "open" for side in port.partial_shape],
        )
        for port in ports
    ]
