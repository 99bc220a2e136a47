"""An ONNX Runtime session over a file that `uavdet export` wrote."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import CheckpointError, MissingDependencyError, UsageError, one_line

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Session:
    """Loads an exported detector and runs it.

    Args:
        path: The `.onnx` file.
        device: 'cpu' (in any case), or 'cuda' / a GPU's number.
        threads: CPU threads; by default one for each processor.

    Attributes:
        names: Class id to class name.
        imgsz: (height, width) of the input in pixels.
        channels: Channels of the input: 3 (RGB) or 1 (grey) as a rule.
        stride: What the sides are multiples of.
        batch: Images a run, or None where the batch size is open.
        metadata: Everything that the file says of itself.

    Raises:
        CheckpointError: The file is missing, damaged or not written by `uavdet export`.
        UsageError: The device is not available.
    """

    def __init__(self, path: str | Path, device: str | int | None = None, threads: int | None = None) -> None:
        self.path = Path(path).expanduser()
        self._session = open_session(self.path, device, threads)
        raw = self._session.get_modelmeta().custom_metadata_map
        if "names" not in raw or "imgsz" not in raw:
            raise CheckpointError(
                f"'{self.path}' does not say its classes and input size. Give a file that uavdet export wrote."
            )
        self.metadata: dict[str, Any] = {key: parse_metadata(value) for key, value in raw.items()}
        self.names = {int(key): str(name) for key, name in self.metadata["names"].items()}
        height, width = self.metadata["imgsz"]
        self.imgsz = (int(height), int(width))
        self.stride = int(self.metadata.get("stride", 32))
        self._input = self._session.get_inputs()[0]
        self.channels = self._input.shape[1] if isinstance(self._input.shape[1], int) else 3
        self.batch = self._input.shape[0] if isinstance(self._input.shape[0], int) else None
        self.provider = self._session.get_providers()[0]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            batch: (B, C, H, W) float32 in [0, 1], RGB or grey, at least one image. A batch larger or smaller than the
                file's fixed one is split or filled up.

        Returns:
            (B, K, 6) float32: cx, cy, w, h normalised, score, class.
        """
        if self.batch is None or len(batch) == self.batch:
            return self._session.run(None, {self._input.name: batch})[0]
        rows = []
        for start in range(0, len(batch), self.batch):
            part = batch[start : start + self.batch]
            missing = self.batch - len(part)
            filled = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)]) if missing else part
            rows.append(self._session.run(None, {self._input.name: filled})[0][: len(part)])
        return np.concatenate(rows)


def open_session(path: Path, device: str | int | None, threads: int | None) -> Any:
    """Return ONNX Runtime's session for a file; see `Session` for arguments and errors."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError(
            "onnxruntime is not installed. It comes with: pip install 'uavdet[runtime]'."
        ) from None
    if not path.is_file() or path.stat().st_size == 0:
        state = "is empty" if path.is_file() else "does not exist"
        raise CheckpointError(f"'{path}' {state}. Write it with: uavdet export model=best.pt format=onnx.")
    provider = _provider(device, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        reason = one_line(error)[:200]
        raise CheckpointError(f"'{path}' is damaged or no ONNX file: {reason}") from error
    if session.get_providers()[0] != provider:
        raise UsageError(f"device={device} is not usable by ONNX Runtime here: it fell back to the CPU.")
    return session


def _provider(device: str | int | None, available: list[str]) -> str:
    name = "cpu" if device is None or str(device).strip().lower() in {"", "cpu"} else "cuda"
    provider = _PROVIDERS[name]
    if provider not in available:
        raise UsageError(f"device={device} needs {provider}; this ONNX Runtime has {', '.join(available)}.")
    return provider


def parse_metadata(value: str) -> Any:
    """Return a metadata value: JSON, else a Python literal as Ultralytics writes them, else text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError):
            continue
    return value
