"""From the network's rows to detections in original pixels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from uavdet.runtime.detections import Detections


def decode_rows(
    rows: np.ndarray,
    size: tuple[int, int],
    names: dict[int, str],
    conf: float = 0.25,
    max_det: int | None = None,
    classes: Collection[int] | None = None,
) -> Detections:
    """Turn the rows of one image into detections; boxes outside the image are dropped.

    Args:
        rows: (K, 6): cx, cy, w, h normalised, score, class; the best score first.
        size: (height, width) of the original image in pixels.
        names: Class id to class name.
        conf: Lowest score.
        max_det: Most detections, or None for all.
        classes: Class ids to keep, or None for all.
    """
    keep = rows[:, 4] > conf
    if classes is not None:
        keep &= np.isin(rows[:, 5], list(classes))
    rows = rows[keep][:max_det]
    height, width = size
    scale = np.array([width, height], dtype=np.float32)
    centre, half = rows[:, :2] * scale, rows[:, 2:4] * scale / 2
    boxes = np.concatenate([centre - half, centre + half], 1).clip(0, np.concatenate([scale, scale]))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, rows = boxes[inside].astype(np.float32), rows[inside]
    return Detections(boxes, rows[:, 4].astype(np.float32), rows[:, 5].astype(np.int64), names)
