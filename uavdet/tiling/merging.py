"""Which boxes stand for others: non-maximum suppression and merging, in whole arrays.

The order of boxes is that of their scores, the best first. Boxes of equal score are ordered by their corners (x1, y1,
x2, y2, lower ones first), so that the result does not depend on the order of the tiles; SAHI orders them so, too.
"""

from __future__ import annotations

import numpy as np

from uavdet.tiling.matching import Pairs, match_boxes


def rank_boxes(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return (N,) the order of boxes as indices, the best first."""
    return np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -scores))


def keep_by_nms(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, metric: str = "iou", threshold: float = 0.5
) -> np.ndarray:
    """Return the indices of the boxes that class-aware non-maximum suppression keeps, the best first.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        classes: (N,) int.
        metric: 'iou' or 'ios'.
        threshold: Boxes match from this value on.
    """
    order = rank_boxes(boxes, scores)
    owners = find_owners(match_boxes(boxes, classes, metric, threshold), order, "nms")
    return order[owners[order] == order]


def find_owners(pairs: Pairs, order: np.ndarray, merge: str) -> np.ndarray:
    """Return which box stands for each box: itself where it is kept.

    * 'nms' and 'greedynmm': boxes are taken in their order; one that no kept box matches is kept, another goes to the
      first kept box that matches it.
    * 'nmm': every box that a better one matches goes to the box that stands for the best of those. So A stands for C
      where A matches B and B matches C.

    Args:
        pairs: Which boxes match.
        order: (N,) the boxes' indices, the best first.
        merge: 'nms', 'nmm' or 'greedynmm'.

    Returns:
        (N,) int64 indices of boxes.
    """
    count = len(order)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    better = np.minimum(place[pairs.first], place[pairs.second])
    worse = np.maximum(place[pairs.first], place[pairs.second])
    find = _chain_owners if merge == "nmm" else _greedy_owners
    owners = np.empty(count, dtype=np.int64)
    owners[order] = order[find(better, worse, count)]
    return owners


def _greedy_owners(better: np.ndarray, worse: np.ndarray, count: int) -> np.ndarray:
    """Return the owners of boxes by their places.

    In each round those boxes are kept whose better partners have all gone, and what they match goes. The result is that
    of taking one box after the other; the rounds are as many as the longest chain of decisions, not as the boxes.
    """
    kept, gone = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    one, other = better, worse
    while True:
        waiting = np.zeros(count, dtype=bool)
        waiting[other] = True
        kept |= ~gone & ~waiting
        if not len(one):
            break
        gone[other[kept[one]]] = True
        open_pairs = ~kept[one] & ~gone[one] & ~gone[other]
        one, other = one[open_pairs], other[open_pairs]
    owners = np.arange(count)
    owned = kept[better] & ~kept[worse]
    owners[worse[owned]] = count
    np.minimum.at(owners, worse[owned], better[owned])
    return owners


def _chain_owners(better: np.ndarray, worse: np.ndarray, count: int) -> np.ndarray:
    owners = np.arange(count)
    np.minimum.at(owners, worse, better)
    while True:
        further = owners[owners]
        if np.array_equal(further, owners):
            return owners
        owners = further
