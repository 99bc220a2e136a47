"""Average precision of resampled images, without matching anything again.

A bootstrap sample draws as many images as there are, with replacement; an image drawn w times counts as w images. What
a detection hits does not depend on other images, so a sample only weighs every detection and every object by its
image's w. AP is that of the whole resampled set, not a mean over images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from uavdet.evaluation.matching import Matching
from uavdet.evaluation.precision import RECALLS

# Numbers in one working array (0.5 MB of float64): those of one class and some samples stay near the processor.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class SampledPrecision:
    """AP and recall of S samples, for A area ranges and T IoU thresholds, as means over the classes with objects.

    Attributes:
        precision: (S, A, T) average precision; NaN where a sample has no object.
        recall: (S, A, T) recall with all detections.
    """

    precision: np.ndarray
    recall: np.ndarray


def draw_image_weights(images: int, samples: int, seed: int) -> np.ndarray:
    """Return (S, I) int64: how often each image is drawn in each sample; rows sum to the number of images."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=samples)


def sample_precision(matching: Matching, weights: np.ndarray) -> SampledPrecision:
    """Return AP and recall of every sample, by COCO's 101 recall points.

    Equal to scoring a set in which each image stands as often as its weight says, copies side by side; where detections
    of one image tie in score, the order of the copies differs, and AP with it.

    Args:
        matching: Detections matched once.
        weights: (S, I) how often each image counts, whole numbers.
    """
    areas, count = matching.hit.shape[:2]
    classes = matching.objects.shape[1]
    by_image = np.ascontiguousarray(weights.T, dtype=np.float64)
    sums = np.zeros((2, len(weights), areas, count))
    scored = np.zeros((len(weights), areas, 1))
    bounds = np.searchsorted(matching.category, np.arange(classes + 1))
    for category in range(classes):
        rows = slice(bounds[category], bounds[category + 1])
        objects = (matching.objects[:, category].astype(np.float64) @ by_image).T
        scored += objects[..., None] > 0
        for area, threshold in np.ndindex(areas, count):
            if objects[:, area].any():
                curve = _Curve.of(matching, rows, area, threshold)
                sums[:, :, area, threshold] += curve.summarise(by_image, objects[:, area])
    means = np.divide(sums, scored, out=np.full(sums.shape, np.nan), where=scored > 0)
    return SampledPrecision(means[0], means[1])


@dataclass(frozen=True)
class _Curve:
    """The detections of one class at one area range and IoU threshold, by falling score, ignored ones left out.

    Precision need be known at hits alone: between them it only falls.

    Attributes:
        hit_images: (J,) image of each hit.
        counts: (J, I) sparse: row j holds the images of the detections after hit j - 1, up to hit j and with it.
    """

    hit_images: np.ndarray
    counts: Any

    @classmethod
    def of(cls, matching: Matching, rows: slice, area: int, threshold: int) -> _Curve:
        from scipy.sparse import csr_matrix

        kept = ~matching.ignored[area, threshold, rows]
        images = matching.image[rows][kept]
        hits = np.flatnonzero(matching.hit[area, threshold, rows][kept])
        bounds = np.concatenate([[0], hits + 1])
        images, hit_images = images[: bounds[-1]], images[hits]
        shape = (len(hits), matching.objects.shape[-1])
        return cls(hit_images, csr_matrix((np.ones(len(images)), images, bounds), shape=shape))

    def summarise(self, by_image: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Return (2, S) AP and recall, 0 for samples without an object.

        Args:
            by_image: (I, S) weights.
            objects: (S,) number of objects in each sample.
        """
        result = np.zeros((2, len(objects)))
        if len(self.hit_images):
            for samples in self._chunks(len(objects)):
                result[:, samples] = self._summarise(by_image[:, samples], objects[samples])
        return result

    def _chunks(self, samples: int) -> Iterator[slice]:
        size = max(1, _CHUNK // len(self.hit_images))
        return (slice(start, start + size) for start in range(0, samples, size))

    def _summarise(self, by_image: np.ndarray, objects: np.ndarray) -> np.ndarray:
        hits = np.cumsum(np.ascontiguousarray(by_image[self.hit_images].T), axis=1)
        found = np.cumsum(np.ascontiguousarray((self.counts @ by_image).T), axis=1)
        precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
        # the highest precision at this or a later hit
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        heights = _heights(envelope, _first_places(hits, _hits_needed(objects))).mean(1)
        recall = np.divide(hits[:, -1], objects, out=np.zeros_like(objects), where=objects > 0)
        return np.stack([heights, recall])


def _first_places(hits: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """Return (S, R) where each row of rising counts (S, J) first reaches what is needed (S, R); J where it never does.

    One search for all rows: they are laid end to end, each lifted above the one before.
    """
    samples, count = hits.shape
    lift = (np.arange(samples) * (hits[:, -1].max() + 2))[:, None]
    within_reach = np.minimum(needed, hits[:, -1:] + 1)
    return np.searchsorted((hits + lift).ravel(), within_reach + lift) - np.arange(samples)[:, None] * count


def _heights(envelope: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the envelope (S, J) at places (S, R); 0 at J."""
    inside = places < envelope.shape[1]
    return np.where(inside, np.take_along_axis(envelope, np.where(inside, places, 0), axis=1), 0.0)


def _hits_needed(objects: np.ndarray) -> np.ndarray:
    """Return (S, 101) the fewest hits with which hits / objects, rounded as COCO's tools do, reaches each recall."""
    total = np.maximum(objects, 1)[:, None]
    needed = np.ceil(RECALLS * total)
    needed -= (needed - 1) / total >= RECALLS
    return needed + (needed / total < RECALLS)
