"""What happens to the sources of a stream: told to a callback and to the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_LOG = logging.getLogger(__name__)

KINDS = ("opened", "lost", "retrying", "reconnected", "stalled", "resized", "corrupt", "ended", "failed")
_LEVELS = {
    "opened": logging.INFO,
    "reconnected": logging.INFO,
    "resized": logging.INFO,
    "ended": logging.INFO,
    "failed": logging.ERROR,
}


@dataclass(frozen=True)
class StreamEvent:
    """Something that happened to a source.

    Attributes:
        kind: One of `KINDS`: opened for the first time, lost, retrying after a wait, reconnected, stalled (it is
            connected and sends nothing), resized (another frame size or pixel format), corrupt (data that cannot be
            decoded), ended, failed (given up, or a file that cannot be read).
        source: Name of the source; passwords are removed.
        slot: Which of several sources, from 0.
        time: When, in seconds of `time.monotonic`.
        message: A sentence for people.
        details: The numbers of it by name, such as `attempt` and `delay` in seconds of a retry.
    """

    kind: str
    source: str
    slot: int
    time: float
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


EventCallback = Callable[[StreamEvent], None]


class EventReporter:
    """Tells of the events of one source.

    Args:
        source: Its name.
        slot: Its number.
        callback: Is called with every event, in the thread that reads the source: it must not block. What it raises
            ends the source.
    """

    def __init__(self, source: str, slot: int, callback: EventCallback | None = None) -> None:
        self._source, self._slot, self._callback = source, slot, callback

    def report(self, kind: str, message: str, **details: Any) -> None:
        """Log an event and call the callback."""
        _LOG.log(_LEVELS.get(kind, logging.WARNING), "%s: %s", self._source, message)
        if self._callback is not None:
            self._callback(StreamEvent(kind, self._source, self._slot, time.monotonic(), message, details))
