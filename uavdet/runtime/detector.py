"""The detector for deployment: an exported file in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uavdet.errors import CheckpointError
from uavdet.runtime.detections import Detections
from uavdet.runtime.postprocess import decode_rows
from uavdet.runtime.preprocess import stretch_images
from uavdet.runtime.session import Session


class Detector:
    """Detects objects with an exported file.

    Args:
        path: The `.onnx` file that `uavdet export` wrote.
        device: 'cpu', or 'cuda' / a GPU's number.
        threads: CPU threads; by default one for each processor.
        conf: Lowest score.
        max_det: Most detections an image.

    Raises:
        CheckpointError: The file is missing, damaged or not written by `uavdet export`, or takes images that are
            neither in colour nor grey.
        UsageError: The device is not available.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | int | None = None,
        threads: int | None = None,
        conf: float = 0.25,
        max_det: int = 300,
    ) -> None:
        self.session = Session(path, device, threads)
        if self.session.channels not in {1, 3}:
            raise CheckpointError(
                f"'{path}' takes images of {self.session.channels} channels. Give a file for 3 (colour) or 1 (grey), "
                "or prepare the images yourself for uavdet.runtime.Session."
            )
        self.conf, self.max_det = conf, max_det

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect objects in one image, (H, W, 3) uint8 BGR or (H, W) grey."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect objects in several images, whose sizes may differ; no image gives no result."""
        if not len(images):
            return []
        rows = self.session.run(stretch_images(images, self.session.imgsz, self.session.channels))
        return [
            decode_rows(found, image.shape[:2], self.session.names, self.conf, self.max_det)
            for found, image in zip(rows, images, strict=True)
        ]
