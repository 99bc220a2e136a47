"""`uavdet predict` and `uavdet track` with an exported file, without PyTorch and Ultralytics."""

from __future__ import annotations

import importlib.util
from typing import Any

from uavdet.errors import MissingDependencyError
from uavdet.runtime.exported import open_exported
from uavdet.video.command import StreamCommand
from uavdet.video.opening import needs_ultralytics

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
