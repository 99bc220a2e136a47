"""`uavdet predict` and `uavdet track` with an exported file, without PyTorch and Ultralytics."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uavdet.argument_table import DETR
from uavdet.arguments import check_family
from uavdet.data.config import check_class_ids
from uavdet.errors import MissingDependencyError
from uavdet.runtime.detector import Detector
from uavdet.runtime.metadata import refuse_settled
from uavdet.runtime.postprocess import CONFIDENCE
from uavdet.video.command import StreamCommand
from uavdet.video.opening import check_batch, needs_ultralytics

Options = dict[str, Any]


def run_predict(options: Options) -> int:
    """`uavdet predict model=x.onnx`: here, but for what only Ultralytics' predictors do.

    Raises:
        CheckpointError: The file cannot be run.
        DataError: The source holds nothing that could be read, or files that could not.
        MissingDependencyError: What was asked for takes a package that is not installed.
        UsageError: An option is not allowed.
    """
    return _run("predict", options)


def run_track(options: Options) -> int:
    """`uavdet track model=x.onnx`; raises as `run_predict`."""
    return _run("track", options)


def open_exported(mode: str, options: Mapping[str, Any]) -> Detector:
    """Open an exported file as a mode's arguments say.

    Args:
        mode: predict or track.
        options: Arguments of that mode, `model` among them; those that are missing or None have their defaults.

    Raises:
        CheckpointError: The file cannot be run.
        UsageError: An option is not allowed, or the file has settled it.
    """
    check_family([name for name, value in options.items() if value is not None], DETR)
    check_batch(options.get("batch"))
    conf = options.get("conf")
    detector = Detector(
        options["model"],
        device=options.get("device"),
        conf=CONFIDENCE[mode] if conf is None else conf,
        max_det=options.get("max_det"),
        classes=options.get("classes"),
        half=options.get("half"),
        iou=options.get("iou"),
    )
    refuse_settled(options, Path(options["model"]), detector.imgsz)
    check_class_ids(options.get("classes"), detector.names, options["model"])
    return detector


def _run(mode: str, options: Options) -> int:
    reason = needs_ultralytics(options)
    if reason is None:
        command = StreamCommand(mode, options)
        detector = open_exported(mode, options)
        session = detector.session
        size = f"{session.imgsz[0]}x{session.imgsz[1]}"
        about = f"{options['model']}: {size} on {session.device} ({session.provider})"
        return command.run(detector, about)
    if not _has_ultralytics():
        raise MissingDependencyError(
            f"{reason} needs Ultralytics, which is not installed. It comes with: pip install 'uavdet[train]'. "
            "Pictures, videos, streams and cameras go without it."
        )
    from uavdet import commands

    return commands.run_with_ultralytics(mode, options)


def _has_ultralytics() -> bool:
    try:
        return importlib.util.find_spec("ultralytics") is not None
    except ModuleNotFoundError:
        return False
