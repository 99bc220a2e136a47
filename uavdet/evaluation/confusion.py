"""Which objects were found, missed or taken for something else at one confidence, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

if TYPE_CHECKING:
    from uavdet.evaluation.matching import Matching

IOU = 0.5
"""Overlap from which a detection is on an object."""

_MOST_CANDIDATES = 1000
_NONE = -1


@dataclass(frozen=True)
class ImageErrors:
    """The detections of one image above a confidence, and what became of its objects.

    Attributes:
        boxes: (D, 4) xyxy in pixels, by falling score.
        scores: (D,).
        classes: (D,).
        partner: (D,) index of the object that the detection is on; -1 for none.
        ignored: (D,) whether it is neither right nor wrong: on an ignored object of its class or in an ignored region.
        found_by: (N,) index of the detection on each object; -1 for none, and for ignored objects.
        same_class: (D,) whether the detection names the class of its object.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    partner: np.ndarray
    ignored: np.ndarray
    found_by: np.ndarray
    same_class: np.ndarray

    @property
    def is_false(self) -> np.ndarray:
        """(D,) whether a detection is on nothing."""
        return (self.partner == _NONE) & ~self.ignored

    @property
    def is_confused(self) -> np.ndarray:
        """(D,) whether a detection is on an object of another class."""
        return (self.partner != _NONE) & ~self.same_class


def missed_objects(truth: ImageTruth, errors: ImageErrors) -> np.ndarray:
    """Return (N,) whether each object counts and has no detection on it."""
    return (errors.found_by == _NONE) & ~truth.crowd


def count_errors(truth: ImageTruth, errors: ImageErrors) -> int:
    """Return the number of missed objects, false detections and detections of the wrong class."""
    wrong = errors.is_false.sum() + errors.is_confused.sum()
    return int(wrong + missed_objects(truth, errors).sum())


def find_errors(truth: ImageTruth, detections: ImageDetections, confidence: float) -> ImageErrors:
    """Assign detections to objects at IoU .50, one to one.

    Detections choose by falling score, those of one score as they are given, first among objects of their class. Each
    takes the free object of the highest IoU, the first of equals. As in COCO's protocol, so that the found objects are
    those that AP50 counts at this confidence, but for two things: of equal IoUs the protocol takes the last, and it
    rounds widths and heights to a billionth of a pixel, where here nothing is rounded, so that an IoU of just .50 may
    fall on either side. Detections left over may then lie on an object of another class, unless they are ignored: by
    at least half of their area on an ignored object of their class or in an ignored region.

    Args:
        truth: The annotated image.
        detections: Its detections.
        confidence: Those with a lower score are left out.
    """
    kept = np.flatnonzero(detections.scores >= confidence)
    kept = kept[np.argsort(-detections.scores[kept], kind="stable")]
    boxes, classes = detections.boxes[kept].reshape(-1, 4), detections.classes[kept]
    shared = shared_areas(boxes, truth.boxes)
    overlap = _iou(shared, boxes, truth.boxes)
    same_class = classes[:, None] == truth.classes[None]
    partner, found_by = np.full(len(kept), _NONE), np.full(len(truth.classes), _NONE)
    _assign(np.where(same_class & ~truth.crowd, overlap, 0.0), partner, found_by)
    ignored = (partner == _NONE) & _is_ignored(boxes, shared * (same_class & truth.crowd), truth.ignore_regions)
    _assign(np.where(~truth.crowd & ~ignored[:, None], overlap, 0.0), partner, found_by)
    agrees = (partner != _NONE) & same_class[np.arange(len(kept)), partner] if len(truth.classes) else partner >= 0
    return ImageErrors(boxes, detections.scores[kept], classes, partner, ignored, found_by, agrees)


