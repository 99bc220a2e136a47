"""Multi-object tracking by Roboflow's `trackers`, with thresholds for the scores of DETRs on small objects."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from uavdet.errors import MissingDependencyError, UsageError, suggest_name

_CLASSES = {
    "sort": "SORTTracker",
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
}

# The library's defaults expect the scores of a detector trained on large objects. A DETR gives objects of ten pixels
# scores of 0.3 to 0.6, and boxes of ten pixels overlap little from frame to frame.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sort": {"track_activation_threshold": 0.3, "minimum_iou_threshold": 0.15},
    "bytetrack": {"track_activation_threshold": 0.35, "high_conf_det_threshold": 0.3, "minimum_iou_threshold": 0.1},
    "ocsort": {"high_conf_det_threshold": 0.3, "minimum_iou_threshold": 0.15},
    "botsort": {
        "track_activation_threshold": 0.35,
        "high_conf_det_threshold": 0.3,
        "minimum_iou_threshold_first_assoc": 0.05,
        "minimum_iou_threshold_second_assoc": 0.3,
        "minimum_iou_threshold_unconfirmed_assoc": 0.1,
    },
}


@dataclass(frozen=True)
class TrackerConfig:
    """A tracker's name and its settings."""

    name: str
    settings: Mapping[str, Any]


def read_tracker(given: str) -> TrackerConfig:
    """Read `tracker=`: a name, or a YAML with `tracker: name` and settings of that tracker.

    Raises:
        UsageError: The name is unknown, or the YAML is missing or malformed.
    """
    name, settings = given.removesuffix(".yaml"), {}
    if name not in _CLASSES and Path(given).is_file():
        content = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "tracker" not in content:
            raise UsageError(f"tracker={given} has no 'tracker:' entry. It is one of {', '.join(_CLASSES)}.")
        name, settings = str(content.pop("tracker")), content
    if name not in _CLASSES:
        raise UsageError(
            f"tracker={given} is unknown.{suggest_name(name, _CLASSES)} Known: {', '.join(_CLASSES)}, or a YAML."
        )
    return TrackerConfig(name, settings)


class FrameTracker:
    """Tracks objects from frame to frame; identities start at 1.

    Args:
        config: Which tracker, with which settings.
        frame_rate: Frames a second of the source.

    Raises:
        UsageError: The tracker has no such setting.
        MissingDependencyError: The packages of the `video` extra are not installed.
    """

    def __init__(self, config: TrackerConfig, frame_rate: float) -> None:
        try:
            import trackers
        except ImportError:
            raise MissingDependencyError(
                "trackers is not installed. It comes with: pip install 'uavdet[video]'."
            ) from None
        tracker_class = getattr(trackers, _CLASSES[config.name])
        known = set(inspect.signature(tracker_class.__init__).parameters) - {"self", "frame_rate"}
        for key in config.settings:
            if key not in known:
                raise UsageError(
                    f"Unknown tracker setting '{key}'.{suggest_name(key, known)} Known: {', '.join(sorted(known))}."
                )
        self._sees_frames = config.name == "botsort"  # the others compensate no camera motion
        self._tracker = tracker_class(frame_rate=frame_rate, **{**_DEFAULTS[config.name], **config.settings})

    def update(
        self, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, frame: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the detections of the next frame.

        Args:
            boxes: (N, 4) xyxy in pixels.
            scores: (N,).
            classes: (N,).
            frame: (H, W, 3) uint8 BGR, for camera-motion compensation.

        Returns:
            The rows (M,) of the detections that belong to a confirmed track, and their identities (M,).
        """
        import supervision

        detections = supervision.Detections(
            xyxy=boxes.astype(np.float32).reshape(-1, 4),
            confidence=scores.astype(np.float32),
            class_id=classes.astype(int),
            data={"row": np.arange(len(boxes))},
        )
        tracked = self._tracker.update(detections, *([frame] if self._sees_frames else []))
        identities = np.asarray(tracked.tracker_id if tracked.tracker_id is not None else [], dtype=np.int64)
        confirmed = identities >= 0
        rows = np.asarray(tracked.data.get("row", []), dtype=np.int64)
        return rows[confirmed], identities[confirmed] + 1
