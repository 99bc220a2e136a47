"""Which boxes show the same object: pairs of one class, of different groups, that overlap enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_PAIRS_AT_ONCE = 1 << 20
"""Candidates compared at once; bounds the memory where thousands of boxes lie upon one another."""


class Pairs(NamedTuple):
    """Pairs of boxes by their indices.

    Attributes:
        first: (P,) int64.
        second: (P,) int64.
    """

    first: np.ndarray
    second: np.ndarray


def match_boxes(
    boxes: np.ndarray,
    classes: np.ndarray,
    metric: str = "ios",
    threshold: float = 0.5,
    groups: np.ndarray | None = None,
) -> Pairs:
    """Return the pairs of boxes that match.

    Args:
        boxes: (N, 4) xyxy.
        classes: (N,) int; boxes of different classes never match.
        metric: 'ios' or 'iou'.
        threshold: Least value of a match, above 0.
        groups: (N,) int; boxes of one group never match. By default every box is a group of its own.

    Returns:
        Every pair once, in no order.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    found = []
    for first, second in touching_pairs(boxes, classes):
        if groups is not None:
            apart = groups[first] != groups[second]
            first, second = first[apart], second[apart]
        good = overlap_of(boxes[first], boxes[second], metric) >= threshold
        found.append((first[good], second[good]))
    return join_pairs(found)


def touching_pairs(boxes: np.ndarray, classes: np.ndarray) -> list[Pairs]:
    """Return the pairs of one class that overlap at all, in parts of bounded size.

    Boxes are swept from left to right, each class on a stretch of its own. The work grows with the number of pairs that
    share a column of pixels, not with the square of the number of boxes.
    """
    if len(boxes) < 2:
        return []
    low = boxes[:, 0].min()
    stretch = boxes[:, [0, 2]].max() - low + 1
    shift = np.unique(classes, return_inverse=True)[1].reshape(-1) * stretch - low
    left, right = boxes[:, 0] + shift, boxes[:, 2] + shift
    order = np.argsort(left, kind="stable")
    ends = np.searchsorted(left[order], right[order], side="left")
    counts = np.maximum(ends - np.arange(1, len(boxes) + 1), 0)
    return [_expand(boxes, order, counts, rows) for rows in _parts(counts)]


def _parts(counts: np.ndarray) -> list[np.ndarray]:
    """Cut the boxes into runs of bounded numbers of candidates."""
    part = np.cumsum(counts) // _PAIRS_AT_ONCE
    return np.split(np.arange(len(counts)), np.flatnonzero(np.diff(part)) + 1)


def _expand(boxes: np.ndarray, order: np.ndarray, counts: np.ndarray, rows: np.ndarray) -> Pairs:
    """Return the pairs of some boxes of the sweep with those that follow them, as far as they overlap."""
    repeats = counts[rows]
    first = np.repeat(rows, repeats)
    begin = np.repeat(np.cumsum(repeats) - repeats, repeats)
    second = first + 1 + np.arange(len(first)) - begin
    first, second = order[first], order[second]
    one, other = boxes[first], boxes[second]
    overlaps = (np.minimum(one[:, 3], other[:, 3]) > np.maximum(one[:, 1], other[:, 1])) & (
        np.minimum(one[:, 2], other[:, 2]) > np.maximum(one[:, 0], other[:, 0])
    )
    return Pairs(first[overlaps], second[overlaps])


def join_pairs(parts: list[tuple[np.ndarray, np.ndarray]] | list[Pairs]) -> Pairs:
    """Return several lists of pairs as one."""
    empty = np.zeros(0, dtype=np.int64)
    return Pairs(
        np.concatenate([empty, *(first for first, _ in parts)]),
        np.concatenate([empty, *(second for _, second in parts)]),
    )


def overlap_of(boxes: np.ndarray, others: np.ndarray, metric: str) -> np.ndarray:
    """Return the overlap of boxes with others, pair by pair.

    Args:
        boxes: (P, 4) xyxy.
        others: (P, 4).
        metric: 'iou', the intersection over the union, or 'ios', over the smaller area.

    Returns:
        (P,) float64 in [0, 1]; 0 where a box has no area.
    """
    shared = box_areas(intersect(boxes, others))
    areas, other_areas = box_areas(boxes), box_areas(others)
    base = np.minimum(areas, other_areas) if metric == "ios" else areas + other_areas - shared
    return np.divide(shared, base, out=np.zeros(len(boxes)), where=base > 0)


def intersect(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the (P, 4) intersections of boxes, pair by pair; where there is none a box has no area."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    return np.concatenate([low, np.maximum(high, low)], axis=1)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Return (N,) the areas of (N, 4) xyxy boxes."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
