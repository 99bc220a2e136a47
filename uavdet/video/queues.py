"""Queues of frames between the threads of a stream: bounded, and never silent about what they drop."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator

from uavdet.video.frames import VideoFrame

MOST_BYTES = 256 * 2**20
"""Pictures of a source that wait in one queue take at most this, or are one."""

_WAKE = 0.5  # seconds; on Windows nothing interrupts a wait that has no end


class FrameQueue:
    """Hands frames from thread to thread, those of each source in their order, sources in turn.

    Of a live source it keeps the newest frame; an older one that nobody took is dropped and counted. Of another source
    it keeps every frame, and who puts them in waits where nobody takes them.

    Args:
        producers: Threads that put frames in; when each has finished, what is left is the last.
        live: Slots of the live sources; it may change.
        depth: Most frames of a source that is not live; fewer where they take more than `MOST_BYTES`.

    Attributes:
        dropped: Frames by slot that went in, or should have, and did not come out.
    """

    def __init__(self, producers: int = 1, live: Collection[int] = (), depth: int = 4) -> None:
        self.dropped: Counter[int] = Counter()
        self._live, self._depth = live, depth
        self._changed = threading.Condition()
        self._lanes: dict[int, deque[VideoFrame]] = {}
        self._producers = producers
        self._stopped = False

    def put(self, frame: VideoFrame) -> bool:
        """Put a frame in; return whether there is still somebody to take one."""
        with self._changed:
            lane = self._lanes.setdefault(frame.slot, deque())
            if frame.slot in self._live:
                self._count_dropped(lane)
                lane.clear()
            while self._is_full(lane) and not self._stopped:
                self._changed.wait(_WAKE)
            if self._stopped:
                self.dropped[frame.slot] += 1
                return False
            lane.append(frame)
            self._changed.notify_all()
            return True

    def take(self, most: int = 1, fill: bool = False) -> list[VideoFrame]:
        """Wait for frames and take them, from each source in turn.

        Args:
            most: Most frames to take.
            fill: Wait until there are so many, while more can come.

        Returns:
            At least one frame; none when the queue has ended.
        """
        with self._changed:
            while not self._stopped and self._producers > 0 and not self._is_ready(most if fill else 1):
                self._changed.wait(_WAKE)
            if self._stopped:
                return []
            taken = list(self._in_turn(most))
            self._changed.notify_all()
            return taken

    def discard(self, frames: Iterable[VideoFrame]) -> None:
        """Count frames as dropped that will not be put in."""
        with self._changed:
            self._count_dropped(frames)

    def finish(self) -> None:
        """Say that one of the producers puts in no more."""
        with self._changed:
            self._producers -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End at once: what is inside is dropped, and nothing goes in any more."""
        with self._changed:
            self._stopped = True
            for lane in self._lanes.values():
                self._count_dropped(lane)
                lane.clear()
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return sum(map(len, self._lanes.values()))

    def _count_dropped(self, frames: Iterable[VideoFrame]) -> None:
        for frame in frames:
            self.dropped[frame.slot] += 1

    def _is_full(self, lane: deque[VideoFrame]) -> bool:
        return len(lane) >= self._depth or sum(frame.image.nbytes for frame in lane) >= MOST_BYTES

    def _is_ready(self, wanted: int) -> bool:
        held = sum(map(len, self._lanes.values()))
        return held >= wanted or any(self._is_full(lane) for lane in self._lanes.values())

    def _in_turn(self, most: int) -> Iterator[VideoFrame]:
        """Yield frames, the source first that was served the longest ago."""
        for _ in range(most):
            slot = next((slot for slot, lane in self._lanes.items() if lane), None)
            if slot is None:
                return
            lane = self._lanes.pop(slot)
            yield lane.popleft()
            self._lanes[slot] = lane
