"""What an exported file says of its network: classes, input, preparation of images and layout of the output."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import CheckpointError, UsageError

SCHEMA = 2
"""The newest form of our metadata that this version reads."""

OUTPUTS = ("detections", "raw", "deepstream")
_OURS = "Give a file that uavdet export wrote."
_HEAD = "RTDETRDecoder"
_INPUT_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_COLORS = {"RGB": 3, "BGR": 3, "grey": 1}
"""Orders of channels, and how many they are."""


@dataclass(frozen=True)
class ImageInput:
    """What a network takes.

    Attributes:
        name: Name of the input in the graph.
        imgsz: (height, width) in pixels.
        channels: 3 or 1 as a rule.
        dtype: float32 or float16 in [0, 1], or uint8 in [0, 255].
        channels_last: Whether it is (B, H, W, C) rather than (B, C, H, W).
        color: 'RGB', 'BGR' or 'grey'.
    """

    name: str
    imgsz: tuple[int, int]
    channels: int = 3
    dtype: type[np.generic] = np.float32
    channels_last: bool = False
    color: str = "RGB"

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """Return the shape of an input of `count` images."""
        if self.channels_last:
            return (count, *self.imgsz, self.channels)
        return (count, self.channels, *self.imgsz)


@dataclass(frozen=True)
class NetworkMetadata:
    """What the runtime knows of a file before it runs.

    Attributes:
        path: The `.onnx` file.
        names: Class id to class name.
        images: What it takes.
        stride: What the sides are multiples of.
        batch: Images a run, or None where the batch size is open.
        output: 'detections', (B, K, 6): cx, cy, w, h normalised, score, class; 'deepstream', (B, K, 6): xyxy in network
            pixels, score, class; or 'raw', boxes (B, K, 4) as in 'detections' and scores (B, K, classes).
        precision: 'fp32', 'fp16', 'bf16' or 'int8': that of the file's weights and operators.
        values: Everything that the file says of itself, by key.
        rows: Detections an image at most, or None where the file does not say.
    """

    path: Path
    names: dict[int, str]
    images: ImageInput
    stride: int
    batch: int | None
    output: str
    precision: str
    values: dict[str, Any]
    rows: int | None = None

    def black_images(self) -> np.ndarray:
        """Return a batch of black images: of the file's size, or of one where it is open."""
        return np.zeros(self.images.shape(self.batch or 1), self.images.dtype)


def refuse_settled(options: Mapping[str, Any], path: Path, imgsz: tuple[int, int] | None) -> None:
    """Refuse options that an exported file has settled.

    Args:
        options: Options of a mode; those that are not given are None.
        path: The exported file.
        imgsz: (height, width) of its input, or None where it takes any.

    Raises:
        UsageError: They ask for other queries or another input size.
    """
    if options.get("queries"):
        raise UsageError(settled("queries", options["queries"], path))
    given = options.get("imgsz")
    size = (given if isinstance(given, list) else [given, given]) if given else None
    if size and imgsz and tuple(size) != imgsz:
        shown = ",".join(map(str, given)) if isinstance(given, list) else given
        raise UsageError(
            f"imgsz={shown} is not possible: '{path}' takes {imgsz[0]},{imgsz[1]}. Leave imgsz out, or export "
            f"again with imgsz={shown}."
        )


def settled(name: str, value: Any, path: Path) -> str:
    """Return the message for an option that an exported file has settled."""
    return (
        f"{name}={value} has no effect on the exported file '{path}'. Leave it out, or give the weights that the file "
        "was made from."
    )


def parse_metadata(value: str) -> Any:
    """Return a metadata value: JSON, else a Python literal as Ultralytics writes them, else text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def read_names(value: Any) -> dict[int, str]:
    """Return class names by id, from a list or a mapping; empty where it is neither."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not all(str(key).isdigit() for key in value):
        return {}
    return {int(key): str(name) for key, name in value.items()}


def read_sides(value: Any) -> tuple[int, int] | None:
    """Return (height, width), or None where the value is no two positive integers."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(side) is int and side > 0 for side in value):
        return int(value[0]), int(value[1])
    return None


def read_values(raw: Mapping[str, str]) -> dict[str, Any]:
    """Return a file's metadata with its values parsed."""
    return {key: parse_metadata(value) for key, value in raw.items()}


