"""Which tracker, with which settings: thresholds for the scores of DETRs on small objects, and YAML files of them."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.assets import read_yaml
from uavdet.errors import MissingDependencyError, UsageError, one_line, suggest_name

TRACKERS = {
    "sort": "SORTTracker",
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
}
"""Name of a tracker to its class in the `trackers` package."""

LOWEST_SCORE = 0.1
"""Detections down to this score help a tracker: ByteTrack and BoT-SORT keep a track alive on weak ones."""

# The library's defaults expect the scores of a detector trained on large objects. A DETR gives objects of ten pixels
# scores of 0.3 to 0.6, and boxes of ten pixels overlap little from frame to frame. docs/results/tracking.md tells how
# these were chosen and what they give.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sort": {"track_activation_threshold": 0.5, "minimum_iou_threshold": 0.15},
    "bytetrack": {"track_activation_threshold": 0.45, "high_conf_det_threshold": 0.4, "minimum_iou_threshold": 0.05},
    "ocsort": {"high_conf_det_threshold": 0.3, "minimum_iou_threshold": 0.05, "minimum_consecutive_frames": 2},
    "botsort": {
        "track_activation_threshold": 0.45,
        "high_conf_det_threshold": 0.4,
        "minimum_iou_threshold_first_assoc": 0.05,
        "minimum_iou_threshold_second_assoc": 0.3,
        "minimum_iou_threshold_unconfirmed_assoc": 0.1,
    },
}
_SAID: set[str] = set()
_OURS: dict[str, bool | int | float | str] = {"camera_motion": False, "buffer_ratio": 0.0}


@dataclass(frozen=True)
class TrackerConfig:
    """A tracker's name and its settings.

    Attributes:
        name: One of `TRACKERS`.
        settings: Settings of its class in `trackers`, by their names there, and two of our own. `camera_motion`:
            whether BoT-SORT compensates the motion of the camera, which it does by default. `buffer_ratio`: share of
            its sides by which a box grows on each side before overlaps are compared, as C-BIoU does (Yang et al.,
            2023); 0 compares the boxes themselves.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def sees_frames(self) -> bool:
        """Whether it looks at the frames, to compensate the motion of the camera."""
        if self.name != "botsort":
            return False
        return bool(self.settings.get("camera_motion", self.settings.get("enable_cmc", True)))


def read_tracker(given: str) -> TrackerConfig:
    """Read `tracker=`: a name, or a YAML with `tracker: name` and settings of that tracker.

    Raises:
        ConfigError: The file is no readable YAML.
        UsageError: The name is unknown, the YAML is malformed, or a setting is not usable.
        MissingDependencyError: The packages of the `video` extra are not installed.
    """
    name, settings = given.removesuffix(".yaml"), {}
    if Path(given).is_file() and given not in TRACKERS:
        settings = _read_settings(given)
        name = str(settings.pop("tracker"))
    if name not in TRACKERS:
        raise UsageError(
            f"tracker={given} is unknown.{suggest_name(name, TRACKERS)} Known: {', '.join(TRACKERS)}, or a YAML."
        )
    config = TrackerConfig(name, settings)
    try:
        build_tracker(config, 30.0)
    except UsageError as error:
        raise UsageError(f"tracker={given}: {error}") from None
    return config


def build_tracker(config: TrackerConfig, frame_rate: float, downscale: int | None = None) -> Any:
    """Return a tracker of the `trackers` package.

    Args:
        config: Which one, with which settings.
        frame_rate: Frames a second of the source.
        downscale: By how much frames are scaled down to find the motion of the camera, where the settings do not say.

    Raises:
        UsageError: The tracker has no such setting, or does not take its value.
        MissingDependencyError: The packages of the `video` extra are not installed.
    """
    try:
        import trackers
    except ImportError:
        raise MissingDependencyError("trackers is not installed. It comes with: pip install 'uavdet[video]'.") from None
    logging.getLogger("trackers.cmc").addFilter(_once)
    tracker_class = getattr(trackers, TRACKERS[config.name])
    _check_settings(config, tracker_class)
    given = {key: value for key, value in config.settings.items() if key not in _OURS}
    settings = {**_DEFAULTS[config.name], **given}
    if config.name == "botsort":
        settings["enable_cmc"] = config.sees_frames
        if downscale is not None:
            settings.setdefault("cmc_downscale", downscale)
    if config.settings.get("buffer_ratio"):
        settings["iou"] = trackers.BIoU(float(config.settings["buffer_ratio"]))
    try:
        return tracker_class(frame_rate=frame_rate, **settings)
    except (ValueError, TypeError) as error:
        reason = one_line(error).rstrip(".")
        raise UsageError(f"The {config.name} tracker refuses its settings: {reason}.") from error


def _once(record: logging.LogRecord) -> bool:
    """Let a warning through once: over water the library says with every frame that it finds no camera motion."""
    message = record.getMessage()
    new = message not in _SAID
    _SAID.add(message)
    return new


def _read_settings(file: str) -> dict[str, Any]:
    content = read_yaml(Path(file))
    if not isinstance(content, dict) or "tracker" not in content:
        raise UsageError(f"tracker={file} has no 'tracker:' entry. It is one of {', '.join(TRACKERS)}.")
    return {str(key): value for key, value in content.items()}


def _check_settings(config: TrackerConfig, tracker_class: type) -> None:
    """Refuse settings that a tracker does not have, or whose values are of another kind than its defaults.

    Raises:
        UsageError: There is one.
    """
    parameters = inspect.signature(tracker_class.__init__).parameters  # type: ignore[misc]
    known = _OURS | {
        name: parameter.default
        for name, parameter in parameters.items()
        if isinstance(parameter.default, bool | int | float | str) and name != "frame_rate"
    }
    for key, value in config.settings.items():
        if key not in known:
            raise UsageError(
                f"Unknown tracker setting '{key}'.{suggest_name(key, known)} Known: {', '.join(sorted(known))}."
            )
        wanted = _wanted(key, value, known[key])
        if wanted:
            raise UsageError(f"{key}: {value} is not allowed. It is {wanted}; the tracker's own is {known[key]}.")
    _check_camera_motion(config)


def _check_camera_motion(config: TrackerConfig) -> None:
    """Refuse `camera_motion: true` of a tracker that cannot do it, and two settings that contradict each other."""
    settings = config.settings
    if settings.get("camera_motion") and config.name != "botsort":
        raise UsageError(
            f"camera_motion: true is not allowed. {config.name} does not look at frames; botsort does. "
            "Set tracker: botsort."
        )
    named = {settings[key] for key in ("camera_motion", "enable_cmc") if key in settings}
    if len(named) > 1:
        raise UsageError("camera_motion and enable_cmc contradict each other. They mean the same. Set camera_motion.")


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
    if key == "buffer_ratio":
        return "" if number and 0 <= value <= 2 else "a number from 0 to 2"
    return "" if number else "a number"
