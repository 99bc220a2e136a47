"""A PyTorch model as a detector of frames, beside the one that runs exported files."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ultralytics.utils.checks import check_imgsz

from uavdet.runtime.detections import Detections
from uavdet.runtime.preprocess import check_picture, with_channels
from uavdet.runtime.timing import StageTimer

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

    from uavdet.engine.predictor import LetterboxPredictor, StretchPredictor


class TorchDetector:
    """Detects objects in pictures with a predictor of Ultralytics: what it finds is what `UAVDet.predict` finds.

    Args:
        predictor: A predictor whose model is set up. It is this detector's alone from now on.
        imgsz: Side of the network's input in pixels, or [height, width].
        statistics: What the weights say of the training's objects, or None; see `uavdet.data.statistics`.

    Attributes:
        statistics: As given.
    """

    def __init__(
        self,
        predictor: StretchPredictor | LetterboxPredictor,
        imgsz: int | list[int],
        statistics: Mapping[str, Any] | None = None,
    ) -> None:
        self.statistics = statistics
        self._predictor: Any = predictor
        predictor.imgsz = check_imgsz(imgsz, stride=predictor.model.stride, min_dim=2)
        self._channels = int(getattr(predictor.model, "channels", 3) or 3)
        self._lock = threading.Lock()
        self._timer = StageTimer()

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name."""
        return dict(self._predictor.model.names)

    @property
    def batch(self) -> int | None:
        """None: any number of images goes."""
        return None

    @property
    def imgsz(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        height, width = self._predictor.imgsz
        return height, width

    @property
    def grey(self) -> bool:
        """Whether the network reads grey pictures."""
        return self._channels == 1

    @property
    def device(self) -> str:
        """What it runs on, such as 'cpu' or 'cuda:0'."""
        return str(self._predictor.device)

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last call over all its images, by step: preprocess, inference, postprocess."""
        return self._timer.timings

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect objects in one image, (H, W, 3) uint8 BGR or (H, W) grey."""
        return self.detect([image])[0]

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect objects in several images, whose sizes may differ; no image gives no result.

        Raises:
            DataError: An image has another shape or type.
        """
        if not len(images):
            return []
        for index, image in enumerate(images):
            check_picture(image, index)
        with self._lock, torch.inference_mode(), self._timer.call():
            return self._detect([self._shaped(image) for image in images])

    def warm_up(self, runs: int = 1) -> None:
        """Run black images, so that the first real one does not wait."""
        for _ in range(runs):
            self.detect([np.zeros((*self.imgsz, 3), np.uint8)])

    def _shaped(self, image: np.ndarray) -> np.ndarray:
        image = with_channels(image, self._channels)
        return image[..., None] if image.ndim == 2 else image

    def _detect(self, images: list[np.ndarray]) -> list[Detections]:
        predictor = self._predictor
        predictor.batch = ([""] * len(images), images, [""] * len(images))
        with self._timer.measure("preprocess"):
            batch = predictor.preprocess(images)
        with self._timer.measure("inference"):
            outputs = predictor.model(batch)
            _wait_for(batch.device)
        with self._timer.measure("postprocess"):
            return [self._detections(result) for result in predictor.postprocess(outputs, batch, images)]

    def _detections(self, result: Results) -> Detections:
        rows = result.boxes.data.cpu().numpy()
        return Detections(
            np.ascontiguousarray(rows[:, :4], dtype=np.float32),
            rows[:, 4].astype(np.float32),
            rows[:, 5].astype(np.int64),
            self.names,
        )


def _wait_for(device: torch.device) -> None:
    """Wait until a GPU is done, which otherwise works on while the clock stands."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
