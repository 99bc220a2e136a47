"""Multi-object tracking by Roboflow's `trackers`, source by source, in the time of the frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.video.frames import DEFAULT_RATE, VideoFrame
from uavdet.video.tracker_config import LOWEST_SCORE, TrackerConfig, build_tracker, read_tracker

__all__ = ["LOWEST_SCORE", "FrameTracker", "SourceTracker", "TrackerConfig", "read_tracker"]

_HIGHEST_RATE = 1000.0


class FrameTracker:
    """Tracks objects from frame to frame; identities start at 1.

    Args:
        config: Which tracker, with which settings.
        frame_rate: Frames a second of the source.
        size: (height, width) of the frames, which sets how much they are scaled down to find the motion of the camera
            where the settings have no `cmc_downscale`.

    Raises:
        UsageError: The tracker has no such setting, or does not take its value.
        MissingDependencyError: The packages of the `video` extra are not installed.
    """

    def __init__(self, config: TrackerConfig, frame_rate: float, size: tuple[int, int] | None = None) -> None:
        self._tracker = build_tracker(config, frame_rate, None if size is None else _downscale(max(size)))
        self._sees_frames = config.sees_frames

    def update(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        frame: np.ndarray,
        seconds: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the detections of the next frame.

        Args:
            boxes: (N, 4) xyxy in pixels.
            scores: (N,).
            classes: (N,).
            frame: (H, W, 3) uint8 BGR or (H, W) grey, for camera-motion compensation.
            seconds: When it was taken, later than the frame before. By the time between, objects are moved on and lost
                tracks ended. None for frames that follow one another at the frame rate. All frames have it, or none.

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
        seen = _as_colour(frame) if self._sees_frames else None
        tracked = self._tracker.update(detections, frame=seen, timestamp=seconds)
        identities = np.asarray(tracked.tracker_id if tracked.tracker_id is not None else [], dtype=np.int64)
        confirmed = identities >= 0
        rows = np.asarray(tracked.data.get("row", []), dtype=np.int64)
        return rows[confirmed], identities[confirmed] + 1


def _downscale(side: int) -> int:
    """Return by how much frames are scaled down to find the motion of the camera: by 4, those above 1280 to 320 pixels.

    At a quarter of 640 pixels HOTA is that of half, at half the time; see docs/results/tracking.md.
    """
    return min(max(2, side // 160), max(4, side // 320))


def _as_colour(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) if frame.ndim == 2 or frame.shape[2] == 1 else frame


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

    def track(self, frame: VideoFrame) -> Detections:
        """Take the next frame of a source, with its detections, and return its confirmed tracks, the best score first.

        Frames count by their presentation times: where some were dropped, objects are expected further on. The frame
        itself is left as it is. Sources may take turns; of each the frames come in order, from one thread at a time.
        """
        found = frame.detections
        if found is None:
            raise ValueError("The frame has no detections. Detect in it before it is tracked.")
        moving = frame.pts is not None
        rows, identities = self.update(
            found.boxes,
            found.scores,
            found.classes,
            frame.image,
            frame_rate=frame.rate,
            name=str(frame.path or "") if moving else "",
            slot=frame.slot,
            seconds=frame.pts,
        )
        order = np.argsort(-found.scores[rows], kind="stable")
        return replace(found[rows[order]], track_ids=identities[order])

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
        seconds: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the detections of the next frame; arguments and result as of `FrameTracker.update`.

        Args:
            boxes: (N, 4) xyxy in pixels.
            scores: (N,).
            classes: (N,).
            frame: (H, W, 3) uint8 BGR or (H, W) grey.
            frame_rate: Frames a second of the source.
            name: The sequence that the frame belongs to, such as the path of its video.
            slot: Which of several streams it comes from.
            seconds: Its presentation time. Where it does not advance, as after a stream began anew, one frame is
                counted.
        """
        sequence = self._slots.get(slot)
        shape = frame.shape[:2]
        if sequence is None or sequence.name not in {None, name} or sequence.shape != shape:
            given = sequence.highest if sequence is not None and sequence.name in {None, name} else 0
            rate = frame_rate if 0 < frame_rate <= _HIGHEST_RATE else DEFAULT_RATE
            tracker = FrameTracker(self.config, rate, (shape[0], shape[1]))
            sequence = _Sequence(name, shape, tracker, given, given, _Clock(1 / rate))
            self._slots[slot] = sequence
        sequence.name = name
        rows, identities = sequence.tracker.update(boxes, scores, classes, frame, sequence.clock.at(seconds))
        identities = identities + sequence.offset
        sequence.highest = max([sequence.highest, *identities.tolist()])
        return rows, identities


@dataclass
class _Clock:
    """Presentation times as a tracker needs them: always later than before.

    A tracker leaves out a frame whose time goes back, and with it every frame until the time is reached again.

    Attributes:
        period: Seconds of a frame, by which time advances where a source's does not.
    """

    period: float
    _shift: float = 0.0
    _last: float | None = None

    def at(self, seconds: float | None) -> float | None:
        """Return the time of the next frame; None for a frame without one where no frame before had one."""
        if seconds is None or not math.isfinite(seconds):
            if self._last is None:
                return None
            seconds = self._last - self._shift  # does not advance: counts as one frame
        if self._last is not None and seconds + self._shift <= self._last:
            self._shift = self._last + self.period - seconds
        self._last = seconds + self._shift
        return self._last


@dataclass
class _Sequence:
    """A sequence of frames of one size: its name, its tracker, the identities that were given before and so far, and
    its clock."""

    name: str | None
    shape: tuple[int, ...]
    tracker: FrameTracker
    offset: int
    highest: int
    clock: _Clock = field(default_factory=lambda: _Clock(1 / DEFAULT_RATE))
