"""Exported files that are no model to detect with here, and what runs them."""

from __future__ import annotations

from pathlib import Path

from uavdet.errors import UsageError

_FORMATS = {
    ".engine": (
        "is a TensorRT engine, which uavdet benchmark alone runs. Give the .onnx file of the same weights: where "
        "TensorRT is, device=tensorrt builds an engine from it."
    ),
    ".torchscript": (
        "is a TorchScript file, which uavdet benchmark alone runs; elsewhere torch.jit.load reads it. Give the weights "
        "that it was made from, or an .onnx file: uavdet export model=best.pt format=onnx."
    ),
    ".jetson": (
        "is a folder for a Jetson: its README.txt says what runs there. Here give detections.onnx, which lies in it."
    ),
    ".rejected": (
        "did not agree with its weights: the .parity.json beside it says where. Export the weights again, or with "
        "parity=False where you accept that."
    ),
}
"""Last suffix to what is said of such a file."""


def is_other_format(path: str | Path) -> bool:
    """Return whether a path names a file of these formats."""
    return Path(path).suffix in _FORMATS


def refuse_other_format(path: str | Path) -> None:
    """Refuse a file of these formats by its name.

    Raises:
        UsageError: It is one.
    """
    if is_other_format(path):
        raise UsageError(f"'{path}' {_FORMATS[Path(path).suffix]}")
