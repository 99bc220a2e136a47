"""Parts of objects that the borders of tiles cut."""

from __future__ import annotations

import numpy as np

from uavdet.tiling.matching import Pairs, intersect, join_pairs, overlap_of, touching_pairs

COMPARABLE = 0.5
"""Scores are comparable where the lower one is at least this share of the higher one.

A box that a border may have cut yields to a whole one of comparable score, and only parts of comparable scores are
joined, so that a guess of the network neither hides nor stretches what it is sure of.
"""


def find_cut_sides(boxes: np.ndarray, windows: np.ndarray, size: tuple[int, int], margins: np.ndarray) -> np.ndarray:
    """Return (N, 4) bool: which sides (x1, y1, x2, y2) of boxes lie at a border of their tile, but not of the frame.

    Args:
        boxes: (N, 4) xyxy in the frame.
        windows: (N, 4) xyxy of each box's tile.
        size: (width, height) of the frame.
        margins: (N, 2) pixels in x and y from a border that still are at it.
    """
    low = (boxes[:, :2] <= windows[:, :2] + margins) & (windows[:, :2] > 0)
    high = (boxes[:, 2:] >= windows[:, 2:] - margins) & (windows[:, 2:] < np.array(size))
    return np.concatenate([low, high], axis=1)


def match_parts(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    windows: np.ndarray,
    cut: np.ndarray,
    threshold: float = 0.5,
) -> Pairs:
    """Return the pairs of cut boxes that look the same where both of their tiles look.

    The parts of an object that is larger than the overlap share little of their areas, but all of what lies in both
    tiles: there their intersection over union is compared.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,); only comparable ones match.
        classes: (N,) int; parts of different classes never match.
        windows: (N, 4) xyxy of each box's tile; parts of one tile never match.
        cut: (N,) bool.
        threshold: Least intersection over union.
    """
    rows = np.flatnonzero(cut)
    found = []
    for first, second in touching_pairs(boxes[rows], classes[rows]):
        first, second = rows[first], rows[second]
        shared = intersect(windows[first], windows[second])
        same = overlap_of(intersect(boxes[first], shared), intersect(boxes[second], shared), "iou") >= threshold
        same &= (windows[first] != windows[second]).any(axis=1)
        low, high = np.minimum(scores[first], scores[second]), np.maximum(scores[first], scores[second])
        same &= low >= COMPARABLE * high
        found.append((first[same], second[same]))
    return join_pairs(found)


def label_connected(pairs: Pairs, count: int) -> np.ndarray:
    """Return (N,) the lowest index that each of `count` boxes is connected with, over any number of pairs."""
    labels = np.arange(count)
    while True:
        lowest = np.minimum(labels[pairs.first], labels[pairs.second])
        following = labels.copy()
        np.minimum.at(following, pairs.first, lowest)
        np.minimum.at(following, pairs.second, lowest)
        if np.array_equal(following, labels):
            return labels
        labels = following


def unite_boxes(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N, 4) boxes of which those that are labels reach around all that bear the label."""
    united = boxes.copy()
    np.minimum.at(united[:, :2], labels, boxes[:, :2])
    np.maximum.at(united[:, 2:], labels, boxes[:, 2:])
    return united


def best_scores(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) scores of which those of labels are the best of all that bear the label."""
    best = scores.copy()
    np.maximum.at(best, labels, scores)
    return best


def cut_after_joining(
    boxes: np.ndarray, sides: np.ndarray, united: np.ndarray, labels: np.ndarray, margins: np.ndarray
) -> np.ndarray:
    """Return (N, 4) which sides of united boxes are cut still: those that no part reaches without being cut there."""
    reaches = np.abs(boxes - united[labels]) <= np.tile(margins, 2)
    ends = np.zeros_like(sides)
    np.logical_or.at(ends, labels, reaches & ~sides)
    return ~ends
