"""A camera that speaks RTSP: H.264 in RTP packets on the connection itself (RFC 2326, 3550 and 6184)."""

from __future__ import annotations

import re
import socket
import struct

import numpy as np

from tests.video.encoders import H264Encoder
from tests.video.fault_server import Camera, read_request

_MOST = 1200  # bytes of a NAL unit in one packet
_HEAD = 4 + 12 + 2  # of the connection's frame, of RTP and of a fragment
_FIRST = 0x12345  # ticks of the first frame
_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"


class RtpEncoder:
    """H.264 in RTP packets, each in a frame of the RTSP connection."""

    group = H264Encoder.group

    def __init__(self) -> None:
        self._h264 = H264Encoder()
        self._sequence = 0

    def encode(self, image: np.ndarray, seconds: float) -> bytes:
        payloads = [part for unit in self._h264.units(image, seconds) for part in _fragments(unit)]
        ticks = _FIRST + round(seconds * 90_000) & 0xFFFFFFFF
        return b"".join(self._packet(part, ticks, part is payloads[-1]) for part in payloads)

    def _packet(self, payload: bytes, ticks: int, last: bool) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = struct.pack("!BBHII", 0x80, 96 | last << 7, self._sequence, ticks, 0x1234) + payload
        return struct.pack("!cBH", b"$", 0, len(packet)) + packet


def _fragments(unit: bytes) -> list[bytes]:
    """Return a NAL unit, or where it is long its fragments (FU-A)."""
    if len(unit) <= _MOST:
        return [unit]
    parts = [unit[start : start + _MOST] for start in range(1, len(unit), _MOST)]
    marks = [(number == 0) << 7 | (number == len(parts) - 1) << 6 for number in range(len(parts))]
    return [bytes([unit[0] & 0xE0 | 28, mark | unit[0] & 0x1F]) + part for mark, part in zip(marks, parts, strict=True)]


class RtspCamera(Camera):
    """Serves `rtsp://127.0.0.1:port/stream`, over TCP alone; keeps the requests that it got."""

    encoder = RtpEncoder

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/stream"

    def _answer(self, client: socket.socket) -> None:
        while True:
            request = read_request(client)
            self.requests.append(request)
            status, more = self._reply(request)
            number = re.search(r"CSeq: *(\d+)", request)
            client.sendall(f"RTSP/1.0 {status}\r\nCSeq: {number[1] if number else 0}\r\n{more}".encode())
            if request.startswith("PLAY") and status.startswith("200"):
                self._stream(client)
                return
            if status.startswith("503") or request.startswith("TEARDOWN"):
                return

    def _reply(self, request: str) -> tuple[str, str]:
        """Return the status, and further headers with the body."""
        method = request.split(" ", 1)[0]
        if self.is_away():
            return "503 Service Unavailable", "\r\n"
        if not self.lets_in(request):
            return "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n\r\n'
        if "/stream" not in request.split("\r\n", 1)[0]:
            return "404 Not Found", "\r\n"
        if method == "OPTIONS":
            return "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"
        if method == "DESCRIBE":
            return "200 OK", f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n\r\n{_SDP}"
        if method == "SETUP" and "RTP/AVP/TCP" not in request:
            return "461 Unsupported Transport", "\r\n"
        if method == "SETUP":
            return "200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n"
        if method == "PLAY":
            return "200 OK", f"Session: 1\r\nRTP-Info: url={self.address}/track0;seq=1;rtptime={_FIRST}\r\n\r\n"
        return "200 OK", "Session: 1\r\n\r\n"

    def _spoil(self, data: bytes) -> bytes:
        """Overwrite bytes of the pictures, and leave the packets' heads as they are."""
        spoiled, start = bytearray(data), 0
        while start < len(data):
            length = 4 + struct.unpack("!H", data[start + 2 : start + 4])[0]
            for place in range(start + _HEAD, start + length):
                if self._random.random() < 0.02:
                    spoiled[place] ^= self._random.randrange(1, 256)
            start += length
        return bytes(spoiled)
