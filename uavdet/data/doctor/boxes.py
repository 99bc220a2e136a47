"""Sizes, shapes, places and numbers of the boxes of a split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COCO_SIZES = {"small": 0.0, "medium": 32.0**2, "large": 96.0**2}
"""COCO's size classes by the smallest area of each, in square pixels."""
AITOD_SIZES = {"very tiny": 0.0, "tiny": 8.0**2, "small": 16.0**2, "medium": 32.0**2}
"""AI-TOD's size classes by the smallest area of each, in square pixels; "medium" has no upper end here."""
_PERCENTAGES = (5, 25, 50, 75, 95)
_COUNT_PERCENTAGES = (50, 95, 99, 100)
_ELONGATED = 3.0  # longer side over shorter one
_BORDER = 1.0  # pixels


@dataclass(frozen=True)
class BoxTable:
    """All boxes of some images.

    Attributes:
        boxes: (N, 4) float64 cxcywh, normalised.
        classes: (N,) class ids.
        image_ids: (N,) number of each box's image in `shapes`.
        shapes: (I, 2) float64: (width, height) of the images in pixels, those without a box among them.
    """

    boxes: np.ndarray
    classes: np.ndarray
    image_ids: np.ndarray
    shapes: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Objects of each image: (I,)."""
        return np.bincount(self.image_ids, minlength=len(self.shapes))

    def sides(self, imgsz: tuple[int, int] | None = None) -> np.ndarray:
        """Return (N, 2) widths and heights in pixels.

        Args:
            imgsz: (height, width) of the network's input, to which images are stretched; None means original pixels.
                Those are rounded to a hundredth: a box of whole pixels stays one, and in its size class, after six
                decimals of a label file.
        """
        if imgsz is not None:
            return self.boxes[:, 2:] * [imgsz[1], imgsz[0]]
        return np.round(self.boxes[:, 2:] * self.shapes[self.image_ids], 2)


def tabulate_boxes(labels: Iterable[tuple[tuple[int, int], np.ndarray]]) -> BoxTable:
    """Put the boxes of images together.

    Args:
        labels: (width, height) of each image, and its rows: (N, 5) class, cx, cy, w, h, normalised.
    """
    pairs = list(labels)
    rows = np.concatenate([np.zeros((0, 5)), *(rows.astype(np.float64) for _, rows in pairs)])
    return BoxTable(
        boxes=rows[:, 1:],
        classes=rows[:, 0].astype(np.int64),
        image_ids=np.repeat(np.arange(len(pairs)), [len(rows) for _, rows in pairs]).astype(np.int64),
        shapes=np.array([size for size, _ in pairs], dtype=np.float64).reshape(-1, 2),
    )


def join_tables(tables: Sequence[BoxTable]) -> BoxTable:
    """Return one table of the images of several."""
    starts = np.cumsum([0, *(len(table.shapes) for table in tables)])
    return BoxTable(
        boxes=np.concatenate([np.zeros((0, 4)), *(table.boxes for table in tables)]),
        classes=np.concatenate([np.zeros(0, np.int64), *(table.classes for table in tables)]),
        image_ids=np.concatenate(
            [np.zeros(0, np.int64), *(t.image_ids + start for t, start in zip(tables, starts, strict=False))]
        ),
        shapes=np.concatenate([np.zeros((0, 2)), *(table.shapes for table in tables)]),
    )


def count_sizes(sides: np.ndarray, classes: dict[str, float]) -> dict[str, int]:
    """Return how many boxes fall into each size class, each from its smallest area up to that of the next.

    Args:
        sides: (N, 2) widths and heights in pixels.
        classes: Name to smallest area, ascending.
    """
    counts, _ = np.histogram(sides.prod(1), [*classes.values(), np.inf])
    return dict(zip(classes, counts.tolist(), strict=True))


def describe_boxes(table: BoxTable, names: dict[int, str], imgsz: tuple[int, int]) -> dict[str, Any]:
    """Return the statistics of a split's boxes.

    Args:
        table: The boxes.
        names: Class id to class name.
        imgsz: (height, width) of the network's input.

    Returns:
        `objects`; `objects_per_image`; `classes` (objects and images of each); `original` and `network`, sizes in
        COCO's and AI-TOD's classes and quantiles of the square root of the area in pixels; `aspect_ratio` (width over
        height in original pixels), `elongated` and `touching_border` (numbers of objects).
    """
    original, network = table.sides(), table.sides(imgsz)
    ratio = original[:, 0] / np.maximum(original[:, 1], 1e-9)
    return {
        "objects": len(table.boxes),
        "objects_per_image": quantiles(table.counts, _COUNT_PERCENTAGES),
        "classes": _count_classes(table, names),
        "original": _describe_sizes(original),
        "network": _describe_sizes(network),
        "aspect_ratio": quantiles(ratio, _PERCENTAGES),
        "elongated": int((np.maximum(ratio, 1 / np.maximum(ratio, 1e-9)) > _ELONGATED).sum()),
        "touching_border": _touching_border(table),
    }


def _count_classes(table: BoxTable, names: dict[int, str]) -> dict[str, dict[str, int]]:
    objects = np.bincount(table.classes, minlength=len(names))
    pairs = np.unique(np.stack([table.classes, table.image_ids], 1), axis=0)
    images = np.bincount(pairs[:, 0], minlength=len(names))
    return {name: {"objects": int(objects[i]), "images": int(images[i])} for i, name in names.items()}


def _describe_sizes(sides: np.ndarray) -> dict[str, Any]:
    return {
        "coco": count_sizes(sides, COCO_SIZES),
        "aitod": count_sizes(sides, AITOD_SIZES),
        "side": quantiles(np.sqrt(sides.prod(1)), _PERCENTAGES),
    }


def _touching_border(table: BoxTable) -> int:
    """Return how many boxes come within a pixel of the image's edge."""
    size = table.shapes[table.image_ids]
    low = (table.boxes[:, :2] - table.boxes[:, 2:] / 2) * size
    high = size - (table.boxes[:, :2] + table.boxes[:, 2:] / 2) * size
    return int((np.minimum(low, high) < _BORDER).any(1).sum())


def quantiles(values: np.ndarray, percentages: Sequence[int]) -> dict[str, float]:
    """Return quantiles by name (`p50`, ..., `max` for 100), rounded to hundredths; empty where there is no value."""
    if not values.size:
        return {}
    found = np.percentile(values, percentages)
    return {"max" if p == 100 else f"p{p}": round(float(value), 2) for p, value in zip(percentages, found, strict=True)}
