"""`uavdet checks`: versions, devices, and packages that overwrite one another."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from importlib import metadata
from typing import Any

from uavdet import __version__

_PACKAGES = (
    "ultralytics", "torch", "torchvision", "timm", "numpy", "scipy", "pydantic", "onnx", "onnxslim",
    "safetensors", "av", "supervision", "trackers", "lap", "rich",
)  # fmt: skip
_EXCLUSIVE = {
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-openvino",
        "onnxruntime-directml",
        "onnxruntime-qnn",
    ),
}
"""Import name to the wheels that all install it; with two of them, each overwrites the other's files."""
_KEEP = {"cv2": "opencv-python", "onnxruntime": "the one for your device"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str | None]:
    """Return the version of every package that uavdet uses, None where it is not installed."""
    exclusive = [name for wheels in _EXCLUSIVE.values() for name in wheels if _version(name)]
    return {name: _version(name) for name in (*_PACKAGES, *exclusive)}


def find_problems() -> list[str]:
    """Return a line for each conflict among the installed packages."""
    problems = []
    for module, wheels in _EXCLUSIVE.items():
        found = [name for name in wheels if _version(name)]
        if len(found) > 1:
            problems.append(
                f"{' and '.join(found)} both install '{module}' and overwrite each other. Uninstall all of them "
                f"(pip uninstall {' '.join(found)}), then install {_KEEP[module]} again."
            )
    return problems


def describe_devices() -> dict[str, Any]:
    """Return the processors that PyTorch and ONNX Runtime can use here."""
    devices: dict[str, Any] = {"cpu": platform.processor() or platform.machine(), "cpu_threads": os.cpu_count()}
    if importlib.util.find_spec("torch") is not None:
        import torch

        devices["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        devices["mps"] = bool(torch.backends.mps.is_available())
        devices["cpu_bfloat16"] = _cpu_has_bfloat16()
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        devices["onnxruntime"] = onnxruntime.get_available_providers()
    return devices


def _cpu_has_bfloat16() -> bool | None:
    if importlib.util.find_spec("ultralytics") is None:
        return None
    from uavdet.engine.plan import cpu_has_bfloat16

    return cpu_has_bfloat16()


def run_checks(options: dict[str, Any]) -> int:
    """Print the report; return 1 where packages conflict, else 0."""
    report = {
        "uavdet": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": installed_versions(),
        "devices": describe_devices(),
        "problems": find_problems(),
    }
    print(json.dumps(report) if options.get("json") else _text(report))
    return 1 if report["problems"] else 0


def _text(report: dict[str, Any]) -> str:
    lines = [f"uavdet {report['uavdet']}, Python {report['python']}, {report['platform']}", "", "packages:"]
    lines += [f"  {name:24} {version or 'not installed'}" for name, version in report["packages"].items()]
    lines += ["", "devices:"]
    lines += [f"  {name:24} {value}" for name, value in report["devices"].items()]
    lines += (
        ["", *(f"problem: {problem}" for problem in report["problems"])] if report["problems"] else ["", "no problems"]
    )
    return "\n".join(lines)
