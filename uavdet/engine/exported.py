"""What an exported file says of itself: class names, input size, rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.errors import CheckpointError, UsageError
from uavdet.runtime.files import open_on_cpu
from uavdet.runtime.metadata import our_values, read_names, read_sides, read_values, refuse_settled, settled
from uavdet.runtime.openvino_session import is_openvino, read_openvino


@dataclass(frozen=True)
class Exported:
    """An exported detector; a file that was not written by `uavdet export` may leave parts unsaid.

    Attributes:
        path: The `.onnx` file, or the `*_openvino_model` folder.
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
        refuse_settled(options, self.path, self.imgsz)
        if options.get("half"):
            raise UsageError(settled("half", True, self.path))


def is_exported(path: str | Path) -> bool:
    """Return whether a path names an exported file rather than weights."""
    return Path(path).suffix == ".onnx" or is_openvino(path)


def read_exported(path: str | Path) -> Exported:
    """Read what an exported file says of itself.

    Raises:
        CheckpointError: The file is missing, empty, damaged or no ONNX file, or its input or output are others than
            those that Ultralytics' validator, predictor and tracker read.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    path = Path(path)
    if is_openvino(path):
        return _read_folder(path)
    session = open_on_cpu(path.expanduser(), 1, optimize=False)
    values = read_values(session.get_modelmeta().custom_metadata_map)
    given, output = session.get_inputs()[0], session.get_outputs()[0].shape
    _check_form(path, our_values(values).get("output", "detections"), given.type)
    return Exported(
        path=path,
        names=read_names(values.get("names")),
        imgsz=read_sides(given.shape[2:]) or read_sides(values.get("imgsz")),
        batch=given.shape[0] if given.shape and isinstance(given.shape[0], int) else None,
        rows=output[1] if len(output) == 3 and output[2] == 6 and isinstance(output[1], int) else None,
    )


def _read_folder(path: Path) -> Exported:
    """Read what a folder for OpenVINO says of itself; OpenVINO is imported here first, without its telemetry."""
    network = read_openvino(path.expanduser())
    _check_form(path, network.output, "tensor(uint8)" if network.images.channels_last else "tensor(float)")
    rows = our_values(network.values).get("rows")
    return Exported(
        path=path,
        names=network.names,
        imgsz=network.images.imgsz,
        batch=network.batch,
        rows=rows if isinstance(rows, int) else None,
    )


def _check_form(path: Path, output: str, kind: str) -> None:
    settings = {"output": output, "input": "uint8" if kind == "tensor(uint8)" else "float"}
    usual = {"output": "detections", "input": "float"}
    for name, value in settings.items():
        if value != usual[name]:
            raise CheckpointError(
                f"'{path}' was exported with {name}={value}, which val and track do not read. Export with "
                f"{name}={usual[name]}; or detect with it: uavdet predict, or uavdet.runtime."
            )
