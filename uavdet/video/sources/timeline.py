"""Presentation times: seconds since a source began, whatever its container says."""

from __future__ import annotations

_LEAP = 10.0  # seconds
_SHORTEST = 1e-3  # seconds between two frames


class FileTimeline:
    """Presentation times of a file, from its container alone.

    Args:
        rate: Nominal frames a second, for the frames that have no time of their own.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._first: float | None = None
        self._last: float | None = None

    def place(self, pts: float | None) -> float:
        """Return the seconds between the first frame and this one, always more than of the frame before."""
        if self._first is None:
            self._first = 0.0 if pts is None else pts
        moment = None if pts is None else pts - self._first
        if self._last is not None and (moment is None or moment <= self._last):
            moment = self._last + 1 / self._rate
        self._last = moment or 0.0
        return self._last


class StreamTimeline:
    """Presentation times of a stream, which go on when it is lost, comes back and counts from 0 again.

    Within a connection a step of the stream's own time is believed where it goes forward, and not far further than the
    clock did. Where it is not, and where a connection begins, stands the clock. A connection's first frame was sent
    when it was opened, and not when it was decoded: FFmpeg has read on by then to learn what the stream holds, and
    the frames of that time come all at once.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._opened: float | None = None
        self._captured = 0.0
        self._pts: float | None = None
        self._moment = 0.0

    def restart(self, opened: float) -> None:
        """Begin another connection.

        Args:
            opened: When it was begun, in seconds of the monotonic clock.
        """
        self._opened, self._pts = opened, None

    def place(self, pts: float | None, captured: float) -> float:
        """Return the seconds since the first frame, always more than of the frame before.

        Args:
            pts: The stream's own time in seconds, or None where it has none.
            captured: When the frame was decoded, in seconds of the monotonic clock.
        """
        clock = captured if self._opened is None or pts is None else self._opened
        if self._began is None:
            self._began = clock
        else:
            step = None if pts is None or self._pts is None else pts - self._pts
            believed = step is not None and 0 < step <= _LEAP + captured - self._captured
            moment = self._moment + step if believed and step is not None else clock - self._began
            self._moment = max(moment, self._moment + _SHORTEST)
        self._pts, self._captured, self._opened = pts, captured, None
        return self._moment
