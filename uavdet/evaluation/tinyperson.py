"""TinyPerson's protocol, which is SeaPerson's too: sizes of tiny objects, low thresholds, ignoring by IoD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from uavdet.evaluation.bootstrap import sample_precision
from uavdet.evaluation.matching import Matching, match_detections
from uavdet.evaluation.precision import mean_of_valid, precision_recall
from uavdet.evaluation.protocol import Protocol, Score
from uavdet.evaluation.truth import GroundTruth, ImageDetections

THRESHOLDS = {"25": 0.25, "50": 0.5, "75": 0.75}
AREAS = {
    "all": (1.0, 1e10),
    "tiny": (1.0, 20.0**2),
    "tiny1": (1.0, 8.0**2),
    "tiny2": (8.0**2, 12.0**2),
    "tiny3": (12.0**2, 20.0**2),
    "small": (20.0**2, 32.0**2),
    "reasonable": (32.0**2, 1e10),
}


class TinyPerson(Protocol):
    """The protocol of TinyPerson (Yu et al., WACV 2020) as its benchmark's fork of pycocotools has it.

    - AP at IoU .25, .50 and .75 over 101 recalls, by size in pixels: tiny1 2 to 8, tiny2 8 to 12, tiny3 12 to 20, tiny
      2 to 20, small 20 to 32, reasonable above; by annotated area, both ends count, and areas start at 1.
    - A detection that matches no object of the size is ignored where it shares at least the threshold of its own area
      (IoD) with an ignored object, an ignore region, or an object of another size. The fork gets that share from
      the IoU and the annotated area, which is the same where the area is the box's.
    - Images marked as dense (`ImageTruth.dense`) are left out.
    - AP<iou>_<size> takes 200 detections an image and class, as the benchmark does; those that end in `@1000` take
      1,000, as its successor for mmdetection does. The headline is AP50_tiny.
    """

    name = "tinyperson"
    max_detections = 1000
    rules = (
        "200 and 1,000 detections an image and class; sizes at 8, 12, 20 and 32 pixels; ignored objects and regions "
        "and other sizes ignored by IoD; dense images left out"
    )

    def score(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Score:
        """Return the scores of detections; see `Protocol.score`."""
        matching = self.match(truth, detections)
        precision, _ = precision_recall(matching.limited(200))
        metrics = _metrics(precision)
        all_metrics = _metrics(precision_recall(matching)[0])
        metrics |= {f"{name}@1000": value for name, value in all_metrics.items()}
        per_class = {
            truth.names[class_id]: _metrics(precision[..., [index]])
            for index, class_id in enumerate(sorted(truth.names))
            if matching.objects[0, index].any()
        }
        return Score(self.name, metrics, per_class, self.rules)

    def match(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Matching:
        """Return the detections matched by these rules, without the images marked as dense."""
        dense = {image.name for image in truth.images if image.dense}
        return match_detections(
            replace(truth, images=[image for image in truth.images if not image.dense]),
            {name: found for name, found in detections.items() if name not in dense},
            thresholds=list(THRESHOLDS.values()),
            area_ranges=list(AREAS.values()),
            max_detections=self.max_detections,
            regions_as_crowd=True,
            outside_as_crowd=True,
        )

    def resample(
        self, truth: GroundTruth, detections: Mapping[str, ImageDetections], weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the metrics of resampled images; see `Protocol.resample`."""
        matching = self.match(truth, detections)
        weights = weights[:, [not image.dense for image in truth.images]]
        few, many = (sample_precision(m, weights).precision for m in (matching.limited(200), matching))
        metrics = {name: few[:, area, limit] for name, area, limit in _columns()}
        return metrics | {f"{name}@1000": many[:, area, limit] for name, area, limit in _columns()}


def _columns() -> list[tuple[str, int, int]]:
    """Return the metrics with their area range and threshold: AP50 of all sizes, the headline first, then tiny."""
    wanted = [("50", size) for size in ("tiny", "tiny1", "tiny2", "tiny3", "small", "reasonable", "all")]
    wanted += [("25", "tiny"), ("75", "tiny")]
    return [(f"AP{iou}_{size}", list(AREAS).index(size), list(THRESHOLDS).index(iou)) for iou, size in wanted]


def _metrics(precision: np.ndarray) -> dict[str, float]:
    """Return the means of precision (A, T, 101, K) by metric."""
    return {name: mean_of_valid(precision[area, limit]) for name, area, limit in _columns()}
