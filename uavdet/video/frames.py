"""What is known of a frame while it goes through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from uavdet.runtime.detections import Detections

DEFAULT_RATE = 30.0
"""Frames a second of a source that does not say."""


@dataclass(slots=True)
class VideoFrame:
    """A frame of a video or stream, or a picture, with what was found in it.

    Attributes:
        image: (H, W, 3) uint8 BGR, or (H, W) grey.
        source: Where it comes from, as it was given; passwords are removed.
        slot: Which of several sources, from 0.
        index: Number in its source from 0; frames that were dropped are counted.
        captured: When it was decoded, in seconds of `time.monotonic`.
        pts: Its presentation time in seconds since its source began; None for a picture.
        rate: Nominal frames a second of the source.
        path: File of a picture or a video.
        detections: What was found; after tracking, the confirmed tracks with their identities.
        fields: What else is known of it, by name, such as telemetry; sinks write it beside the detections.
        timings: Milliseconds by stage: decode, preprocess, inference, postprocess, track; and `age` when published.
        begin: Index of the first frame of its video, where its source has several.
    """

    image: np.ndarray
    source: str
    slot: int
    index: int
    captured: float
    pts: float | None = None
    rate: float = DEFAULT_RATE
    path: Path | None = None
    detections: Detections | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    begin: int = 0

    @property
    def number(self) -> int:
        """Number in its video, or among the pictures of its source, from 1; frames that were dropped are counted."""
        return self.index - self.begin + 1
