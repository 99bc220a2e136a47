"""Suppression and merging written out box by box, as slow and plain as they come."""

from __future__ import annotations


def overlap(box, other, metric):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    area, other_area = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    base = min(area, other_area) if metric == "ios" else area + other_area - shared
    return shared / base if base > 0 else 0.0


def best_first(boxes, scores):
    """Return indices by falling score, then by rising x1, y1, x2, y2."""
    return sorted(range(len(boxes)), key=lambda index: (-scores[index], *boxes[index]))


def matches(boxes, classes, one, other, metric, threshold, groups=None):
    apart = groups is None or groups[one] != groups[other]
    return apart and classes[one] == classes[other] and overlap(boxes[one], boxes[other], metric) >= threshold


def greedy(boxes, scores, classes, metric, threshold, groups=None):
    """Take the best box that is left, and with it all that match it, until none is left."""
    left, owners = best_first(boxes, scores), {}
    while left:
        keeper = left[0]
        taken = [
            index
            for index in left
            if index == keeper or matches(boxes, classes, keeper, index, metric, threshold, groups)
        ]
        owners |= dict.fromkeys(taken, keeper)
        left = [index for index in left if index not in owners]
    return owners


def chained(boxes, scores, classes, metric, threshold, groups=None):
    """Go through the boxes, best first; each gives its owner, or itself, to those behind it that have none yet."""
    order, owners = best_first(boxes, scores), {}
    for place, index in enumerate(order):
        owners.setdefault(index, index)
        for other in order[place + 1 :]:
            if other not in owners and matches(boxes, classes, index, other, metric, threshold, groups):
                owners[other] = owners[index]
    return owners
