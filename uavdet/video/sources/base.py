"""What every source of frames is and tells."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

import cv2
import numpy as np

from uavdet.video.events import EventCallback, EventReporter
from uavdet.video.frames import DEFAULT_RATE, VideoFrame
from uavdet.video.sources.addresses import redact

_FASTEST = 1000.0


class LostError(Exception):
    """A stream that cannot be opened, has stopped to answer or broke off.

    Args:
        reason: Why, as the rest of a sentence that begins with the source.
        stalled: It was connected and sent nothing.
    """

    def __init__(self, reason: str, stalled: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.stalled = reason, stalled


@dataclass(slots=True)
class DecodedImage:
    """A picture that came out of a decoder.

    Attributes:
        image: (H, W, 3) uint8 BGR, or (H, W) grey.
        pts: Its time in seconds by its container's clock, or None.
        milliseconds: What decoding and conversion took.
        pixel_format: Name of the decoder's pixel format; empty where that is not known.
    """

    image: np.ndarray
    pts: float | None
    milliseconds: float
    pixel_format: str = ""


class Reader(Protocol):
    """Reads the pictures of one file, or of one connection to a stream."""

    rate: float
    """Nominal frames a second of what is read."""
    finite: bool
    """Whether it says how long it is: it is a file."""
    length: int | None
    """How many frames it should have."""

    def frames(self) -> Iterator[DecodedImage]:
        """Yield pictures until the end; raises LostError where it breaks off."""
        ...

    def close(self) -> None:
        """Let go of the file or the connection; in the thread that reads."""
        ...


CorruptCallback = Callable[[str], None]


@dataclass(slots=True)
class SourceStatistics:
    """Counts of a source.

    Attributes:
        frames: Frames handed on.
        corrupt: Packets that were damaged; a frame of such a packet is not handed on.
        reconnects: How often it came back after it was lost.
        stalls: How often it was connected and sent nothing.
        unreadable: Files of it that could not be read.
    """

    frames: int = 0
    corrupt: int = 0
    reconnects: int = 0
    stalls: int = 0
    unreadable: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


class Source(ABC):
    """A camera, a stream, a video or a set of files.

    Args:
        name: As it was given; passwords are removed.
        slot: Which of several sources, from 0.
        live: It does not wait for those who read it.
        on_event: Is called with what happens to it.

    Attributes:
        rate: Nominal frames a second; known once the first frame was read.
        length: How many frames it should have, where that is known.
        statistics: What has been counted so far.
    """

    def __init__(self, name: str, slot: int, live: bool, on_event: EventCallback | None = None) -> None:
        self.name, self.slot, self.live = redact(name), slot, live
        self.rate = DEFAULT_RATE
        self.length: int | None = None
        self.statistics = SourceStatistics()
        self._reporter = EventReporter(self.name, slot, on_event)
        self._closed = threading.Event()

    @abstractmethod
    def frames(self) -> Iterator[VideoFrame]:
        """Yield frames until the source ends, is closed or has failed; to be run in one thread.

        Raises:
            DataError: It, or a part of it, could not be read. What could be read has been yielded before.
        """

    def close(self) -> None:
        """Make `frames` end, from whatever thread.

        A wait before another attempt ends at once; a read that hangs in the network ends within `stall_timeout`.
        """
        self._closed.set()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()


def sane_rate(told: float | None) -> float:
    """Return frames a second as told, or the default where that cannot be."""
    return float(told) if told and 0 < told < _FASTEST else DEFAULT_RATE


def turn(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turn a picture counterclockwise by a multiple of 90 degrees; by any other angle it is left as it is."""
    codes = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
    code = codes.get(degrees % 360)
    return image if code is None else cv2.rotate(image, code)
