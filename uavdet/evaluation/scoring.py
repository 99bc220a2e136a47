"""From detections to everything that `uavdet val` leaves, for a model's detections and for those of a file alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.data.config import DataConfig
from uavdet.data.labels import list_images, read_split
from uavdet.errors import DataError
from uavdet.evaluation.protocol import Score
from uavdet.evaluation.report import protocol_table, write_report
from uavdet.evaluation.truth import (
    GroundTruth,
    ImageDetections,
    check_boxes,
    read_coco_truth,
    select_images,
    truth_from_labels,
)
from uavdet.evaluation.visdrone import write_submission


def write_evaluation(
    folder: Path,
    truth: GroundTruth,
    detections: Mapping[str, ImageDetections],
    scores: list[Score],
    files: Mapping[str, Path],
    *,
    settings: Mapping[str, Any],
    plots: bool = True,
) -> str:
    """Write the report of a validation below its folder, and return the table of its scores.

    Where `visdrone` is among the protocols, the files for its evaluation server lie in `visdrone/`.
    """
    write_report(folder / "report", truth, dict(detections), scores, dict(files), settings=dict(settings), plots=plots)
    if any(score.protocol == "visdrone" for score in scores):
        write_submission(folder / "visdrone", truth, detections)
    return protocol_table(scores)


def read_truth(data: DataConfig, split: str) -> tuple[GroundTruth, dict[str, Path]]:
    """Return the truth of a split and its image files by name, without a model.

    Raises:
        DataError: Images, labels or annotations cannot be used.
    """
    images = list_images(data.require(split))
    if split in data.annotations:
        truth = read_coco_truth(data.annotations[split], data.names)
        check_boxes(truth, data.annotations[split])
        selected, names = select_images(truth, [str(image) for image in images], data.annotations[split])
        return selected, {name: Path(file) for file, name in names.items()}
    labels = read_split(images, data.nc)
    if labels.problems:
        raise DataError(f"{len(labels.problems)} images of '{split}' cannot be used: {labels.problems[0]}.")
    rows = [
        {"im_file": str(one.image), "shape": one.shape, "cls": one.rows[:, :1], "bboxes": one.rows[:, 1:]}
        for one in labels.images
    ]
    return truth_from_labels(rows, data.names), {str(one.image): one.image for one in labels.images}


def crowding_warning(truth: GroundTruth, limit: int, setting: str) -> str | None:
    """Return a warning where one image in a hundred has more objects than detections are made.

    Args:
        truth: The annotated images.
        limit: Most detections an image.
        setting: What raises it, such as `queries`.
    """
    if not truth.images:
        return None
    p99 = float(np.percentile(truth.counts, 99))
    if p99 <= limit:
        return None
    return (
        f"1 in 100 images has {p99:.0f} objects or more (the fullest {truth.counts.max()}), but an image gets at "
        f"most {limit} detections: recall is bounded by that. Give {setting}={int(np.ceil(p99 * 1.2 / 100) * 100)}."
    )
