"""COCO's protocol: AP over IoU .50:.05:.95, by size, with at most 100 detections an image.

Counted by faster-coco-eval; equal to pycocotools on the same boxes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from uavdet.evaluation.truth import GroundTruth, ImageDetections


@dataclass(frozen=True)
class CocoMetrics:
    """Average precision in [0, 1]; NaN where the ground truth has no object to score.

    Attributes:
        ap: Over IoU .50:.05:.95 and classes.
        ap50: At IoU .50.
        ap75: At IoU .75.
        ap_small: Of objects below 32^2 square pixels.
        ap_medium: From 32^2 to 96^2.
        ap_large: Above 96^2.
        ar: Average recall with all detections allowed.
        per_class: AP and AP50 by class name, for classes that occur.
        max_detections: Most detections an image.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar: float
    per_class: dict[str, dict[str, float]]
    max_detections: int

    def as_row(self) -> dict[str, float]:
        """Return the summary numbers under the names that results.csv uses; NaN becomes -1, as in COCO's tools."""
        names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "AP_small", "ap_medium": "AP_medium"}
        names |= {"ap_large": "AP_large", "ar": "AR"}
        values = asdict(self)
        return {f"coco/{label}": _finite(values[name]) for name, label in names.items()}


def _finite(value: float) -> float:
    return -1.0 if np.isnan(value) else float(value)


def score_coco(truth: GroundTruth, detections: dict[str, ImageDetections], max_detections: int = 100) -> CocoMetrics:
    """Score detections by COCO's protocol.

    Args:
        truth: The annotated images.
        detections: By image file name; an image without an entry has no detection.
        max_detections: Most detections an image and class, by score; 100 in COCO.

    Raises:
        ValueError: A detection belongs to no annotated image.
    """
    unknown = detections.keys() - {image.name for image in truth.images}
    if unknown:
        raise ValueError(
            f"Detections for '{min(unknown)}', which is not among the {len(truth.images)} annotated images."
        )
    evaluation = _evaluate(truth, detections, max_detections)
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    thresholds = evaluation.params.iouThrs
    names = truth.names
    return CocoMetrics(
        ap=_mean(precision[..., 0, -1]),
        ap50=_mean(precision[np.isclose(thresholds, 0.5)][..., 0, -1]),
        ap75=_mean(precision[np.isclose(thresholds, 0.75)][..., 0, -1]),
        ap_small=_mean(precision[..., 1, -1]),
        ap_medium=_mean(precision[..., 2, -1]),
        ap_large=_mean(precision[..., 3, -1]),
        ar=_mean(recall[..., 0, -1]),
        per_class={
            names[index]: {"AP": _mean(column), "AP50": _mean(column[np.isclose(thresholds, 0.5)])}
            for index, column in enumerate(np.moveaxis(precision[..., 0, -1], 2, 0))
            if (column > -1).any()
        },
        max_detections=max_detections,
    )


def _mean(values: np.ndarray) -> float:
    """Return the mean of the valid entries; -1 marks classes without an object."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")


def _evaluate(truth: GroundTruth, detections: dict[str, ImageDetections], max_detections: int) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    truth_api = COCO(_coco_truth(truth), print_function=_silent)
    images = {image.name: number for number, image in enumerate(truth.images, start=1)}
    results = _results(detections, images, {index: index + 1 for index in truth.names})
    evaluation = COCOeval_faster(truth_api, _load(truth_api, results), "bbox", print_function=_silent)
    evaluation.params.maxDets = [1, 10, max_detections]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _silent(*_: Any) -> None:
    """Take a message of the evaluation library and drop it."""


def _load(truth_api: Any, results: list[dict[str, Any]]) -> Any:
    """Return the results as the library's object; it refuses an empty list, which is a legitimate result here."""
    from faster_coco_eval import COCO

    if results:
        return truth_api.loadRes(results)
    return COCO({**truth_api.dataset, "annotations": []}, print_function=_silent)


def _coco_truth(truth: GroundTruth) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(truth.images, start=1):
        for box, category, area, crowd in zip(image.boxes, image.classes, image.areas, image.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(category) + 1,
                    "bbox": _xywh(box),
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    images = [
        {"id": i, "file_name": image.name, "width": image.size[0], "height": image.size[1]}
        for i, image in enumerate(truth.images, start=1)
    ]
    categories = [{"id": index + 1, "name": name} for index, name in truth.names.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def coco_results(truth: GroundTruth, detections: dict[str, ImageDetections]) -> list[dict[str, Any]]:
    """Return detections as COCO results, under the ids of the annotations.

    Where those have no ids, images are numbered from 1, and a category is its class id plus 1.
    """
    numbers = {image.name: number for number, image in enumerate(truth.images, start=1)}
    images = {image.name: numbers[image.name] if image.image_id is None else image.image_id for image in truth.images}
    return _results(detections, images, {**{c: c + 1 for c in truth.names}, **truth.category_ids})


def _results(
    detections: dict[str, ImageDetections], images: dict[str, Any], categories: dict[int, Any]
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": images[name],
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
