"""Predictors: Ultralytics' sources, drawing and saving, with boxes clipped to the image and tracking by `trackers`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from ultralytics.engine.results import Results
from ultralytics.models.rtdetr.predict import RTDETRPredictor
from ultralytics.models.yolo.detect.predict import DetectionPredictor

from uavdet.engine.calls import all_boxes
from uavdet.errors import CheckpointError, DataError, MissingDependencyError
from uavdet.runtime.postprocess import NMS_IOU, suppress_duplicates
from uavdet.video.tracking import SourceTracker

if TYPE_CHECKING:
    from ultralytics.models.yolo.detect import DetectionPredictor as _Predictor
else:
    _Predictor = object

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class OurResults(_Predictor):
    """Clips, drops what lies outside, and tracks where asked to; mixed in before a predictor of Ultralytics.

    Attributes:
        tracks: The tracks of the source, or None to detect only.
    """

    tracks: SourceTracker | None = None
    args: Any
    dataset: Any

    @property
    def busy(self) -> bool:
        """Whether a generator of results holds this predictor; another call would wait for it for ever."""
        return self._lock.locked()

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
            raise CheckpointError(f"'{model}' cannot be run by ONNX Runtime: {_one_line(error)[:200]}") from error

    def setup_source(self, source: Any, *args: Any, **kwargs: Any) -> None:
        """Open the source.

        Raises:
            DataError: It does not exist, or holds nothing that can be read.
            MissingDependencyError: A package that such a source needs is not installed.
        """
        try:
            super().setup_source(source, *args, **kwargs)
        except ImportError as error:
            package = error.name or "a package"
            raise MissingDependencyError(
                f"source={source} needs {package}. Install it: pip install {package}."
            ) from error
        except Exception as error:
            reason = _one_line(error).split("http", 1)[0].rstrip(" .")
            shown = source if isinstance(source, str | int | Path) else type(source).__name__
            raise DataError(f"source={shown} cannot be read: {reason or type(error).__name__}.") from error

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Any, *args: Any, **kwargs: Any) -> list[Results]:
        """Return results with boxes inside the image, and with identities where a tracker was asked for."""
        results = super().postprocess(preds, img, orig_imgs, *args, **kwargs)
        results = [_clip(result) for result in results]
        if self.tracks is not None:
            results = [self._track(result, self.tracks, index) for index, result in enumerate(results)]
        return results

    def _track(self, result: Results, tracks: SourceTracker, index: int) -> Results:
        """Return the confirmed tracks of a frame, which stands at `index` of its batch."""
        mode = getattr(self.dataset, "mode", "image")
        boxes = result.boxes.cpu().numpy()
        rows, identities = tracks.update(
            boxes.xyxy,
            boxes.conf,
            boxes.cls,
            result.orig_img,
            frame_rate=self._frame_rate(index),
            name=str(result.path) if mode == "video" else "",
            slot=index if mode == "stream" else 0,
        )
        kept = result.boxes.data[torch.from_numpy(rows)]
        ids = torch.from_numpy(identities).to(kept).unsqueeze(1)
        result.update(boxes=torch.cat([kept[:, :4], ids, kept[:, 4:6]], 1))
        return result

    def _frame_rate(self, index: int) -> float:
        rate = getattr(self.dataset, "fps", None)
        rate = rate[index] if isinstance(rate, list) else rate
        return max((float(rate) if rate and 0 < rate < 1000 else 30.0) / self.args.vid_stride, 1.0)


def _clip(result: Results) -> Results:
    """Return the result with boxes clipped to the image, those without area removed."""
    height, width = result.orig_shape
    data = result.boxes.data.clone()
    data[:, 0:4:2] = data[:, 0:4:2].clamp(0, width)
    data[:, 1:4:2] = data[:, 1:4:2].clamp(0, height)
    inside = (data[:, 2] > data[:, 0]) & (data[:, 3] > data[:, 1])
    result.update(boxes=data[inside])
    return result


class _SuppressingPredictor(RTDETRPredictor):
    """Takes away the duplicates of a DETR.

    Attributes:
        nms: IoU from which the weaker of two boxes of a class goes.
    """

    nms: float = NMS_IOU

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Any) -> list[Results]:
        """Return results with the best `max_det` boxes of those that stay, in original pixels."""
        with all_boxes(self.args) as limit:
            results = super().postprocess(preds, img, orig_imgs)
        for result in results:
            boxes = result.boxes.cpu().numpy()
            kept = suppress_duplicates(boxes.xyxy, boxes.conf, boxes.cls, self.nms)[:limit]
            result.update(boxes=result.boxes.data[torch.from_numpy(kept)])
        return results


class StretchPredictor(OurResults, _SuppressingPredictor):
    """Predicts with DETRs, whose images are stretched."""


class LetterboxPredictor(OurResults, DetectionPredictor):
    """Predicts with YOLOs, whose images are scaled to fit and padded."""


def _one_line(error: Exception) -> str:
    """Return an error's message on one line, without the colour codes that terminals read."""
    return " ".join(_COLOUR.sub("", str(error)).split())
