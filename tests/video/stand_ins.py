"""Stands for sources and detectors of a stream, with times and faults that are known beforehand."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.video.frames import VideoFrame

NAMES = {0: "person"}
PICTURE = np.zeros((8, 8, 3), np.uint8)


def make_frame(slot=0, index=0, image=PICTURE, **more):
    return VideoFrame(image, f"source {slot}", slot, index, time.monotonic(), pts=index / 10, rate=10.0, **more)


class FakeSource:
    """Gives so many frames, one every `seconds`; then ends, or raises an error, or hangs until it is closed.

    `before(index)` is called before each frame; `given` is set when the last one was put into the queue.
    """

    def __init__(self, frames, slot=0, live=False, seconds=0.0, error=None, hangs=False, before=None):
        self.name, self.slot, self.live, self.rate, self.length = f"source {slot}", slot, live, 10.0, frames
        self.statistics = SimpleNamespace(corrupt=0, reconnects=0, stalls=0)
        self._frames, self._seconds, self._error, self._hangs = frames, seconds, error, hangs
        self._before = before
        self.closed, self.given = threading.Event(), threading.Event()

    def frames(self):
        for index in range(self._frames):
            if self.closed.wait(self._seconds):
                return
            if self._before is not None:
                self._before(index)
            yield make_frame(self.slot, index)
        self.given.set()
        if self._error is not None:
            raise self._error
        if self._hangs:
            self.closed.wait()

    def close(self):
        self.closed.set()


class FakeDetector:
    """Finds nothing, after a while; keeps how many images it was given at a time.

    `entered` is set when it is called; then it waits for the gate, if there is one.
    """

    names, imgsz, grey, device, statistics = NAMES, (8, 8), False, "cpu", None

    def __init__(self, seconds=0.0, batch=1, error_after=None, gate=None):
        self.batch, self.calls, self.timings = batch, [], {}
        self.entered = threading.Event()
        self._seconds, self._error_after, self._gate = seconds, error_after, gate

    def detect(self, images):
        self.entered.set()
        if self._gate is not None:
            assert self._gate.wait(60)
        if self._error_after is not None and len(self.calls) >= self._error_after:
            raise ValueError("the network broke")
        self.calls.append(len(images))
        time.sleep(self._seconds)
        count = len(images)
        self.timings = {"preprocess": 1.0 * count, "inference": 2.0 * count, "postprocess": 3.0 * count}
        return [nothing() for _ in images]


def nothing():
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), NAMES)


class ListSink:
    """Keeps what it is given."""

    def __init__(self, seconds=0.0, error_at=None, gate=None):
        self.frames, self.closed = [], 0
        self._seconds, self._error_at, self._gate = seconds, error_at, gate

    def write(self, frame):
        if self._error_at is not None and frame.index >= self._error_at:
            raise OSError("the disk is full")
        if self._gate is not None:
            assert self._gate.wait(60)
        time.sleep(self._seconds)
        self.frames.append(frame)

    def close(self):
        self.closed += 1
