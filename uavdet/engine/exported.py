"""What an exported file says of itself: class names, input size, rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.errors import UsageError
from uavdet.runtime.session import open_session, parse_metadata


@dataclass(frozen=True)
class Exported:
    """An exported detector; a file that was not written by `uavdet export` may leave parts unsaid.

    Attributes:
        path: The `.onnx` file.
        names: Class id to class name; empty where the file does not say.
        imgsz: (height, width) of the input in pixels, or None where it is open and not said.
        batch: Images a run, or None where the batch size is open.
        rows: Detections an image, or None where the output has no fixed number.
    """

    path: Path
    names: dict[int, str]
    imgsz: tuple[int, int] | None
    batch: int | None
    rows: int | None

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse options that the file has settled.

        Raises:
            UsageError: They ask for other queries, another precision, input size or batch size.
        """
        if options.get("queries"):
            raise UsageError(_settled("queries", options["queries"], self.path))
        if options.get("half"):
            raise UsageError(_settled("half", True, self.path))
        given = options.get("imgsz")
        size = (given if isinstance(given, list) else [given, given]) if given else None
        if size and self.imgsz and tuple(size) != self.imgsz:
            height, width = self.imgsz
            shown = ",".join(map(str, given)) if isinstance(given, list) else given
            raise UsageError(
                f"imgsz={shown} is not possible: '{self.path}' takes {height},{width}. Leave imgsz out, or export "
                f"again with imgsz={shown}."
            )


def _settled(name: str, value: Any, path: Path) -> str:
    return (
        f"{name}={value} has no effect on the exported file '{path}'. Leave it out, or give the weights that the file "
        "was made from."
    )


def is_exported(path: str | Path) -> bool:
    """Return whether a path names an exported file rather than weights."""
    return Path(path).suffix == ".onnx"


def read_exported(path: str | Path) -> Exported:
    """Read what an exported file says of itself.

    Raises:
        CheckpointError: The file is missing, empty, damaged or no ONNX file.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    path = Path(path)
    session = open_session(path.expanduser(), None, 1)
    meta = {key: parse_metadata(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    shape, output = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    return Exported(
        path=path,
        names=_names(meta.get("names")),
        imgsz=_sides(shape[2:]) or _sides(meta.get("imgsz")),
        batch=shape[0] if shape and isinstance(shape[0], int) else None,
        rows=output[1] if len(output) == 3 and output[2] == 6 and isinstance(output[1], int) else None,
    )


def _names(value: Any) -> dict[int, str]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    return {int(key): str(name) for key, name in value.items()} if isinstance(value, dict) else {}


def _sides(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return int(value[0]), int(value[1])
    return None
