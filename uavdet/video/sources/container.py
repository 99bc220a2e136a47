"""Reads videos and streams by PyAV."""

from __future__ import annotations

import importlib.util
import time
from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from uavdet.errors import MissingDependencyError, one_line
from uavdet.video.sources.addresses import redact, scheme
from uavdet.video.sources.base import CorruptCallback, DecodedImage, LostError, sane_rate, turn

_NO_TIMESTAMPS = 0x80  # AVFMT_NOTIMESTAMPS: what FFmpeg tells as time of such a stream is made of a guessed rate

# Packets that FFmpeg reads to learn what a stream holds are kept and decoded. So `fflags=nobuffer` would gain nothing,
# as whoever reads here takes frames as fast as they come, and would lose the first frames, key frames among them.
_STREAM_OPTIONS = {"analyzeduration": "2000000"}  # microseconds; FFmpeg's own are 5 to 7 seconds
_MOST_REFUSED = 1000  # errors without a packet between them: lines, where a multipart body lost its boundary
_PROTOCOL_OPTIONS = {
    "rtsp": {"rtsp_flags": "prefer_tcp"},
    "rtsps": {"rtsp_flags": "prefer_tcp"},
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000"},
    "http": {"reconnect": "1", "reconnect_delay_max": "4"},
    "https": {"reconnect": "1", "reconnect_delay_max": "4"},
}
_REASONS = {
    "HTTPUnauthorizedError": "refuses the user's name or password (401)",
    "HTTPForbiddenError": "forbids access (403)",
    "HTTPNotFoundError": "does not exist on its server (404)",
    "ConnectionRefusedError": "cannot be reached: its host refuses the connection",
    "ProtocolNotFoundError": "has a protocol that this FFmpeg does not know",
    "DecoderNotFoundError": "has a codec that this FFmpeg does not decode",
    "FileNotFoundError": "does not exist",
    "InvalidDataError": "is no video that FFmpeg reads",
}


