"""ONNX Runtime's execution providers: which of them `device=` means, their options, and what is missing for them."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.errors import MissingDependencyError, UAVDetError, UsageError
from uavdet.export.cuda_memory import CudaRuntime
from uavdet.export.tensorrt_versions import Platform, check_platform
from uavdet.runtime.metadata import NetworkMetadata

_LOG = logging.getLogger(__name__)

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""What `device=` calls them, the fastest first."""

HALF = ("tensorrt", "openvino")
"""Those that compute a single-precision file in half precision."""

TENSORRT_BATCH = 8
"""Most images a run of TensorRT, where a file leaves the batch size open: its engine is built for a range."""

_TENSORRT_WORKSPACE = 2 << 30
_JETSON_RELEASE = Path("/etc/nv_tegra_release")
_WHEELS = {"tensorrt": "runtime-gpu", "cuda": "runtime-gpu", "openvino": "runtime-openvino"}
_JETPACK_6 = "pip install onnxruntime-gpu --index-url https://pypi.jetson-ai-lab.io/jp6/cu126"
_REMOVE = "pip uninstall -y onnxruntime onnxruntime-gpu onnxruntime-openvino"


@dataclass(frozen=True)
class Device:
    """What a network runs on.

    Attributes:
        name: A key of `PROVIDERS`, or None for the fastest that is there.
        part: Which one of its kind: the number of a GPU, or for OpenVINO CPU, GPU or NPU.
    """

    name: str | None
    part: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.part}" if self.part else str(self.name)

    @property
    def index(self) -> int:
        """The number of the GPU."""
        return int(self.part or 0)


def read_device(device: str | int | None) -> Device:
    """Read what `device=` says.

    Args:
        device: None, '' or 'auto' for the fastest; 'cpu', 'cuda', 'tensorrt' or 'openvino' in any case; a GPU's number
            or `cuda:1`, `tensorrt:1`; `openvino:gpu`, `openvino:npu`.

    Raises:
        UsageError: It is none of these.
    """
    text = "" if device is None else str(device).strip().lower()
    if text in {"", "auto", "none"}:
        return Device(None)
    name, _, part = ("cuda", "", text) if text.isdigit() else text.partition(":")
    allowed = {"openvino": r"(cpu|gpu|npu)?", "cpu": r"", "cuda": r"\d*", "tensorrt": r"\d*"}
    if isinstance(device, bool) or name not in PROVIDERS or not re.fullmatch(allowed[name], part):
        raise UsageError(
            f"device={device} is not allowed. Exported files run on cpu, cuda, cuda:1, tensorrt, openvino or "
            "openvino:gpu; leave it out for the fastest that works here."
        )
    return Device(name, part.upper() if name == "openvino" else part)


def import_onnxruntime() -> Any:
    """Return the module `onnxruntime`.

    Raises:
        MissingDependencyError: It is not installed, or what is left of it after one of two wheels was removed.
    """
    try:
        import onnxruntime
    except ImportError:
        version = jetpack()
        wheel = f"It comes with: {_install('runtime')}" if version is None else _jetson_wheel(version)
        raise MissingDependencyError(f"onnxruntime is not installed. {wheel}") from None
    if not hasattr(onnxruntime, "InferenceSession"):
        raise MissingDependencyError(
            "onnxruntime is installed in part: removing one of two wheels of it broke the other. Remove all, and "
            f"install one: {_REMOVE} && {_install('runtime')}"
        )
    return onnxruntime


def _install(extra: str) -> str:
    return f"pip install 'uavdet[{extra}]'."


def candidates(device: Device, available: Sequence[str]) -> list[Device]:
    """Return what to try for a device, the fastest first.

    Args:
        device: What was asked for.
        available: Execution providers that ONNX Runtime was built with; they may still not work here.

    Raises:
        UsageError: ONNX Runtime was built without it.
    """
    if device.name is None:
        return [Device(name) for name, provider in PROVIDERS.items() if provider in available]
    if PROVIDERS[device.name] not in available:
        has = ", ".join(name for name, provider in PROVIDERS.items() if provider in available)
        raise UsageError(
            f"device={device} needs {PROVIDERS[device.name]}, which the ONNX Runtime that is installed lacks; it has "
            f"{has}. {what_is_missing(device.name, built_with=False)}"
        )
    return [device]


def jetpack() -> int | None:
    """Return the major version of JetPack; None on a computer that is no Jetson, 0 where it cannot be told."""
    try:
        told = _JETSON_RELEASE.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"R(\d+)", told)
    return {35: 5, 36: 6, 38: 7, 39: 7}.get(int(found[1]), 0) if found else 0


def what_is_missing(name: str, built_with: bool) -> str:
    """Return what to install for a provider.

    Args:
        name: A key of `PROVIDERS`.
        built_with: Whether ONNX Runtime was built with it and only its libraries do not load.
    """
    version = jetpack()
    if name in {"cuda", "tensorrt"} and version is not None:
        return _jetson_wheel(version)
    if not built_with:
        return f"Replace it: {_REMOVE} && {_install(_WHEELS[name])}"
    cuda = f"CUDA {getattr(import_onnxruntime(), 'cuda_version', None) or '12 or 13, as its wheel was built for'}"
    libraries = {
        "cuda": f"an NVIDIA driver, {cuda} and cuDNN 9",
        "tensorrt": f"an NVIDIA driver, {cuda}, cuDNN 9 and TensorRT 10 (libnvinfer.so.10)",
        "openvino": "a device of that kind with its driver",
    }
    return f"It takes {libraries[name]}." if name in libraries else ""


