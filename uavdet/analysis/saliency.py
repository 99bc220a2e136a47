"""`uavdet analyze saliency`: where the features lie that an object's score rests on, as in SET's Fig. 5 (CVPR 2025).

The saliency of a cell for an object is the L2 norm over the channels of the gradient of a score by a level's features,
as in the paper, or by the image. The score is that of the object's class before the sigmoid, of the prediction that
finds the object: behind the sigmoid the gradients of sure detections vanish. The gradient by a level is what the head
alone makes of it. The paper adds up an object's saliency within its box, which is `saliency_in_box` here; gradients of
two networks, or of two levels, have scales of their own, so shares of an object's whole saliency are given as well.
In a YOLO a score rests on few cells around its anchor, and on one level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uavdet.analysis.boxes import corners, touched_cells
from uavdet.analysis.predictions import Found, find_objects, read_predictions
from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.saliency_figure import draw_examples, draw_patches
from uavdet.analysis.saliency_report import (
    HEADER,
    PATCH,
    REACH,
    Example,
    MeanPatch,
    ObjectSaliency,
    SaliencyReport,
)
from uavdet.analysis.samples import SIZES, Sample, Samples, open_samples, size_of
from uavdet.analysis.table import write_rows
from uavdet.arguments import defaults_of

_CONFIDENCE = 0.05
_EXAMPLES = 3  # images in the picture of examples


def analyze_saliency(options: Mapping[str, Any]) -> SaliencyReport:
    """Measure where the features lie that the scores of found objects rest on.

    Args:
        options: See `uavdet.analysis.command.run_analyze`.

    Raises:
        UsageError: The model's classes are not the data's, or an option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        DataError: The split holds no object, or a damaged file.
    """
    options = {**defaults_of("analyze"), **options}
    conf = _CONFIDENCE if options["conf"] is None else options["conf"]
    samples = open_samples(options)
    samples.check_classes(options["model"])
    with new_results("saliency", options) as folder:
        report = measure_saliency(samples, options["gradient"], conf, folder)
        write_rows(folder / "saliency.csv", [row.row() for row in report.objects], HEADER)
        draw_patches(report, folder / "saliency.png", describe_subject(options))
        if report.examples:
            draw_examples(report, folder / "saliency-examples.png", describe_subject(options))
    return report


def measure_saliency(samples: Samples, gradient: str, conf: float, folder: Path) -> SaliencyReport:
    """Measure the saliency of every object.

    Args:
        samples: The detector and its images.
        gradient: `features` or `image`.
        conf: Lowest score of a prediction that finds an object.
        folder: Where the report goes.
    """
    levels = samples.levels if gradient == "features" else ["image"]
    patches = {level: {size: MeanPatch() for size in SIZES} for level in levels}
    rows: list[ObjectSaliency] = []
    examples: list[Example] = []
    images = 0
    for sample in samples:
        images += 1
        found, maps = object_maps(samples, sample, gradient, conf)
        heat = np.zeros(samples.size)
        for place, by_level in zip(found.object, maps, strict=True):
            heat += density(by_level, samples.size)
            size, box = size_of(sample.sides[place]), corners(sample.boxes)[place]
            for level, values in zip(levels, by_level, strict=True):
                add_patch(patches[level][size], values, box)
        rows += _measure(sample, samples.data.names, found, maps, levels)
        if len(found.object) and len(examples) < _EXAMPLES:
            examples.append(Example(sample, heat, np.isin(np.arange(len(sample.sides)), found.object)))
    return SaliencyReport(rows, patches, examples, images, gradient, conf, folder)


def object_maps(samples: Samples, sample: Sample, gradient: str, conf: float) -> tuple[Found, list[list[np.ndarray]]]:
    """Return which objects are found, and the saliency of each at every level.

    Args:
        samples: The detector.
        sample: The image.
        gradient: `features` or `image`.
        conf: Lowest score of a prediction that finds an object.

    Returns:
        What is found, and for each found object a map (h, w) float64 a level.
    """
    model: Any = samples.model
    if gradient == "image":
        inputs = [sample.image.clone().requires_grad_()]
        outputs = model.predict(inputs[0])
    else:
        with torch.no_grad():
            model.predict(sample.image)
        inputs = [maps.detach().clone().requires_grad_() for maps in samples.recorder.head_inputs]
        with samples.recorder.paused():
            outputs = model.model[-1](list(inputs))
    predictions = read_predictions(model, outputs, samples.size)
    found = find_objects(predictions, sample.boxes, sample.classes, conf)
    classes = sample.classes.cpu().numpy()[found.object]
    scores = [predictions.logits[int(row), int(index)] for row, index in zip(found.prediction, classes, strict=True)]
    return found, [[*_gradient_norms(score, inputs)] for score in scores]


def _gradient_norms(score: Tensor, inputs: list[Tensor]) -> Iterator[np.ndarray]:
    """Yield the L2 norm over the channels of a score's gradient by each input, (h, w) float64."""
    gradients = torch.autograd.grad(score, inputs, retain_graph=True, allow_unused=True)
    for maps, gradient in zip(inputs, gradients, strict=True):
        gradient = torch.zeros_like(maps) if gradient is None else gradient
        yield gradient[0].double().norm(dim=0).cpu().numpy()