def our_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `uavdet export` wrote into a file; empty for a file of Ultralytics."""
    ours = values.get("uavdet")
    return ours if isinstance(ours, dict) else {}


def describe_network(
    path: Path, inputs: Sequence[Any], outputs: Sequence[Any], raw: Mapping[str, str]
) -> NetworkMetadata:
    """Read what a file says of its network, and check that its graph is so.

    Args:
        path: The file, for messages.
        inputs: Its inputs as ONNX Runtime lists them, with `name`, `type` and `shape`.
        outputs: Its outputs, likewise.
        raw: Its metadata.

    Raises:
        CheckpointError: Neither `uavdet export` wrote it nor Ultralytics from a DETR; or a newer version of uavdet did.
    """
    values = read_values(raw)
    names, imgsz = read_names(values.get("names")), read_sides(values.get("imgsz"))
    if not names or imgsz is None:
        raise CheckpointError(f"'{path}' does not say its classes and input size. {_OURS}")
    ours = our_values(values)
    _check_schema(path, ours)
    _check_preparation(path, ours)
    output = _read_output(path, ours, values)
    check_outputs(path, output, outputs)
    images = _read_input(path, inputs, imgsz, ours)
    return NetworkMetadata(
        path=path,
        names=names,
        images=images,
        stride=values["stride"] if type(values.get("stride")) is int else 32,
        batch=inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None,
        output=output,
        precision=str(ours.get("precision") or ("fp16" if images.dtype == np.float16 else "fp32")),
        values=values,
        rows=_read_rows(output, ours, outputs),
    )


def _check_schema(path: Path, ours: Mapping[str, Any]) -> None:
    schema = ours.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise CheckpointError(
            f"'{path}' was written by a newer uavdet: its schema is {schema}, and this version reads up to {SCHEMA}. "
            "Update uavdet, or export again with this version."
        )


def _preparation(ours: Mapping[str, Any]) -> dict[str, Any]:
    told = ours.get("preprocessing")
    return told if isinstance(told, dict) else {}


def _check_preparation(path: Path, ours: Mapping[str, Any]) -> None:
    resize = _preparation(ours).get("resize", "stretch")
    if resize != "stretch":
        raise CheckpointError(f"'{path}' wants images prepared by '{resize}'; the runtime stretches them. {_OURS}")


def _read_output(path: Path, ours: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the layout of the output; Ultralytics writes rows of the same shape for some YOLOs, in other units."""
    kind = str(ours.get("output", "detections"))
    if kind not in OUTPUTS:
        raise CheckpointError(f"'{path}' has output={kind}; the runtime reads output={'|'.join(OUTPUTS)}. {_OURS}")
    task, head = values.get("task", "detect"), values.get("head", _HEAD)
    if not ours and (task != "detect" or head != _HEAD or values.get("end2end")):
        raise CheckpointError(f"'{path}' is no DETR that detects (task {task}, head {head}). {_OURS}")
    return kind


def check_outputs(path: Path, kind: str, outputs: Sequence[Any]) -> None:
    """Check that a graph's outputs have the shapes of their kind.

    Raises:
        CheckpointError: They have not.
    """
    shapes = [list(output.shape) for output in outputs]
    if kind == "raw":
        good = len(shapes) >= 2 and _is_rows(shapes[0], 4) and _is_rows(shapes[1], None)
        wanted = "boxes (B, K, 4) and scores (B, K, classes)"
    else:
        good, wanted = bool(shapes) and _is_rows(shapes[0], 6), "rows (B, K, 6)"
    if not good:
        found = ", ".join(f"{output.name} {shape}" for output, shape in zip(outputs, shapes, strict=True))
        raise CheckpointError(f"'{path}' gives {found}; output={kind} is {wanted}. {_OURS}")


def _is_rows(shape: list[Any], width: int | None) -> bool:
    """Return whether a shape is (B, K, width), open sides counting as anything."""
    return len(shape) == 3 and (width is None or shape[2] == width or not isinstance(shape[2], int))


def _read_rows(output: str, ours: Mapping[str, Any], outputs: Sequence[Any]) -> int | None:
    """Return how many detections of an image a file gives: as its graph says, or for raw its metadata."""
    rows = ours.get("rows") if output == "raw" else outputs[0].shape[1]
    return rows if type(rows) is int and rows > 0 else None


def _read_input(path: Path, inputs: Sequence[Any], imgsz: tuple[int, int], ours: Mapping[str, Any]) -> ImageInput:
    """Return what the only input takes."""
    found = ", ".join(f"{entry.name} {entry.type} {list(entry.shape)}" for entry in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _INPUT_TYPES:
        raise CheckpointError(f"'{path}' takes {found}, not one batch of images. {_OURS}")
    shape = list(inputs[0].shape)
    channels_last = _is_channels_last(path, shape, imgsz)
    channels = shape[3 if channels_last else 1]
    channels = channels if isinstance(channels, int) else 3
    return ImageInput(
        name=inputs[0].name,
        imgsz=imgsz,
        channels=channels,
        dtype=_INPUT_TYPES[inputs[0].type],
        channels_last=channels_last,
        color=_read_color(path, ours, channels),
    )


def _is_channels_last(path: Path, shape: list[Any], imgsz: tuple[int, int]) -> bool:
    """Return whether the input is (B, H, W, C); sides that the file leaves open are those of its metadata."""
    if _has_sides(shape[2:], imgsz):
        return False
    if _has_sides(shape[1:3], imgsz):
        return True
    raise CheckpointError(f"'{path}' takes images of {shape}, but says imgsz={list(imgsz)}. {_OURS}")


def _has_sides(sides: list[Any], imgsz: tuple[int, int]) -> bool:
    return all(not isinstance(side, int) or side == wanted for side, wanted in zip(sides, imgsz, strict=True))


def _read_color(path: Path, ours: Mapping[str, Any], channels: int) -> str:
    """Return the order of channels; '' for a number of channels that no picture has."""
    usual = {3: "RGB", 1: "grey"}.get(channels, "")
    color = str(_preparation(ours).get("color", usual))
    if usual and _COLORS.get(color) != channels:
        raise CheckpointError(f"'{path}' has {channels} channels, but says color={color}. {_OURS}")
    return color
