"""Scores detections of any origin, from a file, without a model: `uavdet val predictions=FILE data=YAML`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from uavdet.arguments import defaults_of, parse_options
from uavdet.data.config import check_class_ids, load_data_config
from uavdet.errors import UsageError
from uavdet.evaluation.predictions import read_predictions
from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.scoring import read_truth, write_evaluation
from uavdet.evaluation.truth import GroundTruth, ImageDetections, restrict_truth
from uavdet.run_folders import output_folder

_TAKEN = frozenset(
    {"predictions", "data", "split", "protocol", "project", "name", "exist_ok", "json", "verbose", "plots"}
    | {"conf", "classes", "single_cls"}
)


def score_predictions(**options: Any) -> dict[str, Any]:
    """Score a file of detections and write the report of a validation.

    Args:
        **options: `predictions` and `data`; `protocol`, `split`, `conf` (detections below it are left out), `classes`,
            `single_cls`, `project`, `name`, `exist_ok`, `plots` and `verbose`, as in `uavdet val`.

    Returns:
        Metrics as `protocol/metric`, and `save_dir`.

    Raises:
        UsageError: An option means nothing without a model.
        DataError: The detections or the annotations cannot be used.
    """
    parsed = parse_options(options, "val")
    for name, value in parsed.items():
        if name not in _TAKEN and value is not None:
            raise UsageError(f"'{name}' has no effect on predictions=, which runs no model. Remove it.")
    settings = {**defaults_of("val"), **parsed}
    protocols = find_protocols(settings["protocol"])
    data = load_data_config(settings["data"])
    check_class_ids(settings["classes"], data.names, data.yaml_file)
    truth, files = read_truth(data, settings["split"])
    detections = _choose(read_predictions(settings["predictions"], truth), settings)
    truth = restrict_truth(truth, settings["classes"], settings["single_cls"])
    scores = [protocol.score(truth, detections) for protocol in protocols]
    folder = output_folder("val", settings)
    noted = {key: settings[key] for key in ("name", "split", "conf", "single_cls", "classes")}
    noted |= {"run": str(folder), "data": str(data.yaml_file)}
    noted["predictions"] = settings["predictions"]
    table = write_evaluation(folder, truth, detections, scores, files, settings=noted, plots=settings["plots"])
    if not any(value > 0 for score in scores for value in score.metrics.values()) and truth.counts.any() and detections:
        logging.getLogger(__name__).warning(
            f"No detection of {settings['predictions']} finds an object: are they of these images and classes?"
        )
    if settings["verbose"]:
        print(f"{_summary(truth, detections)}\n{table}\nResults: {folder}", file=sys.stdout, flush=True)
    return {key: value for score in scores for key, value in score.as_row().items()} | {"save_dir": str(folder)}


def _choose(detections: dict[str, ImageDetections], settings: Mapping[str, Any]) -> dict[str, ImageDetections]:
    """Return the detections that `conf`, `classes` and `single_cls` leave."""
    chosen, conf, classes = {}, settings["conf"], settings["classes"]
    for name, found in detections.items():
        kept = found.scores >= conf if conf is not None else found.scores == found.scores
        if classes is not None:
            kept &= [category in classes for category in found.classes]
        ids = found.classes[kept]
        one = replace(found, boxes=found.boxes[kept], scores=found.scores[kept], classes=ids)
        chosen[name] = replace(one, classes=ids * 0) if settings["single_cls"] else one
    return chosen


def _summary(truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> str:
    without = sum(image.name not in detections or not len(detections[image.name].boxes) for image in truth.images)
    count = sum(len(found.boxes) for found in detections.values())
    objects, regions = int(truth.counts.sum()), sum(len(image.ignore_regions) for image in truth.images)
    return (
        f"{len(truth.images)} images, {objects} objects, {regions} ignored regions, {count} detections; "
        f"{without} images without a detection"
    )
