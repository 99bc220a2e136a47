"""Detect and track with the bundled weights, frame by frame, and print where each object is.

    python examples/track_video.py [clip.mp4]

Without a clip, a synthetic thermal flight is tracked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cv2
import numpy as np

from uavdet import UAVDet
from uavdet.data.scenes import Scene, SceneConfig


def frames_of(clip: str | None) -> Iterator[np.ndarray]:
    if clip is None:
        config = SceneConfig(seed=5, modality="thermal", moving_camera=True, objects=20, min_size=8)
        yield from (frame.image for frame in Scene(config).frames(10))
        return
    capture = cv2.VideoCapture(clip)
    while (read := capture.read())[0]:
        yield read[1]


def main(clip: str | None) -> None:
    model = UAVDet()
    for number, frame in enumerate(frames_of(clip)):
        result = model.track(frame, persist=True, verbose=False)[0]
        objects = (
            [] if result.boxes.id is None else zip(result.boxes.id, result.boxes.cls, result.boxes.xyxy, strict=True)
        )
        found = [f"{model.names[int(c)]} {int(i)} at {[round(v) for v in box.tolist()]}" for i, c, box in objects]
        print(f"frame {number}: {len(found)} tracks; {'; '.join(found[:3])}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
