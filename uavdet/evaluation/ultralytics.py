"""The number that Ultralytics' own validator prints, computed by its own functions from the same boxes.

It stands in the table so that users see how far it lies from the published protocols, not to be published: matching is
not COCO's, the area is a trapezoid under 101 points, ignored regions and crowds do not exist, and 300 detections an
image count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from uavdet.evaluation.arrays import flatten_detections
from uavdet.evaluation.protocol import Protocol, Score
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

_CONFIDENCE = 0.001  # the default of its validator
_THRESHOLDS = 10  # IoU .50:.05:.95


class UltralyticsProtocol(Protocol):
    """Precision and recall at the confidence of the best F1, AP at IoU .50, and AP over IoU .50:.05:.95.

    Objects are those that a YOLO text file holds: no crowds, clipped to the image, repeated rows once. Detections are
    the best 300 of an image above confidence 0.001; where an image has more objects than that, as many as it has: the
    validator raises its own default in this way.

    Detections are taken as they are. The validator matches them before they are clipped to the image, so that the
    clipped ones of a file may score a little otherwise where objects reach out of the image.
    """

    name = "ultralytics"
    max_detections = 300
    rules = "Ultralytics' matching and area; 300 detections an image above 0.001; ignored regions count as background"

    def score(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Score:
        """Return P, R, AP50 and AP, all of them also by class.

        Raises:
            DataError: See `Protocol.score`.
            MissingDependencyError: Ultralytics or PyTorch is not installed.
        """
        flatten_detections(truth, detections)  # refuses what cannot be scored
        import uavdet.environment  # noqa: F401  (before the first import of Ultralytics)

        objects = [_label_rows(image) for image in truth.images]
        limit = max([self.max_detections, *map(len, objects)])
        found = [_best_rows(detections.get(image.name), limit) for image in truth.images]
        return self._summarise(_average_precision(objects, found), truth.names)

    def _summarise(self, by_class: dict[int, np.ndarray], names: Mapping[int, str]) -> Score:
        """Return the score from P, R and the AP at each threshold (2 + 10,) of each class that has objects."""
        rows = {names[index]: _name_metrics(values) for index, values in by_class.items()}
        empty = np.full(2 + _THRESHOLDS, np.nan)
        mean = np.mean([*by_class.values()], axis=0) if by_class else empty
        return Score(self.name, _name_metrics(mean), rows, self.rules)


def _name_metrics(values: np.ndarray) -> dict[str, float]:
    precision, recall, average = values[0], values[1], values[2:]
    return {"P": float(precision), "R": float(recall), "AP50": float(average[0]), "AP": float(average.mean())}


def _label_rows(image: ImageTruth) -> np.ndarray:
    """Return the rows (N, 5) of class and xyxy in pixels that a label file of the image would hold."""
    boxes = np.clip(image.boxes, 0, np.tile(image.size, 2))
    kept = ~image.crowd & (boxes[:, 2:] > boxes[:, :2]).all(1)
    rows = np.column_stack([image.classes, boxes])[kept]
    return rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])]


def _best_rows(found: ImageDetections | None, limit: int) -> np.ndarray:
    """Return the rows (N, 6) of class, xyxy in pixels and score, highest score first."""
    if found is None:
        return np.zeros((0, 6))
    order = np.argsort(-np.asarray(found.scores), kind="stable")
    rows = np.column_stack([found.classes, found.boxes, found.scores])[order]
    return rows[rows[:, 5] > _CONFIDENCE][:limit]


def _average_precision(objects: list[np.ndarray], found: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Return P, R and AP at each threshold (2 + 10,) by class id, for the classes that have objects."""
    from ultralytics.utils.metrics import ap_per_class

    if not any(len(rows) for rows in objects):
        return {}
    correct = np.concatenate([_match(truth, rows) for truth, rows in zip(objects, found, strict=True)])
    rows = np.concatenate(found).astype(np.float32)  # its validator keeps scores in float32
    classes = np.concatenate(objects)[:, 0]
    _, _, precision, recall, _, average, indices, *_ = ap_per_class(correct, rows[:, 5], rows[:, 0], classes)
    values = np.column_stack([precision, recall, average])
    return {int(index): row for index, row in zip(indices, values, strict=True)}


def _match(objects: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return (N, 10) booleans: whether each detection of an image is correct at each IoU threshold."""
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import box_iou

    if not len(objects) or not len(found):
        return np.zeros((len(found), _THRESHOLDS), dtype=bool)
    truth, rows = torch.from_numpy(objects), torch.from_numpy(found)
    matcher: Any = SimpleNamespace(iouv=torch.linspace(0.5, 0.95, _THRESHOLDS))  # all that the method asks of its owner
    iou = box_iou(truth[:, 1:5], rows[:, 1:5])
    return np.asarray(BaseValidator.match_predictions(matcher, rows[:, 0], truth[:, 0], iou))
