"""Predictors: Ultralytics' sources, drawing and saving, with boxes clipped to the image and tracking by `trackers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from ultralytics.engine.results import Results
from ultralytics.models.rtdetr.predict import RTDETRPredictor
from ultralytics.models.yolo.detect.predict import DetectionPredictor

from uavdet.errors import CheckpointError, DataError
from uavdet.video.tracking import FrameTracker, TrackerConfig

if TYPE_CHECKING:
    from ultralytics.models.yolo.detect import DetectionPredictor as _Predictor
else:
    _Predictor = object


class OurResults(_Predictor):
    """Clips, drops what lies outside, and tracks where asked to; mixed in before a predictor of Ultralytics.

    Attributes:
        tracker: How to track, or None to detect only.
        persist: Keep the tracks of the call before.
    """

    tracker: TrackerConfig | None = None
    persist: bool = False
    args: Any
    dataset: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trackers: dict[str, FrameTracker] = {}

    def setup_model(self, model: nn.Module | str, verbose: bool = True) -> None:
        """Load the model, a module or an exported file.

        Raises:
            CheckpointError: An exported file cannot be run.
        """
        if isinstance(model, nn.Module):
            super().setup_model(model, verbose)
            return
        try:
            super().setup_model(model, verbose)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"'{model}' cannot be run by ONNX Runtime: {reason}") from error

    def setup_source(self, source: Any, *args: Any, **kwargs: Any) -> None:
        """Open the source.

        Raises:
            DataError: It does not exist, or holds nothing that can be read.
        """
        try:
            super().setup_source(source, *args, **kwargs)
        except (OSError, AssertionError) as error:
            reason = " ".join(str(error).split("http", 1)[0].split()).rstrip(" .")
            raise DataError(f"source={source} cannot be read: {reason or type(error).__name__}.") from error
        if not self.persist:
            self._trackers.clear()

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Any, *args: Any, **kwargs: Any) -> list[Results]:
        """Return results with boxes inside the image, and with identities where a tracker was asked for."""
        results = super().postprocess(preds, img, orig_imgs, *args, **kwargs)
        results = [_clip(result) for result in results]
        return [self._track(result) for result in results] if self.tracker is not None else results

    def _track(self, result: Results) -> Results:
        """Return the confirmed tracks of the next frame of a video or a stream."""
        source = str(result.path)
        if source not in self._trackers:
            self._trackers[source] = FrameTracker(self.tracker, self._frame_rate())  # type: ignore[arg-type]
        boxes = result.boxes.cpu().numpy()
        rows, identities = self._trackers[source].update(boxes.xyxy, boxes.conf, boxes.cls, result.orig_img)
        kept = result.boxes.data[torch.from_numpy(rows)]
        ids = torch.from_numpy(identities).to(kept).unsqueeze(1)
        result.update(boxes=torch.cat([kept[:, :4], ids, kept[:, 4:6]], 1))
        return result

    def _frame_rate(self) -> float:
        rate = getattr(self.dataset, "fps", None)
        rate = rate[0] if isinstance(rate, list) else rate
        return max(float(rate or 30.0) / self.args.vid_stride, 1.0)


def _clip(result: Results) -> Results:
    """Return the result with boxes clipped to the image, those without area removed."""
    height, width = result.orig_shape
    data = result.boxes.data.clone()
    data[:, 0:4:2] = data[:, 0:4:2].clamp(0, width)
    data[:, 1:4:2] = data[:, 1:4:2].clamp(0, height)
    inside = (data[:, 2] > data[:, 0]) & (data[:, 3] > data[:, 1])
    result.update(boxes=data[inside])
    return result


class StretchPredictor(OurResults, RTDETRPredictor):
    """Predicts with DETRs, whose images are stretched."""


class LetterboxPredictor(OurResults, DetectionPredictor):
    """Predicts with YOLOs, whose images are scaled to fit and padded."""


def is_exported(path: str | Path) -> bool:
    """Return whether a path names an exported file rather than weights."""
    return Path(path).suffix == ".onnx"
