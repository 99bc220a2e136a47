"""Writes videos that browsers play: H.264 in MP4, by PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from uavdet.errors import DataError, MissingDependencyError

_CODECS = ("libx264", "h264", "mpeg4")


class VideoWriter:
    """Encodes frames of one size; an odd side is padded by a pixel, which the pixel format asks for.

    Args:
        path: The `.mp4` file to write.
        fps: Frames a second.

    Raises:
        MissingDependencyError: PyAV is not installed.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        try:
            import av
        except ImportError:
            raise MissingDependencyError("av is missing. It comes with: pip install 'uavdet[video]'.") from None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._av = av
        self._container: Any = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._fps = Fraction(fps).limit_denominator(1000)
        self._stream: Any = None

    def write(self, frame: np.ndarray) -> None:
        """Encode a frame, (H, W, 3) uint8 BGR.

        Raises:
            DataError: The frame has another size than the first one.
        """
        height, width = frame.shape[:2]
        if self._stream is None:
            self._stream = self._open_stream(width + width % 2, height + height % 2)
        if (width + width % 2, height + height % 2) != (self._stream.width, self._stream.height):
            raise DataError(
                f"Frame is {width}x{height}, the video {self._stream.width}x{self._stream.height}. "
                "Give frames of one size."
            )
        padded = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        encoded = self._stream.encode(self._av.VideoFrame.from_ndarray(padded, format="bgr24"))
        self._container.mux(encoded)

    def _open_stream(self, width: int, height: int) -> Any:
        codec = next(name for name in _CODECS if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec != "mpeg4":
            stream.options = {"crf": "20", "preset": "veryfast"}
        return stream

    def close(self) -> None:
        """Write what is still buffered and close the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