def shared_areas(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the (D, N) areas that boxes (D, 4) share with others (N, 4), xyxy, in square pixels."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)


def _iou(shared: np.ndarray, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    union = _areas(boxes)[:, None] + _areas(others)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _is_ignored(boxes: np.ndarray, crowd_shared: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return (D,) whether a crowd of the detection's class, or a region, holds at least half of its area."""
    shared = np.concatenate([crowd_shared, shared_areas(boxes, regions)], 1)
    areas = _areas(boxes)
    return (areas > 0) & (shared >= IOU * areas[:, None]).any(1)


def _assign(overlap: np.ndarray, partner: np.ndarray, found_by: np.ndarray) -> None:
    """Give each free detection, in order, the free object that it overlaps most; both arrays are filled in place."""
    if not overlap.size:
        return
    overlap = np.where((partner == _NONE)[:, None] & (found_by == _NONE)[None], overlap, 0.0)
    for index in np.flatnonzero(overlap.max(1) >= IOU):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= IOU:
            partner[index], found_by[best] = best, index
            overlap[:, best] = 0.0


def find_all_errors(
    truth: GroundTruth, detections: Mapping[str, ImageDetections], confidence: float
) -> list[ImageErrors]:
    """Return `find_errors` of every image."""
    nothing = ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    return [find_errors(image, detections.get(image.name, nothing), confidence) for image in truth.images]


def count_confusions(truth: GroundTruth, errors: list[ImageErrors]) -> np.ndarray:
    """Return the (K + 1, K + 1) confusion matrix: annotated class by detected class, the last one background.

    Its last column holds missed objects, its last row false detections; what is ignored stands nowhere.
    """
    index = {category: row for row, category in enumerate(sorted(truth.names))}
    background = len(index)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for image, found in zip(truth.images, errors, strict=True):
        annotated = np.array([*(index[int(c)] for c in image.classes), background])[found.partner]
        detected = np.array([index[int(c)] for c in found.classes], dtype=np.int64)
        counted = ~found.ignored
        np.add.at(matrix, (annotated[counted], detected[counted]), 1)
        missed = np.array([index[int(c)] for c in image.classes[missed_objects(image, found)]], dtype=np.int64)
        np.add.at(matrix, (missed, np.full(len(missed), background)), 1)
    return matrix


def best_confidence(matching: Matching) -> tuple[float, float]:
    """Return the confidence at which F1, averaged over classes with objects, is highest, and that F1.

    Args:
        matching: Made with one threshold and one area range; its first ones are used.

    Returns:
        The lowest score that is kept, and the mean F1; (0, 0) where nothing was found or there is no object.
    """
    totals = matching.objects[0].sum(-1)
    counted = ~matching.ignored[0, 0]
    hits = matching.hit[0, 0] & counted
    if not len(matching.score) or not hits.any():
        return 0.0, 0.0
    candidates = _candidate_scores(matching.score[counted])
    curves = [
        _f1_curve(matching.score[rows], hits[rows], int(totals[category]), candidates)
        for category in np.flatnonzero(totals)
        for rows in [counted & (matching.category == category)]
    ]
    mean = np.mean(curves, axis=0)
    best = int(mean.argmax())
    return float(candidates[best]), float(mean[best])


def _candidate_scores(scores: np.ndarray) -> np.ndarray:
    """Return at most 1000 of the scores, evenly by rank, falling."""
    falling = np.unique(scores)[::-1]
    if len(falling) <= _MOST_CANDIDATES:
        return falling
    return falling[np.linspace(0, len(falling) - 1, _MOST_CANDIDATES).round().astype(int)]


def _f1_curve(scores: np.ndarray, hits: np.ndarray, objects: int, candidates: np.ndarray) -> np.ndarray:
    """Return F1 = 2 TP / (objects + detections) of one class at falling confidences; scores are falling."""
    kept = np.searchsorted(-scores, -candidates, side="right")
    found = np.concatenate([[0], np.cumsum(hits)])[kept]
    return 2 * found / (objects + kept)
