"""What a stream asks of a detector, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.video.frames import VideoFrame


class FrameDetector(Protocol):
    """Detects objects in pictures: `uavdet.runtime.Detector`, `TorchDetector` for weights, or `TiledDetector`."""

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name."""
        ...

    @property
    def batch(self) -> int | None:
        """Images a run, or None where any number goes."""
        ...

    @property
    def timings(self) -> Mapping[str, float]:
        """Milliseconds of the last call over all its images, by step: preprocess, inference, postprocess."""
        ...

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect objects in images, (H, W, 3) uint8 BGR or (H, W) grey, whose sizes may differ."""
        ...


def detect_in_frames(detector: FrameDetector, frames: Sequence[VideoFrame]) -> None:
    """Fill in what is found in frames, and what that took: of several that went together, the mean."""
    several = detector.detect([frame.image for frame in frames])
    timings = {stage: milliseconds / len(frames) for stage, milliseconds in detector.timings.items()}
    for frame, found in zip(frames, several, strict=True):
        frame.detections = found
        frame.timings.update(timings)
