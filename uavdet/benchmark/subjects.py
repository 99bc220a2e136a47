"""What is measured: a model, and what stands before and behind its network.

Exported files are prepared for and read by the runtime's code, whatever runs them. Checkpoints run as `UAVDet.predict`
runs them: fused, in PyTorch's eager mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uavdet.benchmark.settings import Description, PassTimes, SubjectSettings
from uavdet.errors import CheckpointError, UsageError
from uavdet.export.backends import Backend, open_backend
from uavdet.export.layouts import check_rows, decode_outputs
from uavdet.runtime.metadata import ImageInput, our_values, parse_metadata, read_names, refuse_settled, settled
from uavdet.runtime.openvino_session import is_openvino
from uavdet.runtime.postprocess import NMS_IOU, decode_rows
from uavdet.runtime.preprocess import InputBuffer
from uavdet.runtime.session import Session

CHECKPOINTS = frozenset({".pt", ".safetensors", ".yaml", ".yml"})
"""Suffixes of what PyTorch runs; anything else is an exported file or folder."""

_PLACES = {".engine": "cuda"}
"""Where files of a suffix run, where it is not the CPU; what the runtime opens runs in several places."""


class Subject(Protocol):
    """A model that has been opened."""

    description: Description

    def run(self) -> PassTimes:
        """Detect in one batch, and return what it took."""

    def gflops(self) -> float | None:
        """Return 10^9 operations an image, attention and Fourier transforms counted; None where it is not known."""


def open_subject(settings: SubjectSettings) -> Subject:
    """Open a model.

    Raises:
        CheckpointError: The file is missing, damaged or foreign.
        MissingDependencyError: A package that runs it is not installed.
        UsageError: A setting does not go with it.
    """
    path = Path(settings.model).expanduser()
    if path.suffix == ".onnx" or is_openvino(path):
        return FileSubject(_open_session(path, settings), settings)
    if path.is_dir() or path.suffix not in {*CHECKPOINTS, ""}:
        return FileSubject(_open_other(path, settings), settings)
    from uavdet.benchmark.checkpoint import CheckpointSubject

    return CheckpointSubject(settings)


@dataclass(frozen=True)
class OpenedFile:
    """An exported file that is ready to run.

    Attributes:
        form: What it takes.
        run: Maps a batch to its outputs.
        output: Layout of the outputs.
        names: Class id to class name.
        batch: Images a run, or None where their number is open.
        device: What it runs on.
        precision: "fp32", "fp16", "bf16" or "int8".
        gflops: What the file says of its arithmetic.
        rows: Detections an image at most, or None where the file does not say.
    """

    form: ImageInput
    run: Callable[[np.ndarray], list[np.ndarray]]
    output: str
    names: dict[int, str]
    batch: int | None
    device: str
    precision: str
    gflops: float | None
    rows: int | None


class FileSubject:
    """An exported file, timed part by part.

    Args:
        network: The opened file.
        settings: What was asked for.
    """

    def __init__(self, network: OpenedFile, settings: SubjectSettings) -> None:
        if settings.batch and network.batch and settings.batch != network.batch:
            raise UsageError(
                f"batch={settings.batch} is not possible: '{settings.model}' takes {network.batch} images a run. Leave "
                f"batch out, or export again with batch={settings.batch}."
            )
        if network.form.channels not in {1, 3}:
            raise CheckpointError(
                f"'{settings.model}' takes images of {network.form.channels} channels. Give a file for 3 (colour) or 1 "
                "(grey)."
            )
        batch = settings.batch or network.batch or 1
        self._network, self._image = network, np.load(settings.image)
        self._images = [self._image] * batch
        self._buffer = InputBuffer(network.form)
        self.description = Description(network.device, network.precision, list(network.form.imgsz), batch)

    def run(self) -> PassTimes:
        """Detect in one batch, and return what it took."""
        processor, start = time.process_time(), time.perf_counter()
        batch = self._buffer.fill(self._images, len(self._images))
        prepared = time.perf_counter()
        outputs = self._network.run(batch)
        computed = time.perf_counter()
        self._detections(outputs)
        end = time.perf_counter()
        return PassTimes(
            prepared - start, computed - prepared, end - computed, end - start, time.process_time() - processor
        )

    def gflops(self) -> float | None:
        """Return what the file says."""
        return self._network.gflops

    def _detections(self, outputs: list[np.ndarray]) -> None:
        network, classes = self._network, len(self._network.names)
        for rows in decode_outputs(outputs, network.output, network.form.imgsz, classes, network.rows):
            check_rows(rows, classes, "the picture")
            decode_rows(rows, self._image.shape[:2], network.names, iou=NMS_IOU)


def _open_session(path: Path, settings: SubjectSettings) -> OpenedFile:
    """Open a file as the runtime does, on the device that was asked for or the fastest that works."""
    session = Session(path, settings.device, settings.threads, settings.half or None)
    network = session.network
    refuse_settled(_settled_options(settings), path, network.images.imgsz)
    return OpenedFile(
        form=network.images,
        run=session.infer,
        output=network.output,
        names=network.names,
        batch=network.batch,
        device=session.device,
        precision=_computes_in(session.device, session.half, network.precision),
        gflops=_told_gflops(network.values),
        rows=network.rows,
    )


def _computes_in(device: str, half: bool, precision: str) -> str:
    """Return what a session computes in: a folder for bf16 computes in float32 where the CPU has no bf16."""
    if half:
        return "bf16" if device in {"openvino", "openvino:CPU"} else "fp16"
    return "fp32" if precision == "bf16" else precision


def _open_other(path: Path, settings: SubjectSettings) -> OpenedFile:
    """Open a file of another format, which runs in one place and in one precision."""
    place = _PLACES.get(path.suffix, "cpu")
    if settings.device is not None and str(settings.device).split(":")[0] != place:
        raise UsageError(f"device={settings.device} is not possible: '{path}' runs on {place}. Leave device out.")
    if settings.half:
        raise UsageError(settled("half", True, path))
    backend = open_backend(path)
    metadata = _parsed(backend.metadata)
    names = read_names(metadata.get("names"))
    if backend.size is None or not names:
        raise CheckpointError(
            f"'{path}' does not say its classes and input size. Give a file that uavdet export wrote."
        )
    refuse_settled(_settled_options(settings), path, backend.size)
    ours = our_values(metadata)
    return OpenedFile(
        form=_input_form(backend, int(metadata.get("channels", 3))),
        run=backend.run,
        output=str(ours.get("output", "detections")),
        names=names,
        batch=backend.batch,
        device=place,
        precision=str(ours.get("precision", "fp32")),
        gflops=_told_gflops(metadata),
        rows=rows if type(rows := ours.get("rows")) is int else None,
    )


def _input_form(backend: Backend, channels: int) -> ImageInput:
    size = backend.size or (0, 0)
    if backend.pictures:
        return ImageInput("images", size, channels, np.uint8, True, "grey" if channels == 1 else "BGR")
    return ImageInput("images", size, channels, color="grey" if channels == 1 else "RGB")


def _settled_options(settings: SubjectSettings) -> dict[str, Any]:
    return {"imgsz": settings.imgsz, "queries": settings.queries}


def _parsed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with values that some formats hold as text parsed."""
    return {name: parse_metadata(value) if isinstance(value, str) else value for name, value in metadata.items()}


def _told_gflops(metadata: Mapping[str, Any]) -> float | None:
    told = our_values(metadata).get("gflops")
    return float(told) if isinstance(told, int | float) else None
