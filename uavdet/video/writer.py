"""Writes videos that browsers play and that survive a kill: H.264 in fragmented MP4, by PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np

from uavdet.errors import DataError, MissingDependencyError, one_line
from uavdet.video.frames import DEFAULT_RATE

_CODECS = ("libx264", "h264", "mpeg4")
_TICKS = 90_000
_HIGHEST_RATE = 1000.0
# A fragment a second: what a kill costs. FFmpeg 7.1 turns fragments into one index when the file is closed, which more
# players can seek in; libavformat 61.7 is its version.
_FRAGMENTS = "+frag_keyframe+empty_moov+default_base_moof"
_HYBRID = (61, 7)


class FrameWriter(Protocol):
    """What encodes frames of one size into a file."""

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Encode a frame, shown from `seconds` on."""

    def close(self) -> None:
        """End the file."""


class VideoWriter:
    """Encodes frames of one size; an odd side is padded by a pixel, which the pixel format asks for.

    The file can be played up to the last second or so while it is written, and where the process is killed.

    Args:
        path: The `.mp4` file to write.
        fps: Frames a second, for frames that come without a time.

    Raises:
        MissingDependencyError: PyAV is not installed.
        DataError: The file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        try:
            import av
        except ImportError:
            raise MissingDependencyError("av is missing. It comes with: pip install 'uavdet[video]'.") from None
        self._path, self._av = Path(path), av
        # FFmpeg's own name of a flag of its MP4 muxer
        hybrid = "+hybrid_fragmented" if av.library_versions["libavformat"][:2] >= _HYBRID else ""
        options = {"movflags": _FRAGMENTS + hybrid, "flush_packets": "1"}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(path), "w", format="mp4", options=options)
        except (av.FFmpegError, OSError) as error:
            raise self._refusal(error) from error
        self._fps = Fraction(fps if 0 < fps <= _HIGHEST_RATE else DEFAULT_RATE).limit_denominator(1000)
        self._stream: Any = None
        self._first: float | None = None
        self._next = 0

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Encode a frame, (H, W, 3) uint8 BGR.

        Args:
            frame: The frame.
            seconds: When it is shown; the first frame is the start. None: a frame's time after the one before.

        Raises:
            DataError: The frame has another size than the first one, or cannot be encoded or written.
        """
        height, width = frame.shape[:2]
        size = width + width % 2, height + height % 2
        try:
            if self._stream is None:
                self._stream = self._open_stream(*size)
            if size != (self._stream.width, self._stream.height):
                raise DataError(
                    f"Frame is {width}x{height}, the video {self._stream.width}x{self._stream.height}. "
                    "Give frames of one size."
                )
            padded = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            picture = self._av.VideoFrame.from_ndarray(padded, format="bgr24")
            picture.pts, picture.time_base = self._ticks(seconds), Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(picture))
        except (self._av.FFmpegError, OSError) as error:
            raise self._refusal(error) from error

    def _ticks(self, seconds: float | None) -> int:
        """Return a frame's time in ticks, always later than the one before."""
        if seconds is not None:
            self._first = seconds if self._first is None else self._first
            self._next = max(self._next, round((seconds - self._first) * _TICKS))
        ticks = self._next
        self._next = ticks + (1 if seconds is not None else round(_TICKS / self._fps))
        return ticks

    def _open_stream(self, width: int, height: int) -> Any:
        codec = next(name for name in _CODECS if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec != "mpeg4":  # which has no such fine time
            stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.options = {"crf": "20", "preset": "veryfast", "tune": "zerolatency"}
        stream.codec_context.gop_size = max(1, round(self._fps))
        return stream

    def _refusal(self, error: Exception) -> DataError:
        return DataError(
            f"{self._path} cannot be written: {one_line(error)}. "
            "Free some space there, or give another folder: project=FOLDER."
        )

    def close(self) -> None:
        """Write what is still buffered and close the file.

        Raises:
            DataError: It cannot be written.
        """
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()
        except (self._av.FFmpegError, OSError) as error:
            raise self._refusal(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_video(file: Path, rate: float, size: tuple[int, int]) -> FrameWriter:
    """Return a writer of an MP4: H.264 by PyAV where that is installed, else MPEG-4 by OpenCV.

    Args:
        file: The file to write; its folder is made.
        rate: Frames a second.
        size: (height, width) of the frames.

    Raises:
        DataError: It cannot be written.
    """
    try:
        return VideoWriter(file, rate)
    except MissingDependencyError:
        return _OpenCVWriter(file, rate, size)


class _OpenCVWriter:
    """Writes MPEG-4 by OpenCV, which browsers do not play but players do; at one rate, and readable once closed."""

    def __init__(self, file: Path, rate: float, size: tuple[int, int]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, size[::-1])
        if not self._writer.isOpened():
            raise DataError(
                f"{file} cannot be written: this OpenCV writes no MP4. Use save=False, or pip install 'uavdet[video]'."
            )

    def write(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Encode a frame, (H, W, 3) uint8 BGR; its time is not kept."""
        self._writer.write(frame)

    def close(self) -> None:
        """Close the file."""
        self._writer.release()
