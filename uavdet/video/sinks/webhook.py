"""The webhook sink: posts a record a frame to a server, which may be slow or away."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from uavdet.errors import UsageError, one_line
from uavdet.video.frames import VideoFrame
from uavdet.video.sinks.base import Sink, SinkOptions, describe_frame

_LOG = logging.getLogger(__name__)
_CAPACITY = 64
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_WAKE = 0.5


class WebhookSink(Sink):
    """Posts a JSON object a frame, the same as a line of the JSON Lines sink, by HTTP.

    A thread of its own posts from a queue. Where it is full, the oldest record is dropped and counted (`live`), or
    `write` waits. A server that fails never ends a run: its failures are counted, and after each it is left alone for a
    while, twice as long as before and 30 s at most; records of that time count as failed. Closing posts what waits, for
    no longer than the time for an answer where `live`.

    Attributes:
        sent: Records that the server took.
        failures: Records that it did not take.
        dropped: Records that were dropped, as it was slow.

    Raises:
        UsageError: The address is missing or no HTTP address.
    """

    name = "webhook"

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        super().__init__(folder, names, options)
        self._address, self._headers = _read_address(options.webhook)
        self.sent = self.failures = self.dropped = 0
        self._queue: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._pause, self._retry_at = 0.0, 0.0
        self._thread = threading.Thread(target=self._post_all, name="uavdet-webhook", daemon=True)
        self._thread.start()

    def write(self, frame: VideoFrame) -> None:
        """Queue a record."""
        record = json.dumps(describe_frame(frame), ensure_ascii=False).encode()
        with self._changed:
            while len(self._queue) >= _CAPACITY and not self.options.live:
                self._changed.wait(_WAKE)
            if len(self._queue) >= _CAPACITY:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(record)
            self._changed.notify_all()

    def close(self) -> None:
        """Post what waits, and end; what is left of a live run's is counted as dropped."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join(self.options.webhook_timeout if self.options.live else None)
        with self._changed:
            self.dropped += len(self._queue)
            self._queue.clear()
        if self.failures or self.dropped:
            _LOG.warning("webhook: %d sent, %d failed, %d dropped.", self.sent, self.failures, self.dropped)

    def _post_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait(_WAKE)
                if not self._queue:
                    return
                record = self._queue.popleft()
                self._changed.notify_all()
            if self._post(record):
                self.sent += 1
            else:
                self.failures += 1

    def _post(self, record: bytes) -> bool:
        """Post a record, unless the server is left alone, and return whether it was taken."""
        if time.monotonic() < self._retry_at:
            return False
        request = urllib.request.Request(self._address, record, self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.options.webhook_timeout):
                self._pause = 0.0
                return True
        except (OSError, HTTPException, ValueError) as error:
            if not self._pause:
                _LOG.warning("webhook: %s failed: %s. It is tried again.", self._address, one_line(error))
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._retry_at = time.monotonic() + self._pause
            return False


def _read_address(given: str | None) -> tuple[str, dict[str, str]]:
    """Return an address without its user and password, and the headers of a request, which have them."""
    if not given:
        raise UsageError(
            "sinks=webhook has no address to post to. It is an HTTP address. Set webhook=http://HOST/PATH."
        )
    parts = urlsplit(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        shown = given if "@" not in given else given.rpartition("@")[2]
        raise UsageError(f"webhook={shown} is no HTTP address. It begins with http:// or https://, and names a host.")
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "uavdet"}
    user, _, host = parts.netloc.rpartition("@")
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), headers
