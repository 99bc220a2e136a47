"""Frames with detections, for tests."""

import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.video.frames import VideoFrame

NAMES = {0: "Människa", 1: "car"}


def found(boxes=(), scores=None, classes=None, ids=None):
    """Return detections; by default of falling scores and of class 0."""
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    count = len(boxes)
    scores = np.linspace(0.9, 0.5, count) if scores is None else scores
    return Detections(
        boxes,
        np.array(scores, dtype=np.float32),
        np.zeros(count, np.int64) if classes is None else np.array(classes, dtype=np.int64),
        NAMES,
        None if ids is None else np.array(ids, dtype=np.int64),
    )


def frame(index=0, detections=None, *, size=(48, 64), grey=False, pts="rate", slot=0, source="rtsp://cam/a", **more):
    """Return a frame of a stream of ten frames a second."""
    image = np.full(size if grey else (*size, 3), 40, np.uint8)
    seconds = index / 10 if pts == "rate" else pts
    detections = found() if detections is None else detections
    return VideoFrame(image, source, slot, index, 100.0 + index, seconds, 10.0, detections=detections, **more)
