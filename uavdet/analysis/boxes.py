"""Boxes of objects on feature maps: which cells they touch, and how they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

MARK = "#E69F00"
"""Colour of objects' boxes: on grey, on thermal and on most colour images it can be seen."""


def corners(boxes: Tensor | np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) cxcywh as xyxy in float64."""
    values = np.asarray(boxes.cpu() if isinstance(boxes, Tensor) else boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([values[:, :2] - values[:, 2:] / 2, values[:, :2] + values[:, 2:] / 2], 1)


def touched_cells(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which cells of a map boxes overlap, however little.

    Args:
        boxes: (N, 4) xyxy, divided by the map's size; what lies outside of [0, 1] is outside of the map.
        shape: (h, w) of the map.

    Returns:
        (N, h, w) bool.
    """
    height, width = shape
    rows, columns = np.arange(height), np.arange(width)
    left, top, right, bottom = (boxes * [width, height, width, height]).T[..., None]
    in_rows = (rows + 1 > top) & (rows < bottom)
    in_columns = (columns + 1 > left) & (columns < right)
    return in_rows[:, :, None] & in_columns[:, None, :]


def outline(axes: Any, boxes: np.ndarray, size: tuple[int, int], **style: Any) -> None:
    """Draw the outlines of boxes on a picture.

    Args:
        axes: Of matplotlib, whose coordinates are the picture's pixels.
        boxes: (N, 4) xyxy in [0, 1].
        size: (height, width) of the picture.
        **style: Of matplotlib's `LineCollection`, in the place of thin solid lines of the colour `MARK`.
    """
    from matplotlib.collections import LineCollection

    height, width = size
    left, top, right, bottom = (boxes * [width, height, width, height] - 0.5).T
    lines = np.stack([left, top, right, top, right, bottom, left, bottom, left, top], 1).reshape(-1, 5, 2)
    axes.add_collection(LineCollection(list(lines), **{"colors": MARK, "linewidths": 0.9, **style}))
