"""How far a stream is, on the terminal: a bar for files, a line for what has no end, nothing where nobody looks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from uavdet.video.frames import VideoFrame
from uavdet.video.report import StreamReport

if TYPE_CHECKING:
    from uavdet.video.sources import Source

_SECONDS = 0.2
"""Between two looks at the terminal."""
_WIDTH = 78


class Progress:
    """Shows how far a stream is; this one shows nothing."""

    def show(self, frame: VideoFrame, report: StreamReport) -> None:
        """Tell of one more frame."""

    def close(self) -> None:
        """Leave the terminal to others."""


class LineProgress(Progress):
    """A line that is written again and again.

    Args:
        output: A terminal.
        total: Frames that there will be, or None.
    """

    def __init__(self, output: TextIO, total: int | None = None) -> None:
        self._output, self._total = output, total
        self._started = time.monotonic()
        self._next = 0.0

    def show(self, frame: VideoFrame, report: StreamReport) -> None:
        """Write the line, unless it was written just now."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            text = describe(frame, report, now - self._started, self._total)
            self._output.write(f"\r{text[:_WIDTH]:{_WIDTH}}")
            self._output.flush()

    def close(self) -> None:
        """Wipe the line."""
        self._output.write(f"\r{'':{_WIDTH}}\r")
        self._output.flush()


class BarProgress(Progress):
    """A bar, by rich.

    Args:
        output: A terminal.
        total: Frames that there will be.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, output: TextIO, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        self._bar: Any = RichProgress(*columns, console=Console(file=output), transient=True)
        self._started, self._next = time.monotonic(), 0.0
        self._task = self._bar.add_task("frames", total=total, rate="")
        self._bar.start()

    def show(self, frame: VideoFrame, report: StreamReport) -> None:
        """Move the bar, unless it was moved just now."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS
            rate = f"{report.processed / max(now - self._started, 1e-9):.1f} frames/s"
            self._bar.update(self._task, completed=report.processed + report.dropped, rate=rate)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def describe(frame: VideoFrame, report: StreamReport, seconds: float, total: int | None = None) -> str:
    """Return where a stream is, in a line."""
    of = f"/{total}" if total else ""
    parts = [f"{report.processed}{of} frames", f"{report.processed / max(seconds, 1e-9):.1f}/s"]
    parts.append(f"{report.dropped} dropped")
    reconnects = sum(source.reconnects for source in report.sources)
    parts += [f"{reconnects} reconnects"] if reconnects else []
    if total is None:
        parts.append(f"age {frame.timings.get('age', 0.0):.0f} ms")
    found = len(frame.detections) if frame.detections is not None else 0
    return ", ".join([*parts, f"{found} objects"])


def open_progress(sources: Sequence[Source], output: TextIO) -> Progress:
    """Return what shows how far the sources are read: nothing where the output is no terminal."""
    if not output.isatty():
        return Progress()
    total = sum(source.length or 0 for source in sources)
    if any(source.live or not source.length for source in sources):
        return LineProgress(output)
    try:
        return BarProgress(output, total)
    except ImportError:
        return LineProgress(output, total)