def has_pyav() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def import_pyav(what: str) -> ModuleType:
    """Return PyAV.

    Args:
        what: What needs it, for the message.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingDependencyError(
            f"{what} needs av (PyAV), which is not installed. It comes with: pip install 'uavdet[video]'. "
            "Pictures and video files go without it."
        ) from None
    return av  # type: ignore[no-any-return, unused-ignore]


class ContainerReader:
    """Reads the video of a file or of a connection to a stream.

    Of frames that are built on one another a damaged packet spoils more than one. The decoder is given it all the
    same, which keeps the damage small, but no frame is handed on whose own packet was damaged or refused.

    Args:
        address: A file or an address.
        live: It is a stream: wait no longer than the timeout, and decode without the delay of threads by frame.
        grey: Give (H, W) grey in the place of (H, W, 3) BGR.
        stride: Every how many frames one is given.
        stall_timeout: Seconds without an answer or a frame after which a stream counts as lost.
        rate: Frames a second of the stream where they are known from before; it is then opened without counting them,
            which saves the time of some 20 frames.
        on_corrupt: Is called with the reason for every damaged packet.

    Raises:
        LostError: It cannot be opened.
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        live: bool,
        grey: bool = False,
        stride: int = 1,
        stall_timeout: float = 10.0,
        rate: float | None = None,
        on_corrupt: CorruptCallback | None = None,
    ) -> None:
        self._av = import_pyav(f"source={redact(address)}")
        self._live, self._stride, self._stall_timeout = live, stride, stall_timeout
        self._pixels = "gray" if grey else "bgr24"
        self._on_corrupt = on_corrupt
        self._decoded = 0
        self._damaged: deque[int] = deque(maxlen=64)
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._container = self._open(address, rate)
        try:
            self._stream = self._find_video()
        except LostError:
            self._container.close()
            raise
        self._describe(rate)

    def _open(self, address: str, rate: float | None) -> Any:
        timeout = (self._stall_timeout, self._stall_timeout) if self._live else None
        options = {**_STREAM_OPTIONS, **_PROTOCOL_OPTIONS.get(scheme(address), {})} if self._live else {}
        options |= {"fpsprobesize": "0"} if rate else {}
        start = time.monotonic()
        try:
            return self._av.open(address, timeout=timeout, options=options, metadata_errors="replace")
        except (self._av.FFmpegError, OSError, ValueError) as error:
            if self._live and time.monotonic() - start >= self._stall_timeout:
                raise LostError(f"does not answer within {self._stall_timeout:g} s", stalled=True) from None
            raise LostError(_reason(error)) from None

    def _find_video(self) -> Any:
        """Return the video stream, ready to be decoded; cover pictures of sound files count as video, too."""
        videos = self._container.streams.video
        if not videos:
            raise LostError("holds no video")
        stream = self._container.streams.best("video") or videos[0]
        if stream.codec_context is None:
            raise LostError(_REASONS["DecoderNotFoundError"])
        if stream.codec_context.codec.intra_only:
            # A damaged JPEG otherwise comes out as it is, its rest being what the memory held: parts of older frames.
            stream.codec_context.options = {"err_detect": "explode"}
        stream.thread_type = "SLICE" if self._live else "AUTO"  # threads by frame delay every frame by their number
        return stream

    def _describe(self, rate: float | None) -> None:
        stream, container = self._stream, self._container
        # A file's average is what was counted when it was written; a stream's is what its encoder was set to.
        rates = (stream.guessed_rate, stream.average_rate) if self._live else (stream.average_rate, stream.guessed_rate)
        told = sane_rate(rates[0] or rates[1])
        seconds = container.duration / 1e6 if container.duration else 0.0
        self.rate = rate or told / self._stride
        self.finite = seconds > 0
        count = stream.frames or round(seconds * told)
        self.length = count // self._stride if count else None
        self._has_timestamps = not (self._live and int(container.format.flags) & _NO_TIMESTAMPS)

    def frames(self) -> Iterator[DecodedImage]:
        """Yield the pictures until the end.

        Raises:
            LostError: The connection broke or stalled; what the decoder still held has been yielded before.
        """
        try:
            for packet in self._packets():
                yield from self._decode(packet)
        except LostError:
            yield from self._decode(None)
            raise

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the video; where data make no packet, look for the next one."""
        refused = 0
        while True:
            try:
                for packet in self._watched():
                    refused = 0
                    yield packet
                return
            except self._av.error.ExitError:
                raise LostError(f"has sent nothing for {self._stall_timeout:g} s", stalled=True) from None
            except (self._av.FFmpegError, OSError) as error:
                refused += 1
                if not isinstance(error, self._av.error.InvalidDataError) or refused > _MOST_REFUSED:
                    raise LostError(f"broke off: {_plain(error)}") from None
                if refused == 1:
                    self._tell_corrupt(_plain(error))

    def _watched(self) -> Iterator[Any]:
        """Yield the packets of the video; those of a stream's sound are read, but are no sign of life."""
        last_sign, decoded = time.monotonic(), self._decoded
        for packet in self._container.demux() if self._live else self._container.demux(self._stream):
            now = time.monotonic()
            is_video = packet.stream.index == self._stream.index
            # Before its first key frame a stream gives packets and no frame, for as long as the encoder likes.
            if self._decoded > decoded or (not decoded and is_video and packet.size and not packet.is_corrupt):
                last_sign, decoded = now, self._decoded
            elif self._live and now - last_sign > self._stall_timeout:
                raise LostError(f"has sent no frame for {self._stall_timeout:g} s", stalled=True)
            if is_video:
                yield packet

    def _decode(self, packet: Any | None) -> Iterator[DecodedImage]:
        """Yield the pictures of a packet, or with None those that the decoder still holds."""
        start = time.perf_counter()
        damage = "damaged packet" if packet is not None and packet.is_corrupt else ""
        if packet is not None and damage and packet.pts is not None:
            self._damaged.append(packet.pts)
        try:
            decoded = self._stream.codec_context.decode(packet)
        except self._av.error.EOFError:
            return
        except self._av.FFmpegError as error:
            decoded, damage = [], _plain(error)
        for frame in decoded:
            self._decoded += 1
            if frame.is_corrupt or frame.pts in self._damaged:
                damage = damage or "damaged frame"
            elif self._decoded % self._stride == 0:
                image = self._convert(frame)
                yield DecodedImage(image, self._time(frame), (time.perf_counter() - start) * 1e3, frame.format.name)
                start = time.perf_counter()
        if damage:
            self._tell_corrupt(damage)

    def _tell_corrupt(self, reason: str) -> None:
        if self._on_corrupt is not None:
            self._on_corrupt(reason)

    def _convert(self, frame: Any) -> np.ndarray:
        # An object of one's own for all frames keeps its tables; `frame.to_ndarray(format=...)` makes them every time.
        image: np.ndarray = self._reformatter.reformat(frame, format=self._pixels).to_ndarray()
        return turn(image, frame.rotation) if frame.rotation else image

    def _time(self, frame: Any) -> float | None:
        if frame.pts is None or frame.time_base is None or not self._has_timestamps:
            return None
        return float(frame.pts * frame.time_base)

    def close(self) -> None:
        """Close the file or the connection; only the thread that reads may."""
        self._container.close()


def _reason(error: BaseException) -> str:
    """Say what an error of opening means."""
    for kind in type(error).__mro__:
        if kind.__name__ in _REASONS:
            return _REASONS[kind.__name__]
    return f"cannot be opened: {_plain(error)}"


def _plain(error: BaseException) -> str:
    """Return what FFmpeg says, without the address, which may hold a password."""
    told = getattr(error, "strerror", None)
    return str(told) if told else redact(one_line(error))
