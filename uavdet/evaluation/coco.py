"""COCO's protocol, its variant for crowded images, and what protocols of its kind share.

Equal to pycocotools on the same boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from uavdet.evaluation.bootstrap import sample_precision
from uavdet.evaluation.matching import Matching, match_detections
from uavdet.evaluation.precision import highest_recall, mean_of_valid, precision_recall
from uavdet.evaluation.protocol import Protocol, Score
from uavdet.evaluation.truth import GroundTruth, ImageDetections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


class CocoLike(Protocol):
    """A protocol that differs from COCO's in sizes, in the detections it takes and in what it ignores.

    Metrics: AP is the mean over IoU .50:.05:.95 and classes, at the most detections; AP50 and AP75 that at one IoU;
    AP_<size> that of objects of a size; AR<n> the highest recall with n detections an image and class, averaged like
    AP; AR and AR_<size> that at the most detections.

    Attributes:
        areas: Name of a size to (lowest, highest) area in square pixels, both inclusive.
        limits: Detections an image and class at which recall is given; the last is `max_detections`.
        regions_as_crowd: Whether ignore regions are crowds of every class.
    """

    areas: ClassVar[Mapping[str, tuple[float, float]]]
    limits: ClassVar[tuple[int, ...]]
    regions_as_crowd: ClassVar[bool] = False

    def score(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Score:
        """Return the scores of detections; see `Protocol.score`."""
        matching = self.match(truth, detections)
        precision, recall = precision_recall(matching)
        metrics = self._metrics(precision, recall)
        for limit in self.limits:
            metrics[f"AR{limit}"] = mean_of_valid(highest_recall(matching, limit)[0])
        per_class = {
            truth.names[class_id]: self._metrics(precision[..., [index]], recall[..., [index]])
            for index, class_id in enumerate(sorted(truth.names))
            if matching.objects[0, index].any()
        }
        return Score(self.name, metrics, per_class, self.rules)

    def match(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Matching:
        """Return the detections matched by these rules; the first area range is of all sizes, then come `areas`."""
        return match_detections(
            truth,
            detections,
            thresholds=THRESHOLDS,
            area_ranges=[(0.0, 1e10), *self.areas.values()],
            max_detections=self.limits[-1],
            regions_as_crowd=self.regions_as_crowd,
        )

    def resample(
        self, truth: GroundTruth, detections: Mapping[str, ImageDetections], weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return AP, AP50, AP75, AR and those of the sizes of resampled images; see `Protocol.resample`."""
        sampled = sample_precision(self.match(truth, detections), weights)
        by_area, recall = sampled.precision.mean(2), sampled.recall.mean(2)
        metrics = {"AP": by_area[:, 0], "AP50": sampled.precision[:, 0, 0], "AP75": sampled.precision[:, 0, 5]}
        metrics |= {f"AP_{size}": by_area[:, i] for i, size in enumerate(self.areas, start=1)}
        metrics["AR"] = recall[:, 0]
        return metrics | {f"AR_{size}": recall[:, i] for i, size in enumerate(self.areas, start=1)}

    def _metrics(self, precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
        """Return the means of precision (A, T, 101, K) and recall (A, T, K) by metric."""
        metrics = {
            "AP": mean_of_valid(precision[0]),
            "AP50": mean_of_valid(precision[0, 0]),
            "AP75": mean_of_valid(precision[0, 5]),
        }
        metrics |= {f"AP_{size}": mean_of_valid(precision[i]) for i, size in enumerate(self.areas, start=1)}
        metrics["AR"] = mean_of_valid(recall[0])
        return metrics | {f"AR_{size}": mean_of_valid(recall[i]) for i, size in enumerate(self.areas, start=1)}


class Coco(CocoLike):
    """COCO's protocol (Lin et al., 2014) as pycocotools has it: crowds are ignored, ignore regions are not known."""

    name = "coco"
    max_detections = 100
    rules = "100 detections an image and class; sizes at 32 and 96 pixels; crowds ignored, ignore regions not used"
    areas: ClassVar = _AREAS
    limits = (1, 10, 100)


class Coco500(CocoLike):
    """COCO's protocol with 500 detections an image and class, and ignore regions as crowds of every class."""

    name = "coco500"
    max_detections = 500
    rules = "500 detections an image and class; sizes at 32 and 96 pixels; crowds and ignore regions ignored as crowds"
    areas: ClassVar = _AREAS
    limits = (1, 10, 100, 500)
    regions_as_crowd = True


def score_coco(truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Score:
    """Score detections by COCO's protocol.

    Args:
        truth: The annotated images.
        detections: By image name; an image without an entry has no detection.

    Raises:
        DataError: See `Protocol.score`.
    """
    return Coco().score(truth, detections)


def coco_results(truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> list[dict[str, Any]]:
    """Return detections as COCO results, under the ids of the annotations; `file_name` tells which image is meant.

    Where those have no ids, images are numbered from 1, and a category is its class id plus 1.
    """
    numbers = {image.name: number for number, image in enumerate(truth.images, start=1)}
    images = {image.name: numbers[image.name] if image.image_id is None else image.image_id for image in truth.images}
    return _results(detections, images, {**{c: c + 1 for c in truth.names}, **truth.category_ids})


def _results(
    detections: Mapping[str, ImageDetections], images: dict[str, Any], categories: dict[int, Any]
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": images[name],
            "file_name": name,
            "category_id": categories[int(category)],
            "bbox": _xywh(box),
            "score": float(score),
        }
        for name, found in detections.items()
        for box, score, category in zip(found.boxes, found.scores, found.classes, strict=True)
    ]


def _xywh(box: np.ndarray) -> list[float]:
    left, top, right, bottom = (float(value) for value in box)
    return [left, top, right - left, bottom - top]
