"""The threads of a stream, and what they share."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from uavdet.errors import UAVDetError, one_line
from uavdet.video.detecting import FrameDetector, detect_in_frames
from uavdet.video.frames import VideoFrame
from uavdet.video.queues import FrameQueue
from uavdet.video.report import SourceReport, StreamReport

if TYPE_CHECKING:
    from uavdet.runtime.detections import Detections
    from uavdet.video.sources import Source

_LOGGER = logging.getLogger("uavdet.video")
_JOIN_SECONDS = 30.0
_LEFT_BEHIND: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_DEPTH = 4


class FrameTracker(Protocol):
    """Gives the objects of frames identities."""

    def track(self, frame: VideoFrame) -> Detections:
        """Take the next frame of its source, and return its confirmed tracks."""
        ...


class FrameSink(Protocol):
    """Takes frames when all is known of them."""

    def write(self, frame: VideoFrame) -> None:
        """Take a frame."""
        ...

    def close(self) -> None:
        """End what was begun."""
        ...


class Steps:
    """What is done with frames, step by step.

    Args:
        detector: What detects.
        tracker: What tracks, or None.
        sinks: What takes every frame.
        callback: What is called with every frame, or None.
    """

    def __init__(
        self,
        detector: FrameDetector,
        tracker: FrameTracker | None,
        sinks: list[FrameSink],
        callback: Callable[[VideoFrame], Any] | None,
    ) -> None:
        self._detector, self._tracker, self._sinks, self._callback = detector, tracker, sinks, callback

    def chosen(self) -> list[tuple[str, Callable[[list[VideoFrame]], None], Callable[[], None] | None]]:
        """Return the steps that there are: name, what does it, and what ends it."""
        steps: list[tuple[str, Callable[[list[VideoFrame]], None], Callable[[], None] | None]] = []
        steps.append(("detecting", self._detect, None))
        if self._tracker is not None:
            steps.append(("tracking", self._track, None))
        if self._sinks or self._callback is not None:
            steps.append(("writing", self._write, self.close))
        return steps

    def _detect(self, frames: list[VideoFrame]) -> None:
        detect_in_frames(self._detector, frames)

    def _track(self, frames: list[VideoFrame]) -> None:
        assert self._tracker is not None
        for frame in frames:
            start = time.perf_counter()
            frame.detections = self._tracker.track(frame)
            frame.timings["track"] = 1e3 * (time.perf_counter() - start)

    def _write(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            _stamp_age(frame)
            start = time.perf_counter()
            for sink in self._sinks:
                sink.write(frame)
            if self._callback is not None:
                self._callback(frame)
            frame.timings["write"] = 1e3 * (time.perf_counter() - start)

    def close(self) -> None:
        """Close the sinks.

        Raises:
            Exception: The first error of a sink; the others are closed all the same.
        """
        errors = []
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


class StreamRun:
    """What the threads of a stream share; it does not know the stream, which may be forgotten before its end.

    Args:
        sources: The sources.
        live: Slots of those whose newest frame counts.
        latency: What was asked for, or None where the sources decide.
    """

    def __init__(self, sources: list[Source], live: set[int], latency: str | None) -> None:
        self.sources, self._live, self._latency = sources, live, latency
        self._report = StreamReport([SourceReport(source.name) for source in sources])
        self._queues: list[tuple[str, FrameQueue]] = []
        self._error: BaseException | None = None
        self._failures: dict[int, UAVDetError] = {}
        self._lock = threading.Lock()
        self._steps: Steps | None = None
        self._started: float | None = None

    @property
    def last(self) -> FrameQueue:
        """The queue in front of whoever iterates."""
        return self._queues[-1][1]

    def threads(self, steps: Steps, batch: int) -> list[threading.Thread]:
        """Return a thread a source and a step, not yet started."""
        self._steps, chosen, depth = steps, steps.chosen(), max(_DEPTH, batch)
        names = [*(name for name, _, _ in chosen), "publishing"]
        for number, name in enumerate(names):
            producers = 1 if number else len(self.sources)
            self._queues.append((name, FrameQueue(producers, self._live, depth)))
        threads = [_thread(f"uavdet-decoding-{source.slot}", self._decode, source) for source in self.sources]
        for number, (name, work, close) in enumerate(chosen):
            most = batch if name == "detecting" else 1
            threads.append(_thread(f"uavdet-{name}", self._take_step, number, work, close, most))
        return threads

    def begin(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Have all threads end as soon as they can."""
        for _, queue in self._queues:
            queue.stop()
        for source in self.sources:
            source.close()
        if self._started is None and self._steps is not None:
            steps, self._steps = self._steps, None
            steps.close()  # no thread of theirs will

    def ended(self) -> None:
        """Stop the clock."""
        if self._started is not None and not self._report.seconds:
            self._report.seconds = time.monotonic() - self._started

    def publish(self, frame: VideoFrame) -> VideoFrame:
        """Count a frame that has come through."""
        _stamp_age(frame)
        self._report.count(frame.slot, frame.timings)
        return frame

    def counted(self) -> StreamReport:
        """Return the report, with what sources and queues have counted."""
        for slot, (source, row) in enumerate(zip(self.sources, self._report.sources, strict=True)):
            told = source.statistics
            row.corrupt, row.reconnects, row.stalls = told.corrupt, told.reconnects, told.stalls
            for name, queue in self._queues:
                row.dropped[name] = queue.dropped[slot]
        return self._report

    def raise_error(self) -> None:
        """Raise what made a step fail, or what made every source fail."""
        if self._error is not None:
            raise self._error
        if self._failures and len(self._failures) == len(self.sources):
            raise self._failures[min(self._failures)]

    def _decode(self, source: Source) -> None:
        target = self._queues[0][1]
        row = self._report.sources[source.slot]
        try:
            for frame in source.frames():
                row.received += 1
                if self._latency is None and not source.live:
                    self._live.discard(source.slot)  # some know only when they are opened that they have an end
                if not target.put(frame):
                    break
        except UAVDetError as error:
            self._failures[source.slot], row.error = error, one_line(error)
        except BaseException as error:
            self._fail(error, 0)
        finally:
            source.close()
            target.finish()

    def _take_step(
        self,
        number: int,
        work: Callable[[list[VideoFrame]], None],
        close: Callable[[], None] | None,
        most: int,
    ) -> None:
        given, target = self._queues[number][1], self._queues[number + 1][1]
        try:
            self._work_off(given, target, work, most)
        except BaseException as error:
            self._fail(error, number)
        finally:
            try:
                if close is not None:
                    close()
            except BaseException as error:
                self._fail(error, number)
            self._stop_until(number)
            target.finish()

    def _work_off(
        self, given: FrameQueue, target: FrameQueue, work: Callable[[list[VideoFrame]], None], most: int
    ) -> None:
        while frames := given.take(most, fill=not self._live):
            try:
                work(frames)
            except BaseException:
                target.discard(frames)
                raise
            taken = [target.put(frame) for frame in frames]  # each, so that each is counted
            if not all(taken):
                return

    def _fail(self, error: BaseException, number: int) -> None:
        """Keep the first error, and end the steps up to the one that failed; those behind it finish their work."""
        with self._lock:
            if self._error is None:
                self._error = error
            elif error is not self._error:
                _LOGGER.warning("Another step of the stream failed as well: %s", one_line(error))
        self._stop_until(number)

    def _stop_until(self, number: int) -> None:
        for _, queue in self._queues[: number + 1]:
            queue.stop()
        for source in self.sources:
            source.close()


def _stamp_age(frame: VideoFrame) -> None:
    """Note the age of a frame when it is published for the first time."""
    frame.timings.setdefault("age", 1e3 * (time.monotonic() - frame.captured))


def _thread(name: str, work: Callable[..., None], *given: Any) -> threading.Thread:
    # A decoder that hangs in its library must not keep the program from ending.
    return threading.Thread(target=work, args=given, name=name, daemon=True)


def join_threads(threads: Sequence[threading.Thread]) -> None:
    """Wait for threads to end; one that does not, such as a decoder that hangs in its library, is told of and left."""
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in threads:
        if thread.ident is None or thread is threading.current_thread() or thread in _LEFT_BEHIND:
            continue
        thread.join(max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():
            _LEFT_BEHIND.add(thread)  # an end with Ctrl-C comes here several times, and waits once
            _LOGGER.warning("%s does not end; it is left behind.", thread.name)
