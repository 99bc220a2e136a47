"""Runs an exported file on the machine that made it, whatever its format, with arrays in and arrays out.

A backend is known by how its files' names end. A new one is a function that opens a file and a row of `_OPENERS`; its
packages are imported when a file of its kind is opened, and no earlier.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import CheckpointError, UsageError, one_line
from uavdet.runtime.files import open_on_cpu
from uavdet.runtime.metadata import parse_metadata

_OPENERS: dict[str, str] = {
    ".onnx": "uavdet.export.backends:open_onnx",
    ".engine": "uavdet.export.tensorrt:open_engine",
    ".torchscript": "uavdet.export.backends:open_torchscript",
    "_openvino_model": "uavdet.export.openvino:open_folder",
}
"""End of a file's name to the function that opens it, `module:function`, which takes a path and returns a `Backend`."""

_UNFINISHED = frozenset({".tmp", ".rejected"})
"""Suffixes behind the one of the format: a file that waits for its final name, or never got it."""


@dataclass(frozen=True)
class Backend:
    """An opened file; calling it runs it.

    Attributes:
        run: Takes a batch as the file takes it, and returns the outputs in the order of the file.
        size: (height, width) of the input in pixels, or None where the file does not say.
        batch: Images a run, or None where their number is open.
        pictures: Whether the input is pictures, (B, H, W, C) uint8 BGR or grey, rather than (B, C, H, W) float32 in
            [0, 1], RGB or grey.
        metadata: What the file says of itself, parsed.
    """

    run: Callable[[np.ndarray], list[np.ndarray]]
    size: tuple[int, int] | None = None
    batch: int | None = None
    pictures: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run a batch as the file takes it."""
        return self.run(batch)


def open_backend(file: str | Path) -> Backend:
    """Open an exported file, also one whose name ends in `.tmp` or `.rejected`.

    Raises:
        CheckpointError: The file is missing, empty, damaged or not of its format.
        MissingDependencyError: The package that runs it is not installed.
        UsageError: No backend runs files of this suffix.
    """
    file = Path(file)
    name = file.name
    while Path(name).suffix in _UNFINISHED:
        name = Path(name).stem
    ending = next((ending for ending in _OPENERS if name.endswith(ending)), None)
    if ending is None:
        raise UsageError(f"'{file}' cannot be run here. Files that can end in {', '.join(_OPENERS)}. Give one of them.")
    module, _, function = _OPENERS[ending].partition(":")
    backend: Backend = getattr(importlib.import_module(module), function)(file)
    return backend


def open_onnx(file: Path) -> Backend:
    """Open an ONNX file with ONNX Runtime on the CPU."""
    session = open_on_cpu(file)
    given = session.get_inputs()[0]
    pictures = given.type == "tensor(uint8)"
    metadata = {key: parse_metadata(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    return Backend(
        run=lambda batch: list(session.run(None, {given.name: batch})),
        size=_sides(given.shape[1:3] if pictures else given.shape[2:4]) or _sides(metadata.get("imgsz")),
        batch=given.shape[0] if isinstance(given.shape[0], int) else None,
        pictures=pictures,
        metadata=metadata,
    )


def open_torchscript(file: Path) -> Backend:
    """Open a TorchScript file on the CPU; its input size comes from the metadata that Ultralytics stores beside it."""
    import torch

    extra = {"config.txt": ""}
    if not file.is_file() or file.stat().st_size == 0:
        state = "is empty" if file.is_file() else "does not exist"
        raise CheckpointError(f"'{file}' {state}. Write it with: uavdet export model=best.pt format=torchscript.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch calls TorchScript deprecated
            module = torch.jit.load(str(file), map_location="cpu", _extra_files=extra).eval()
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"'{file}' is damaged or no TorchScript file: {one_line(error)[:200]}") from error
    metadata = parse_metadata(_text(extra["config.txt"]) or "{}")
    metadata = metadata if isinstance(metadata, dict) else {}

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(batch))
        return [output.float().numpy() for output in (outputs if isinstance(outputs, list | tuple) else [outputs])]

    ours = metadata.get("uavdet")
    ours = parse_metadata(ours) if isinstance(ours, str) else ours
    preparation = ours.get("preprocessing") if isinstance(ours, dict) else None
    return Backend(
        run=run,
        size=_sides(metadata.get("imgsz")),
        batch=None if metadata.get("dynamic") else metadata.get("batch"),
        pictures=isinstance(preparation, dict) and preparation.get("dtype") == "uint8",
        metadata=metadata,
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _sides(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return int(value[0]), int(value[1])
    return None
