"""Streams and cameras, which are tried again when they are lost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from uavdet.errors import DataError
from uavdet.video.events import EventCallback
from uavdet.video.frames import VideoFrame
from uavdet.video.sources.addresses import is_pipeline, looks_finite, may_be_finite
from uavdet.video.sources.base import DecodedImage, LostError, Reader, Source
from uavdet.video.sources.capture import CaptureReader, check_gstreamer
from uavdet.video.sources.container import ContainerReader, import_pyav
from uavdet.video.sources.reconnection import Reconnection
from uavdet.video.sources.timeline import StreamTimeline

_QUIET = 1.0  # seconds between two events of corrupt data; they come in hundreds


@dataclass(frozen=True)
class _Form:
    """Frame size and pixel format."""

    width: int
    height: int
    pixel_format: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.pixel_format}".rstrip()


class StreamSource(Source):
    """A stream by its address, a camera by its number, or a pipeline of GStreamer.

    It is tried again when it is lost, with waits that double, and no frame is made up meanwhile. A file that comes by
    HTTP ends at its end; `live` says so once it was opened. Times go on over a gap by the clock.

    Args:
        address: An address, the number of a camera or a pipeline.
        slot: Which of several sources, from 0.
        reconnection: When it is tried again.
        on_event: Is called with what happens to it, in the thread that reads it.
        grey: Give (H, W) grey in the place of (H, W, 3) BGR.
        stride: Every how many frames one is read.

    Raises:
        MissingDependencyError: PyAV is not installed, or for a pipeline GStreamer is not part of OpenCV.
    """

    def __init__(
        self,
        address: str | int,
        slot: int = 0,
        *,
        reconnection: Reconnection | None = None,
        on_event: EventCallback | None = None,
        grey: bool = False,
        stride: int = 1,
    ) -> None:
        name = f"camera {address}" if isinstance(address, int) else address
        super().__init__(name, slot, not looks_finite(name), on_event)
        self._address, self._grey, self._stride = address, grey, stride
        self._by_opencv = isinstance(address, int) or is_pipeline(address)
        if not self._by_opencv:
            import_pyav(f"source={self.name}")
        elif isinstance(address, str):
            check_gstreamer(address)
        self._reconnection = reconnection or Reconnection()
        self._random = random.Random()
        self._timeline = StreamTimeline()
        self._failures = 0
        self._was_open = False
        self._form: _Form | None = None
        self._told_corrupt = float("-inf")

    def frames(self) -> Iterator[VideoFrame]:
        """Yield frames until the source is closed, a file ends or the retries are spent.

        Raises:
            DataError: It could not be opened, or was lost, and the retries are spent.
        """
        while not self.closed:
            try:
                yield from self._connection()
            except LostError as error:
                if self.closed:
                    break
                self._tell_loss(error)
                self._fail_or_wait(error)
            else:
                break

    def _connection(self) -> Iterator[VideoFrame]:
        """Yield the frames of one connection; returns where the source is at its end for good."""
        reader = self._open()
        try:
            for decoded in reader.frames():
                if self.closed:
                    return
                self._failures = 0
                yield self._frame(decoded)
                if self.closed:
                    return
        finally:
            reader.close()
        if not self.live:
            self._reporter.report("ended", f"ended after {self.statistics.frames} frames")
            return
        raise LostError("was ended by its sender")

    def _open(self) -> Reader:
        self._timeline.restart(time.monotonic())
        reader = self._reader()
        self.rate = reader.rate
        if reader.finite and isinstance(self._address, str) and may_be_finite(self._address):
            self.live, self.length = False, reader.length
        if self._was_open:
            self.statistics.reconnects += 1
            self._reporter.report("reconnected", f"is back at attempt {self._failures}", attempt=self._failures)
        else:
            self._reporter.report("opened", f"opened, {self.rate:g} frames a second", rate=self.rate)
        self._was_open = True
        return reader

    def _reader(self) -> Reader:
        timeout = self._reconnection.stall_timeout
        if self._by_opencv:
            return CaptureReader(self._address, live=True, grey=self._grey, stride=self._stride, stall_timeout=timeout)
        return ContainerReader(
            str(self._address),
            live=True,
            grey=self._grey,
            stride=self._stride,
            stall_timeout=timeout,
            rate=self.rate if self._was_open else None,
            on_corrupt=self._count_corrupt,
        )

    def _frame(self, decoded: DecodedImage) -> VideoFrame:
        captured = time.monotonic()
        self._watch_form(decoded)
        index = self.statistics.frames
        self.statistics.frames += 1
        return VideoFrame(
            image=decoded.image,
            source=self.name,
            slot=self.slot,
            index=index,
            captured=captured,
            pts=self._timeline.place(decoded.pts, captured),
            rate=self.rate,
            timings={"decode": decoded.milliseconds},
        )

    def _watch_form(self, decoded: DecodedImage) -> None:
        """Tell of another frame size or pixel format than before."""
        height, width = decoded.image.shape[:2]
        form = _Form(width, height, decoded.pixel_format)
        before, self._form = self._form, form
        if before is not None and form != before:
            size = {"before": [before.height, before.width], "now": [height, width]}
            self._reporter.report("resized", f"changed from {before} to {form}", **size, pixel_format=form.pixel_format)

    def _count_corrupt(self, reason: str) -> None:
        self.statistics.corrupt += 1
        now = time.monotonic()
        if now - self._told_corrupt >= _QUIET:
            self._told_corrupt = now
            count = self.statistics.corrupt
            self._reporter.report("corrupt", f"sends damaged data ({reason}), {count} so far", corrupt=count)

    def _tell_loss(self, error: LostError) -> None:
        """Tell once that an open stream was lost; what follows are failed attempts."""
        stalled = error.stalled and self._was_open
        self.statistics.stalls += stalled
        if self._was_open and not self._failures:
            self._reporter.report("stalled" if stalled else "lost", error.reason, frames=self.statistics.frames)

    def _fail_or_wait(self, error: LostError) -> None:
        """Wait for the next attempt.

        Raises:
            DataError: There is none.
        """
        self._failures += 1
        if not self.live and self.statistics.frames:
            self._fail(f"{error.reason} after {self.statistics.frames} frames. It is a file, so it is not begun again")
        if self._reconnection.is_exhausted(self._failures):
            retries = self._reconnection.max_retries
            word = "retry" if retries == 1 else "retries"
            self._fail(f"{error.reason}. Given up after {retries} {word} (max_retries={retries})")
        delay = self._reconnection.delay(self._failures, self._random)
        message = f"{error.reason}; attempt {self._failures} in {delay:.1f} s"
        self._reporter.report("retrying", message, attempt=self._failures, delay=delay, reason=error.reason)
        self._closed.wait(delay)

    def _fail(self, reason: str) -> None:
        self._reporter.report("failed", reason, frames=self.statistics.frames)
        raise DataError(f"source={self.name} {reason}. Check the address, its user and password, and the network.")
