"""The layouts in which exported files give their detections, brought to one form.

That form are rows (B, K, 6) float32: cx, cy, w, h normalised, score, class; the best score first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uavdet.errors import CheckpointError

_SLACK = 1e-3  # of half precision's scores


def decode_outputs(
    outputs: Sequence[np.ndarray], output: str, size: tuple[int, int], classes: int, rows: int | None = None
) -> np.ndarray:
    """Return the rows of a batch.

    Args:
        outputs: What the file gave, in its order: rows alone for `detections` and `deepstream`, boxes (B, Q, 4) and
            scores (B, Q, classes) for `raw`.
        output: Layout: `detections` (rows as they are), `deepstream` (x1, y1, x2, y2 in pixels of the input, score,
            class) or `raw` (normalised cxcywh, and scores in [0, 1]).
        size: (height, width) of the input in pixels.
        classes: Number of classes.
        rows: Of `raw`, rows to choose at most; by default as many as there are boxes.

    Raises:
        CheckpointError: The outputs have other shapes.
    """
    arrays = [np.asarray(array, dtype=np.float32) for array in outputs]
    if output == "raw":
        _require(arrays, [4, classes], "boxes (B, Q, 4) and scores (B, Q, classes)")
        return _top_rows(arrays[0], arrays[1], rows)
    _require(arrays, [6], "rows (B, K, 6)")
    return _from_pixels(arrays[0], size) if output == "deepstream" else arrays[0]


def _require(arrays: list[np.ndarray], widths: list[int], wanted: str) -> None:
    shapes = [array.shape for array in arrays]
    if len(shapes) != len(widths) or any(len(s) != 3 or s[2] != w for s, w in zip(shapes, widths, strict=True)):
        given = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise CheckpointError(f"The file's outputs have the shapes {given}, not {wanted}")


def _top_rows(boxes: np.ndarray, scores: np.ndarray, count: int | None) -> np.ndarray:
    """Return the best pairs of a query and a class."""
    batch, queries, classes = scores.shape
    flat = scores.reshape(batch, -1)
    best = np.argsort(-flat, axis=1, kind="stable")[:, : count or queries]
    rows = np.empty((batch, best.shape[1], 6), dtype=np.float32)
    rows[..., :4] = np.take_along_axis(boxes, (best // classes)[..., None], axis=1)
    rows[..., 4] = np.take_along_axis(flat, best, axis=1)
    rows[..., 5] = best % classes
    return rows


def _from_pixels(rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    scale = np.array([width, height], dtype=np.float32)
    near, far = rows[..., :2] / scale, rows[..., 2:4] / scale
    return np.concatenate([(near + far) / 2, far - near, rows[..., 4:]], axis=-1)


def check_rows(rows: np.ndarray, classes: int, image: str) -> None:
    """Refuse rows (K, 6) that are no detections.

    Raises:
        CheckpointError: A number is not finite, a score lies outside [0, 1], or a class does not exist.
    """
    if not np.isfinite(rows).all():
        count = int((~np.isfinite(rows).all(axis=1)).sum())
        raise CheckpointError(f"{count} of {len(rows)} detections of '{image}' are NaN or infinite")
    low, high = rows[:, 4].min(initial=1.0), rows[:, 4].max(initial=0.0)
    if low < -_SLACK or high > 1 + _SLACK:
        raise CheckpointError(f"A score of '{image}' is {low if low < -_SLACK else high:g}, not 0 to 1")
    unknown = (rows[:, 5] != np.rint(rows[:, 5])) | (rows[:, 5] < 0) | (rows[:, 5] >= classes)
    if unknown.any():
        raise CheckpointError(f"A detection of '{image}' has the class {rows[unknown][0, 5]:g}, of {classes} classes")
