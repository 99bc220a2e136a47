"""From the network's rows to detections in original pixels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.tiling.merging import keep_by_nms

CONFIDENCE = {"predict": 0.25, "track": 0.1}
"""Lowest score by default: trackers use weak detections to keep a track alive."""

NMS_IOU = 0.7
"""IoU from which duplicates go by default: those of YOLOs, as in Ultralytics, and in all but `val` those of DETRs."""


def decode_rows(
    rows: np.ndarray,
    size: tuple[int, int],
    names: dict[int, str],
    conf: float = 0.25,
    max_det: int | None = None,
    classes: Collection[int] | None = None,
    iou: float | None = None,
) -> Detections:
    """Turn the rows of one image into detections; boxes outside the image are dropped.

    Args:
        rows: (K, 6): cx, cy, w, h normalised, score, class; the best score first.
        size: (height, width) of the original image in pixels.
        names: Class id to class name.
        conf: Lowest score.
        max_det: Most detections, or None for all.
        classes: Class ids to keep, or None for all.
        iou: IoU from which the weaker of two boxes of a class goes; None: all stay.
    """
    keep = rows[:, 4] > conf
    if classes is not None:
        keep &= np.isin(rows[:, 5], list(classes))
    rows = rows[keep]
    height, width = size
    scale = np.array([width, height], dtype=np.float32)
    centre, half = rows[:, :2] * scale, rows[:, 2:4] * scale / 2
    boxes = np.concatenate([centre - half, centre + half], 1)
    kept = slice(None) if iou is None else suppress_duplicates(boxes, rows[:, 4], rows[:, 5], iou)
    boxes, rows = boxes[kept][:max_det].clip(0, np.concatenate([scale, scale])), rows[kept][:max_det]
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, rows = boxes[inside].astype(np.float32), rows[inside]
    return Detections(boxes, rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int64), names)


def suppress_duplicates(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float) -> np.ndarray:
    """Return the indices of the boxes that non-maximum suppression keeps within each class, the best first.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        classes: (N,).
        iou: IoU from which the weaker of two boxes goes.
    """
    return keep_by_nms(boxes, scores, classes.astype(np.int64), "iou", iou)
