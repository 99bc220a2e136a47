"""Turns painted frames into the bytes of streams: HTTP multipart, MPEG transport stream, H.264 for RTP."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import av
import cv2
import numpy as np

_TICKS = 90_000
_GROUP = 6  # frames from key frame to key frame


class MultipartEncoder:
    """JPEG pictures in a multipart body, as simple cameras send them."""

    content_type = "multipart/x-mixed-replace;boundary=frame"
    group = 1

    def encode(self, image: np.ndarray, seconds: float) -> bytes:
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        return head.encode() + jpeg + b"\r\n"


class H264Encoder:
    """H.264 with its headers in front of every key frame; another size begins a new sequence in the same stream."""

    group = _GROUP

    def __init__(self) -> None:
        self._encoder = None

    def packets(self, image: np.ndarray, seconds: float) -> list[av.Packet]:
        height, width = image.shape[:2]
        if self._encoder is None or (self._encoder.height, self._encoder.width) != (height, width):
            self._encoder = av.CodecContext.create("libx264", "w")
            self._encoder.width, self._encoder.height, self._encoder.pix_fmt = width, height, "yuv420p"
            self._encoder.time_base, self._encoder.framerate = Fraction(1, _TICKS), Fraction(25)
            self._encoder.thread_count = 1
            self._encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(_GROUP), "qp": "24"}
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = round(seconds * _TICKS), Fraction(1, _TICKS)
        return self._encoder.encode(frame)

    def units(self, image: np.ndarray, seconds: float) -> list[bytes]:
        """Return the NAL units of a frame, without start codes."""
        data = b"".join(bytes(packet) for packet in self.packets(image, seconds))
        parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
        return [part for part in parts if part]


class TransportStreamEncoder:
    """H.264 in an MPEG transport stream."""

    content_type = "video/mp2t"
    group = _GROUP

    options: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self._h264 = H264Encoder()
        self._written: list[bytes] = []
        self._container = None

    def write(self, data: bytes) -> int:
        """Take what the container writes."""
        self._written.append(bytes(data))
        return len(data)

    def encode(self, image: np.ndarray, seconds: float) -> bytes:
        packets = self._h264.packets(image, seconds)
        if self._container is None:
            self._open(image)
        for packet in packets:
            packet.stream = self._stream
            self._container.mux(packet)
        data = b"".join(self._written)
        self._written.clear()
        return data

    def _open(self, image: np.ndarray) -> None:
        self._container = av.open(self, "w", format="mpegts", options=self.options)
        self._container.flags |= 0x200  # AVFMT_FLAG_FLUSH_PACKETS: what is muxed is written
        self._stream = self._container.add_stream("libx264", rate=25)
        self._stream.width, self._stream.height, self._stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
        self._stream.time_base = Fraction(1, _TICKS)
