"""Cameras on this machine that stream numbered frames and break down at random, on purpose and on record.

    python -m tests.video.fault_server --cameras 3 --faults 67

prints a JSON line of addresses, one when the faults are over, and one of records when its standard input has ended.

A camera numbers its frames, shows the number in the picture and keeps a record of what it sent: which frames left it
whole, which it damaged, and what it did wrong and when. Whoever reads can so be called to account frame by frame.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import random
import socket
import struct
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.video.encoders import MultipartEncoder, TransportStreamEncoder
from tests.video.painted import paint

SIZES = ((240, 320), (192, 256), (288, 352))
FAULTS = ("kill", "reset", "refuse", "stall", "corrupt", "resize")
_UNSENT = 0x5411  # SIOCOUTQ
_TS_PACKET = 188


class ClientGoneError(Exception):
    """The reader closed its connection."""


@dataclass
class Record:
    """What a camera did.

    Attributes:
        whole: Numbers of the frames that were sent whole and undamaged.
        damaged: Numbers of those that were damaged, cut off, or built on such.
        faults: Faults as (kind, number of the frame, seconds since the start).
        connections: How often somebody connected.
    """

    whole: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    faults: list[tuple[str, int, float]] = field(default_factory=list)
    connections: int = 0


class Camera:
    """Streams to one reader at a time; the transport is what a subclass adds.

    Args:
        seed: Of the faults.
        faults: How many there are; afterwards it streams without.
        kinds: Which kinds.
        rate: Frames a second; 0 sends as fast as the reader takes them.
        gap: Fewest and most frames from fault to fault.
        stall: Seconds that it goes on after a stall, if the reader is so patient.
        limit: Frames after which it ends its stream; None for never.
        login: `user:password` that it asks for; None lets everybody in.

    Attributes:
        record: What it did.
        sent: When it began to send a frame, by number, in seconds of `time.monotonic`.
    """

    encoder = MultipartEncoder

    def __init__(
        self,
        seed: int = 0,
        faults: int = 0,
        kinds: tuple[str, ...] = FAULTS,
        rate: float = 100.0,
        gap: tuple[int, int] = (5, 25),
        stall: float = 30.0,
        limit: int | None = None,
        login: str | None = None,
    ) -> None:
        self.record = Record()
        self.sent: dict[int, float] = {}
        self._random = random.Random(seed)
        self._left, self._kinds, self._rate, self._gap, self._stall = faults, kinds, rate, gap, stall
        self._limit, self._login = limit, login
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._size = SIZES[0]
        self._number = 0
        self._spoiled = 0
        self._closed_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    @property
    def faults_left(self) -> int:
        return self._left

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End; a reader is cut off."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(ClientGoneError, OSError):
                client.settimeout(5)
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        """Speak the transport's protocol, then stream."""
        request = read_request(client)
        if not self.lets_in(request):
            client.sendall(b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n')
        elif " /stream " not in request:
            client.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif self.is_away():
            client.sendall(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        else:
            client.sendall(f"HTTP/1.0 200 OK\r\nContent-Type: {self.encoder.content_type}\r\n\r\n".encode())
            self._stream(client)

    def lets_in(self, request: str) -> bool:
        """Return whether a request has the login that is asked for."""
        return self._login is None or f"Basic {base64.b64encode(self._login.encode()).decode()}" in request

    def is_away(self) -> bool:
        """Return whether the camera refuses everybody for a while."""
        return time.monotonic() < self._closed_until

    def _stream(self, client: socket.socket) -> None:
        """Send frames until a fault ends the connection."""
        encoder = self.encoder()
        self.record.connections += 1
        first, due, self._spoiled = self._number, self._next_fault(), 0
        begun = time.monotonic()
        while not self._stopped.is_set() and (self._limit is None or self._number < self._limit):
            fault = self._random.choice(self._kinds) if self._left and self._number >= due else None
            if fault:
                self._left -= 1
                self.record.faults.append((fault, self._number, time.monotonic() - self._started))
                due = self._next_fault()
            if fault == "resize":
                self._size = self._random.choice([size for size in SIZES if size != self._size])
            data = encoder.encode(paint(self._number, self._size), (self._number - first) / (self._rate or 100.0))
            self.sent[self._number] = time.monotonic()
            self._number += 1
            if not self._send(client, data, fault, encoder.group):
                return
            if self._rate:
                begun = max(begun + 1 / self._rate, time.monotonic() - 0.5)
                self._stopped.wait(max(begun - time.monotonic(), 0))

    def _next_fault(self) -> int:
        return self._number + self._random.randint(*self._gap)

    def _send(self, client: socket.socket, data: bytes, fault: str | None, group: int) -> bool:
        """Send a frame, whole or with a fault; return whether the connection goes on."""
        number = self._number - 1
        if fault in ("kill", "reset", "refuse"):
            self._deliver(client, data[: max(len(data) // 2, _TS_PACKET * 2)])
            self.record.damaged.append(number)
            self._hang_up(client, fault)
            return False
        if fault == "corrupt":
            data = self._spoil(data)
            self._spoiled = group + 1 if group > 1 else 1  # those that are built on it are spoiled with it
            if group > 1 and self.record.whole:  # a reader learns that a packet has ended from the start of the next
                self.record.damaged.append(self.record.whole.pop())
        self._deliver(client, data)
        (self.record.damaged if self._spoiled else self.record.whole).append(number)
        self._spoiled = max(self._spoiled - 1, 0)
        if fault == "stall":
            self._wait_for_hang_up(client)
            return False
        return True

    def _deliver(self, client: socket.socket, data: bytes) -> None:
        try:
            client.sendall(data)
        except OSError:
            self.record.damaged.append(self._number - 1)
            raise ClientGoneError from None

    def _hang_up(self, client: socket.socket, fault: str) -> None:
        """End the connection politely, or as a machine does that lost its power, or stay away for a while."""
        if fault == "refuse":
            self._closed_until = time.monotonic() + self._random.uniform(0.05, 0.4)
        self._wait_until_sent(client)
        if fault == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            client.shutdown(socket.SHUT_WR)

    def _wait_until_sent(self, client: socket.socket) -> None:
        """Wait until the reader's machine has everything: what is unsent at a reset never arrives."""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if not struct.unpack("i", fcntl.ioctl(client, _UNSENT, b"\0" * 4))[0]:
                return
            time.sleep(0.002)

    def _wait_for_hang_up(self, client: socket.socket) -> None:
        """Send nothing until the reader loses its patience."""
        client.settimeout(self._stall)
        with contextlib.suppress(OSError):
            while client.recv(4096):
                pass

    def _spoil(self, data: bytes) -> bytes:
        """Overwrite bytes behind the frame's head, where the picture is, but for the end of line behind it."""
        spoiled, first = bytearray(data), min(_TS_PACKET * 2, len(data) // 2)
        for _ in range(self._random.randint(8, 60)):
            spoiled[self._random.randrange(first, len(data) - 2)] = self._random.randrange(256)
        return bytes(spoiled)


class TransportStreamCamera(Camera):
    """MPEG transport stream over HTTP."""

    encoder = TransportStreamEncoder


class DatagramCamera(Camera):
    """MPEG transport stream in UDP datagrams, to a port that somebody may listen at or not."""

    encoder = TransportStreamEncoder

    def __init__(self, *given: object, **named: object) -> None:
        kinds = named.pop("kinds", ("stall", "corrupt", "resize"))
        super().__init__(*given, kinds=kinds, **named)
        self._listener.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self._target = free.getsockname()

    @property
    def address(self) -> str:
        return f"udp://{self._target[0]}:{self._target[1]}"

    def _accept(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            while not self._stopped.is_set():
                self._stream(client)

    def _deliver(self, client: socket.socket, data: bytes) -> None:
        for start in range(0, len(data), 7 * _TS_PACKET):
            with contextlib.suppress(ConnectionRefusedError):
                client.sendto(data[start : start + 7 * _TS_PACKET], self._target)

    def _wait_for_hang_up(self, client: socket.socket) -> None:
        self._stopped.wait(self._stall)


def settle(record: Record, numbers: list[int | None]) -> dict[str, Any]:
    """Compare what a camera sent with the numbers that a reader saw, in its order; None is a frame without a number.

    Returns:
        `sent` and `read`, counts up to the last frame that was read; `missing`: sent whole and not read; `repeated`:
        read again or out of order; `unknown`: read and never sent; `damaged`: read, of those that were damaged;
        `unreadable`: read, of those whose damage hides their number.
    """
    known = [number for number in numbers if number is not None]
    last = max(known, default=-1)
    whole, damaged = ({number for number in sent if number <= last} for sent in (record.whole, record.damaged))
    intact = [number for number in known if number in whole]
    return {
        "sent": len(whole),
        "read": len(intact),
        "missing": sorted(whole - set(intact)),
        "repeated": len(intact) - len(set(intact)) + (intact != sorted(intact)),
        "unknown": sum(number not in whole | damaged for number in known),
        "damaged": sum(number in damaged for number in known),
        "unreadable": len(numbers) - len(known),
    }


def read_request(client: socket.socket) -> str:
    """Read a request up to its empty line.

    Raises:
        ClientGoneError: There comes none.
    """
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        received = client.recv(1)
        if not received:
            raise ClientGoneError
        request += received
    return request.decode("ascii", "replace")


def _tell_when_calm(cameras: list[Camera]) -> None:
    while any(camera.faults_left for camera in cameras):
        time.sleep(0.1)
    print(json.dumps("calm"), flush=True)


def main() -> None:
    """Stream until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--faults", type=int, default=67, help="of each camera")
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from tests.video.rtsp_camera import RtspCamera

    kinds = (Camera, TransportStreamCamera, RtspCamera)
    with contextlib.ExitStack() as stack:
        cameras = [
            stack.enter_context(kinds[number % len(kinds)](options.seed + number, options.faults, rate=options.rate))
            for number in range(options.cameras)
        ]
        print(json.dumps([camera.address for camera in cameras]), flush=True)
        threading.Thread(target=_tell_when_calm, args=(cameras,), daemon=True).start()
        sys.stdin.read()
        print(json.dumps([asdict(camera.record) for camera in cameras]), flush=True)


if __name__ == "__main__":
    main()
