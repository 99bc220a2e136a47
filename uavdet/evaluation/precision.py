"""Precision, recall and average precision of a matching."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from uavdet.evaluation.matching import Matching

RECALLS = np.linspace(0.0, 1.0, 101)


def precision_recall(matching: Matching, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return precision interpolated at COCO's 101 recalls, and the highest recall, as pycocotools accumulates them.

    Args:
        matching: Detections matched to objects.
        weights: (I,) how often each image counts, as in a bootstrap sample; None means once each.

    Returns:
        Precision (A, T, 101, K) and recall (A, T, K); -1 where a class has no object that counts.
    """
    areas, limits = matching.hit.shape[:2]
    objects = count_objects(matching, weights)
    precision = np.full((areas, limits, len(RECALLS), objects.shape[1]), -1.0)
    recall = np.full((areas, limits, objects.shape[1]), -1.0)
    for (area, limit, category), right, positive in counts_at_hits(matching, weights):
        total = objects[area, category]
        if total == 0:
            continue
        # Precision is highest at hits, and recall grows at hits alone, so that the others need no row.
        envelope = np.maximum.accumulate((right / (positive + np.spacing(1)))[::-1])[::-1]
        place = np.searchsorted(right / total, RECALLS, side="left")
        precision[area, limit, :, category] = np.append(envelope, 0.0)[place]
        recall[area, limit, category] = right[-1] / total if len(right) else 0.0
    return precision, recall


def highest_recall(
    matching: Matching, max_detections: int | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the highest recall (A, T, K) of the best `max_detections`; -1 where a class has no object that counts."""
    right = count_hits(matching, max_detections, weights)
    objects = np.broadcast_to(count_objects(matching, weights)[:, None], right.shape)
    return np.divide(right, objects, out=np.full(right.shape, -1.0), where=objects > 0)


def count_hits(matching: Matching, max_detections: int | None = None, weights: np.ndarray | None = None) -> np.ndarray:
    """Return how many objects (A, T, K) the best `max_detections` of each image and class (or image) hit."""
    areas, limits = matching.hit.shape[:2]
    counts = np.zeros((areas, limits, matching.objects.shape[1]))
    for area, limit in np.ndindex(areas, limits):
        rows = np.flatnonzero(matching.hit[area, limit])
        if max_detections is not None:
            rows = rows[matching.rank[rows] < max_detections]
        weight = None if weights is None else np.asarray(weights, np.float64)[matching.image[rows]]
        counts[area, limit] = np.bincount(matching.category[rows], weight, counts.shape[2])
    return counts


def all_point_precision(matching: Matching, objects: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return average precision (A, T, K) as the area under the monotone precision-recall curve, at all its points.

    Recall grows at hits alone, so that the area is the mean over objects of the highest precision at its hit or a
    later one; objects that are never found add nothing.

    Args:
        matching: Detections matched to objects.
        objects: (K,) number of objects of each class, which recall is a share of.
        weights: (I,) how often each image counts; None means once each.
    """
    area_precision = np.zeros((*matching.hit.shape[:2], len(objects)))
    for place, right, positive in counts_at_hits(matching, weights):
        precision = np.divide(right, positive, out=np.zeros(len(right)), where=positive > 0)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        area_precision[place] = (envelope * np.diff(right, prepend=0)).sum() / max(objects[place[2]], 1)
    return area_precision


def mean_of_valid(values: np.ndarray) -> float:
    """Return the mean of the entries that are not -1; NaN where all are."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")


def count_objects(matching: Matching, weights: np.ndarray | None = None) -> np.ndarray:
    """Return (A, K) how many objects count, each as often as its image."""
    return matching.objects.sum(axis=2) if weights is None else matching.objects @ np.asarray(weights, np.float64)


def counts_at_hits(
    matching: Matching, weights: np.ndarray | None = None
) -> Iterator[tuple[tuple[int, int, int], np.ndarray, np.ndarray]]:
    """Yield, for each area range, threshold and class, at its N hits by falling score, what has been found so far.

    Yields:
        (area, threshold, class), (N,) number of hits and (N,) number of detections that take part, to that hit.
    """
    classes = np.searchsorted(matching.category, np.arange(matching.objects.shape[1] + 1))
    weight = None if weights is None else np.asarray(weights, dtype=np.float64)[matching.image]
    counts = np.zeros(len(matching.category) + 1, dtype=np.int64 if weight is None else np.float64)
    for area, limit in np.ndindex(matching.hit.shape[:2]):
        part = ~matching.ignored[area, limit]
        np.cumsum(part if weight is None else part * weight, out=counts[1:])
        hits = np.flatnonzero(matching.hit[area, limit])
        edges = np.searchsorted(hits, classes)
        for category, begin in enumerate(classes[:-1]):
            rows = hits[edges[category] : edges[category + 1]]
            right = np.cumsum(np.ones(len(rows)) if weight is None else weight[rows])
            yield (area, limit, category), right, counts[rows + 1] - counts[begin]
