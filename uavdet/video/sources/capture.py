"""Reads cameras, pipelines of GStreamer and, where PyAV is not installed, video files by OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np

from uavdet.errors import MissingDependencyError
from uavdet.video.sources.addresses import redact
from uavdet.video.sources.base import DecodedImage, LostError, sane_rate


def check_gstreamer(pipeline: str) -> None:
    """Check that OpenCV runs pipelines of GStreamer.

    Raises:
        MissingDependencyError: It was built without.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise MissingDependencyError(
            f"source={redact(pipeline)} is a pipeline of GStreamer, and this OpenCV {cv2.__version__} was built "
            "without it, as all wheels of PyPI are. Use the OpenCV of JetPack or of your distribution: "
            "sudo apt-get install python3-opencv."
        )


class CaptureReader:
    """Reads a video file, a camera or a pipeline.

    Args:
        source: A file, the number of a camera, or a pipeline that ends in `appsink`.
        live: It is a camera or a pipeline.
        grey: Give (H, W) grey in the place of (H, W, 3) BGR.
        stride: Every how many frames one is given.
        stall_timeout: Seconds without an answer after which a pipeline counts as lost; a camera's driver has its own.

    Raises:
        LostError: It cannot be opened.
    """

    def __init__(
        self, source: str | int, *, live: bool, grey: bool = False, stride: int = 1, stall_timeout: float = 10.0
    ) -> None:
        self._live, self._grey, self._stride = live, grey, stride
        self._capture = cv2.VideoCapture()
        self._open(source, round(stall_timeout * 1e3))
        if not self._capture.isOpened():
            raise LostError("cannot be opened" if live else "is no video that OpenCV reads")
        told = sane_rate(self._capture.get(cv2.CAP_PROP_FPS))
        count = round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate = told / stride
        self.finite = not live
        self.length = count // stride if count > 0 and not live else None

    def _open(self, source: str | int, timeout: int) -> None:
        if isinstance(source, int):
            self._capture.open(source)
        elif self._live:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout]
            self._capture.open(source, cv2.CAP_GSTREAMER, limits)
        else:
            self._capture.open(source)

    def frames(self) -> Iterator[DecodedImage]:
        """Yield the pictures until there are no more.

        Raises:
            LostError: A camera or a pipeline gives no more.
        """
        while self._grab():
            start = time.perf_counter()
            done, image = self._capture.retrieve()
            if not done or image is None:
                break
            pts = None if self._live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            image = _convert(image, self._grey)
            yield DecodedImage(image, pts, (time.perf_counter() - start) * 1e3)
        if self._live:
            raise LostError("gives no more frames")

    def _grab(self) -> bool:
        return all(self._capture.grab() for _ in range(self._stride))

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()


def _convert(image: np.ndarray, grey: bool) -> np.ndarray:
    """Return what a pipeline or a camera gives, grey, BGR or BGRx, as it is wanted."""
    channels = 1 if image.ndim == 2 else image.shape[2]
    if grey:
        codes = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}
        return cv2.cvtColor(image, codes[channels]) if channels in codes else image.reshape(image.shape[:2])
    codes = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
    return cv2.cvtColor(image, codes[channels]) if channels in codes else image
