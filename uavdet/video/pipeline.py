"""The way of frames from their sources to who wants them: decode, infer, track, write, a thread each."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from uavdet.errors import UsageError
from uavdet.video.detecting import FrameDetector
from uavdet.video.frames import VideoFrame
from uavdet.video.report import StreamReport
from uavdet.video.stages import FrameSink, FrameTracker, Steps, StreamRun, join_threads

if TYPE_CHECKING:
    from uavdet.video.sources import Source

LATENCIES = ("live", "complete")
"""`live` keeps the newest frame and counts those that it drops; `complete` drops none, and waits for who is slow."""


class Stream:
    """Frames of sources with what is found in them, in the order of each source.

    Iterate over it, once; or `run()` it where sinks or a callback take the frames. Threads start with the first frame
    that is asked for, and end with the last one, with `break`, with an error and with Ctrl-C. `with` and `close` end
    them too.

    A frame goes through up to four steps, a thread each, with a queue in between: decoding (a thread a source),
    detecting, tracking, writing to sinks. Of live sources each queue holds the newest frame alone, and detecting takes
    it at the moment that the detector is free, so that a frame waits nowhere; frames that are overtaken are counted by
    the step that they did not reach. Otherwise queues hold up to 4 frames a source, or a batch, and a step waits for
    the next one.

    An error in a step reaches whoever iterates, after the frames that were through that step. A source that fails
    leaves the others alone: its error is in the report, and is raised at the end where every source failed.

    Args:
        sources: What `uavdet.video.sources.open_sources` returns.
        detector: What detects.
        tracker: What tracks, or None.
        sinks: What takes every frame.
        callback: Called with every frame, after the sinks and in their thread.
        latency: live or complete; by default live for live sources and complete for files.
        batch: Most frames that are detected in at a time; by default the detector's batch, or a frame a source where
            that is open.

    Raises:
        UsageError: `latency` or `batch` is not allowed.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        detector: FrameDetector,
        *,
        tracker: FrameTracker | None = None,
        sinks: Sequence[FrameSink] = (),
        callback: Callable[[VideoFrame], Any] | None = None,
        latency: str | None = None,
        batch: int | None = None,
    ) -> None:
        live = live_slots(sources, latency)
        if batch is not None and (type(batch) is not int or batch < 1):
            raise UsageError(f"batch={batch} is not allowed. It is a whole number of at least 1: images a run.")
        self.names = detector.names
        self._run = StreamRun(list(sources), live, latency)
        self._threads = self._run.threads(
            Steps(detector, tracker, list(sinks), callback), batch or detector.batch or max(len(live), 1)
        )
        self._begun = False
        self._finalizer = weakref.finalize(self, _end, self._run, self._threads)

    @property
    def sources(self) -> list[Source]:
        """The sources, by slot."""
        return self._run.sources

    @property
    def report(self) -> StreamReport:
        """What the stream did so far; complete once it has ended."""
        return self._run.counted()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames.

        Raises:
            UsageError: The stream was iterated over before.
            UAVDetError: A step failed, or every source did.
        """
        if self._begun:
            raise UsageError("A stream is read once. Open another one for the same source.")
        self._begun = True
        return self._frames()

    def _frames(self) -> Iterator[VideoFrame]:
        self._run.begin()
        try:
            for thread in self._threads:
                thread.start()
            while frames := self._run.last.take():
                yield self._run.publish(frames.pop())
            join_threads(self._threads)
            self._run.raise_error()
        finally:
            self.close()

    def run(self) -> StreamReport:
        """Read all frames for the sake of sinks and the callback, and return the report."""
        for _ in self:
            pass
        return self.report

    def close(self) -> None:
        """End all threads; frames that are on their way are dropped."""
        self._begun = True
        self._run.stop()
        join_threads(self._threads)
        self._run.ended()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def live_slots(sources: Sequence[Source], latency: str | None) -> set[int]:
    """Return the slots of which the newest frame counts."""
    if latency is not None and latency not in LATENCIES:
        raise UsageError(f"latency={latency} is not allowed. It is {' or '.join(LATENCIES)}.")
    if latency is not None:
        return {source.slot for source in sources if latency == "live"}
    return {source.slot for source in sources if source.live}


def _end(run: StreamRun, threads: Sequence[threading.Thread]) -> None:
    """End the threads of a stream that was forgotten."""
    run.stop()
    join_threads(threads)