def _jetson_wheel(version: int) -> str:
    """Return which wheel of ONNX Runtime a version of JetPack takes; 0 is one that cannot be told."""
    if version == 6:
        return f"This is a Jetson: JetPack 6 takes the Jetson AI Lab's wheel: {_REMOVE} && {_JETPACK_6}."
    if version == 5:
        return "This is a Jetson: JetPack 5 has Python 3.8, which is too old. Update to JetPack 6.2 or 7.2."
    return (
        "This is a Jetson: JetPack 7 takes an onnxruntime-gpu that was built for the board's GPU (sm_87 on Orin) with "
        "TensorRT 10; PyPI's wheel for aarch64 holds no code for it."
    )


def provider_options(device: Device, network: NetworkMetadata, half: bool, threads: int) -> list[Any]:
    """Return the providers of a session and their options, as ONNX Runtime takes them.

    The CPU stands last in each list, for the few operators that the others leave to it.
    """
    build = {"tensorrt": _tensorrt, "cuda": _cuda, "openvino": _openvino}
    own = [build[str(device.name)](device, network, half, threads)] if device.name in build else []
    if device.name == "tensorrt":
        own.append(_cuda(device, network, half, threads))
    return [*own, PROVIDERS["cpu"]]


def _cuda(device: Device, network: NetworkMetadata, half: bool, threads: int) -> tuple[str, dict[str, Any]]:
    """Return CUDA's options; TensorFloat-32, which has the error of half precision, is off."""
    return PROVIDERS["cuda"], {"device_id": device.index, "use_tf32": 0, "arena_extend_strategy": "kSameAsRequested"}


def _tensorrt(device: Device, network: NetworkMetadata, half: bool, threads: int) -> tuple[str, dict[str, Any]]:
    folder = engine_folder(network.path)
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob("*.engine")):
        _LOG.warning("TensorRT builds its engine of '%s', which takes minutes. It is kept in %s.", network.path, folder)
    options = {
        "device_id": device.index,
        "trt_fp16_enable": half or network.precision == "fp16",
        "trt_int8_enable": network.precision == "int8",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder.parent),
        "trt_layer_norm_fp32_fallback": True,
        "trt_max_workspace_size": _TENSORRT_WORKSPACE,
    }
    if network.batch is None:
        sides = "x".join(map(str, network.images.shape(1)[1:]))
        ranges = {"min": 1, "opt": 1, "max": TENSORRT_BATCH}
        options |= {
            f"trt_profile_{end}_shapes": f"{network.images.name}:{count}x{sides}" for end, count in ranges.items()
        }
    return PROVIDERS["tensorrt"], options


def _openvino(device: Device, network: NetworkMetadata, half: bool, threads: int) -> tuple[str, dict[str, Any]]:
    """Return OpenVINO's options; on a CPU its half precision is bf16, which its own switch for fp16 does not know."""
    kind = device.part or "CPU"
    options: dict[str, Any] = {"device_type": kind, "precision": "FP16" if half and kind != "CPU" else "FP32"}
    if kind == "CPU":
        options["num_of_threads"] = threads
        if half:
            del options["precision"]
            options["load_config"] = json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}})
    return PROVIDERS["openvino"], options


def cache_folder() -> Path:
    """Return where engines are kept: `$UAVDET_CACHE`, else `~/.cache/uavdet`."""
    given = os.environ.get("UAVDET_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "uavdet"


def engine_folder(path: Path) -> Path:
    """Return where TensorRT's engines of a file are kept; they hold for one file, one TensorRT and one ONNX Runtime.

    TensorRT adds the GPU's compute capability to their names.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    runtime = import_onnxruntime().__version__
    return cache_folder() / "tensorrt" / f"{digest.hexdigest()[:16]}-trt{tensorrt_version() or '-none'}-ort{runtime}"


def check_tensorrt() -> None:
    """Refuse a TensorRT that is known to compute this kind of network wrongly, and warn of one that was reported to.

    Raises:
        UsageError: See `uavdet.export.tensorrt_versions.check_platform`.
    """
    version = tensorrt_version()
    if version is None:  # the provider itself says what is missing
        return
    for warning in check_platform(Platform(version, _cuda_version(), "", platform.machine())):
        _LOG.warning("%s", warning)


def _cuda_version() -> str:
    """Return the version of the CUDA that ONNX Runtime was built for, else of the one that is here, else '0'."""
    told = getattr(import_onnxruntime(), "cuda_version", None)
    if told:
        return str(told)
    try:
        return CudaRuntime().version
    except UAVDetError:
        return "0"


def tensorrt_version() -> str | None:
    """Return the version of the TensorRT 10 library, such as '10.3.0'; None where there is none."""
    try:
        number = ctypes.CDLL("libnvinfer.so.10").getInferLibVersion()
    except (OSError, AttributeError):
        return None
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