def _measure(
    sample: Sample, names: Mapping[int, str], found: Found, maps: list[list[np.ndarray]], levels: list[str]
) -> Iterator[ObjectSaliency]:
    """Yield the rows of an image, in the order of its labels."""
    place_of = {int(row): place for place, row in enumerate(found.object)}
    boxes, classes = corners(sample.boxes), sample.classes.tolist()
    for number, side in enumerate(sample.sides.tolist()):
        known = (sample.name, number, names[classes[number]], side)
        if number not in place_of:
            yield ObjectSaliency(*known)
            continue
        place = place_of[number]
        of_prediction = (float(found.scores[place]), float(found.overlaps[place]))
        for level, values in zip(levels, maps[place], strict=True):
            yield ObjectSaliency(*known, *of_prediction, level, *measure_map(values, boxes[number], sample))


def measure_map(
    values: np.ndarray, box: np.ndarray, sample: Sample
) -> tuple[float, float, float | None, float | None, float, float | None]:
    """Return the total of a map, its sum in the box, shares in box and ring, the box's share of cells, and the spread.

    Args:
        values: (h, w), at least 0.
        box: (4,) xyxy in [0, 1].
        sample: The image; the spread is in pixels of its file.
    """
    height, width = values.shape
    inside = touched_cells(box[None], (height, width))[0]
    side = box[2:] - box[:2]
    reach = np.maximum(side, [1 / width, 1 / height])
    grown = touched_cells(np.concatenate([box[:2] - reach, box[2:] + reach])[None], (height, width))[0]
    total, in_box = float(values.sum()), float(values[inside].sum())
    area = float(inside.mean())
    if not total:
        return total, in_box, None, None, area, None
    to_pixels = np.array(sample.image.shape[:1:-1]) * sample.scale
    centre = (box[:2] + box[2:]) / 2
    across = ((np.arange(width) + 0.5) / width - centre[0]) * to_pixels[0]
    down = ((np.arange(height) + 0.5) / height - centre[1]) * to_pixels[1]
    distance = np.hypot(down[:, None], across).ravel()
    order = distance.argsort(kind="stable")
    half = int(np.searchsorted(values.ravel()[order].cumsum(), total / 2))
    spread = float(distance[order[min(half, distance.size - 1)]])
    return total, in_box, in_box / total, float(values[grown & ~inside].sum()) / total, area, spread


def add_patch(patch: MeanPatch, values: np.ndarray, box: np.ndarray) -> None:
    """Add what lies around a box to the mean of its size.

    A map of zeros, as levels that take no part have, is left out.

    Args:
        patch: The mean.
        values: (h, w), at least 0.
        box: (4,) xyxy in [0, 1].
    """
    if not values.any():
        return
    height, width = values.shape
    steps = ((np.arange(PATCH) + 0.5) / PATCH - 0.5) * REACH
    centre, side = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    columns, rows = (np.floor((centre[axis] + steps * side[axis]) * (width, height)[axis]) for axis in (0, 1))
    valid = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    picked = values[rows.clip(0, height - 1).astype(int)[:, None], columns.clip(0, width - 1).astype(int)]
    patch.total += np.where(valid, picked / values.mean(), 0)
    patch.weight += valid
    patch.objects += 1


def density(maps: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return the saliency of an object over the pixels of the input, all levels together; it adds up to 1.

    Args:
        maps: (h, w) each.
        size: (height, width) of the input in pixels.
    """
    total = sum(float(values.sum()) for values in maps)
    heat = np.zeros(size)
    for values in maps if total else ():
        rows, columns = (np.arange(size[axis]) * values.shape[axis] // size[axis] for axis in (0, 1))
        cell = (size[0] // values.shape[0]) * (size[1] // values.shape[1])
        heat += values[rows[:, None], columns] / (total * cell)
    return heat
