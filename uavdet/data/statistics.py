"""Statistics of a training set that travel with the weights: how large its objects are, and how many an image has."""

from __future__ import annotations

from typing import Any

import numpy as np

_QUANTILES = (5, 25, 50, 75, 95)
_COUNT_QUANTILES = (50, 95, 99, 100)


def training_statistics(labels: list[dict[str, Any]], imgsz: int) -> dict[str, Any]:
    """Return quantiles of object sizes and of objects an image.

    Args:
        labels: Label dicts of a dataset: `shape` (height, width) and `bboxes` (N, 4) normalised cxcywh.
        imgsz: Side of the square network input in pixels, to which images are stretched.

    Returns:
        `images`, `boxes`; `size_original` and `size_network`, quantiles of sqrt(area) in original and in network
        pixels by percentage; `objects_per_image`, quantiles of the counts.
    """
    boxes = [label["bboxes"][:, 2:].astype(np.float64) for label in labels]
    original = [side * np.array(label["shape"])[::-1] for side, label in zip(boxes, labels, strict=True)]
    counts = [len(side) for side in boxes]
    return {
        "images": len(labels),
        "boxes": int(sum(counts)),
        "size_original": _quantiles(_root_area(original), _QUANTILES),
        "size_network": _quantiles(_root_area([side * imgsz for side in boxes]), _QUANTILES),
        "objects_per_image": _quantiles(np.array(counts, dtype=np.float64), _COUNT_QUANTILES),
    }


def _root_area(sides: list[np.ndarray]) -> np.ndarray:
    return np.sqrt(np.concatenate([*sides, np.zeros((0, 2))]).prod(1))


def _quantiles(values: np.ndarray, percentages: tuple[int, ...]) -> dict[str, float]:
    if not values.size:
        return {}
    return {f"p{p}": round(float(v), 2) for p, v in zip(percentages, np.percentile(values, percentages), strict=True)}
