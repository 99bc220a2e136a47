"""From the arguments of a mode to the detector of an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uavdet.argument_table import DETR
from uavdet.arguments import check_family
from uavdet.data.config import check_class_ids
from uavdet.runtime.detector import Detector
from uavdet.runtime.metadata import refuse_settled
from uavdet.runtime.postprocess import CONFIDENCE
from uavdet.video.opening import check_batch


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
