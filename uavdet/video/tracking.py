"""Multi-object tracking by Roboflow's `trackers`, with thresholds for the scores of DETRs on small objects."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.assets import read_yaml
from uavdet.errors import MissingDependencyError, UsageError, one_line, suggest_name

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
        ConfigError: The file is no readable YAML.
        UsageError: The name is unknown, the YAML is malformed, or a setting is not usable.
        MissingDependencyError: The packages of the `video` extra are not installed.
    """
    name, settings = given.removesuffix(".yaml"), {}
    if Path(given).is_file() and given not in _CLASSES:
        settings = _read_settings(given)
        name = str(settings.pop("tracker"))
    if name not in _CLASSES:
        raise UsageError(
            f"tracker={given} is unknown.{suggest_name(name, _CLASSES)} Known: {', '.join(_CLASSES)}, or a YAML."
        )
    config = TrackerConfig(name, settings)
    try:
        FrameTracker(config, 30.0)
    except UsageError as error:
        raise UsageError(f"tracker={given}: {error}") from None
    return config


def _read_settings(file: str) -> dict[str, Any]:
    content = read_yaml(Path(file))
    if not isinstance(content, dict) or "tracker" not in content:
        raise UsageError(f"tracker={file} has no 'tracker:' entry. It is one of {', '.join(_CLASSES)}.")
    return {str(key): value for key, value in content.items()}


def _check_settings(settings: Mapping[str, Any], tracker_class: type) -> None:
    """Refuse settings that a tracker does not have, or whose values are of another kind than its defaults.

    Raises:
        UsageError: There is one.
    """
    parameters = inspect.signature(tracker_class.__init__).parameters  # type: ignore[misc]
    known = {
        name: parameter.default
        for name, parameter in parameters.items()
        if isinstance(parameter.default, bool | int | float | str) and name != "frame_rate"
    }
    for key, value in settings.items():
        if key not in known:
            raise UsageError(
                f"Unknown tracker setting '{key}'.{suggest_name(key, known)} Known: {', '.join(sorted(known))}."
            )
        wanted = _wanted(key, value, known[key])
        if wanted:
            raise UsageError(f"{key}: {value} is not allowed. It is {wanted}; the tracker's own is {known[key]}.")


def _wanted(key: str, value: Any, default: bool | int | float | str) -> str:
    """Return what a setting has to be where `value` is something else, else an empty string."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a name"
    if isinstance(default, int):
        return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "a whole number"
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if "threshold" in key:
        return "" if number and 0 <= value <= 1 else "a number from 0 to 1"
    return "" if number else "a number"


class FrameTracker:
    """Tracks objects from frame to frame; identities start at 1.

    Args:
        config: Which tracker, with which settings.
        frame_rate: Frames a second of the source.

    Raises:
        UsageError: The tracker has no such setting, or does not take its value.
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
        _check_settings(config.settings, tracker_class)
        self._sees_frames = config.name == "botsort"  # the others compensate no camera motion
        try:
            self._tracker = tracker_class(frame_rate=frame_rate, **{**_DEFAULTS[config.name], **config.settings})
        except (ValueError, TypeError) as error:
            reason = one_line(error).rstrip(".")
            raise UsageError(f"The {config.name} tracker refuses its settings: {reason}.") from error

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


class SourceTracker:
    """Tracks what comes from one source: images or a video as one sequence, several streams as one each.

    Another video starts a new tracker, and so do frames of another size, whose identities go on after those before.

    Args:
        config: Which tracker, with which settings.

    Attributes:
        config: As given.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self._slots: dict[int, _Sequence] = {}

    def resume(self) -> None:
        """Let the next frames go on with the tracks that there are, whatever they are called."""
        for sequence in self._slots.values():
            sequence.name = None

    def update(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        frame: np.ndarray,
        *,
        frame_rate: float,
        name: str = "",
        slot: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the detections of the next frame; arguments and result as of `FrameTracker.update`.

        Args:
            boxes: (N, 4) xyxy in pixels.
            scores: (N,).
            classes: (N,).
            frame: (H, W, 3) uint8 BGR.
            frame_rate: Frames a second of the source.
            name: The sequence that the frame belongs to, such as the path of its video.
            slot: Which of several streams it comes from.
        """
        sequence = self._slots.get(slot)
        shape = frame.shape[:2]
        if sequence is None or sequence.name not in {None, name} or sequence.shape != shape:
            given = sequence.highest if sequence is not None and sequence.name in {None, name} else 0
            sequence = _Sequence(name, shape, FrameTracker(self.config, frame_rate), given, given)
            self._slots[slot] = sequence
        sequence.name = name
        rows, identities = sequence.tracker.update(boxes, scores, classes, frame)
        identities = identities + sequence.offset
        sequence.highest = max([sequence.highest, *identities.tolist()])
        return rows, identities


@dataclass
class _Sequence:
    """A sequence of frames of one size: its name, its tracker, and the identities that were given before and so far."""

    name: str | None
    shape: tuple[int, ...]
    tracker: FrameTracker
    offset: int
    highest: int
