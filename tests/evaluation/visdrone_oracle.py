"""The VisDrone-DET evaluation once more, slow and plain, as the oracle of `uavdet.evaluation.visdrone`.

Written from the rules of the official MATLAB toolkit (VisDrone2018-DET-toolkit), one function a rule, without a look
at the package. The usual short account of these rules is: delete what lies to 50 % in an ignored region, score 0 is
ignored, take the first `maxDets` rows, match greedily, all-point AP, mean weighted by images. The toolkit says more,
and in places other than that account; here it is followed to the letter:

* Regions and boxes are 1-based pixel indices without a shift by one. Regions are used as they are, each of x, y, w, h
  at least 1, and hold w + 1 columns and h + 1 rows, both ends included. Boxes are rounded, halves away from zero,
  each of x, y, w, h at least 1; a box stands for the columns x + 1 to x + w and the rows y + 1 to y + h, because the
  integral image is read at its corner. A region's left and top edges so reach one pixel further than drawn. The
  covered share is of the rounded, unclipped w * h: what sticks out of the image counts as not covered.
  Regions that are no whole numbers make the toolkit fail, and this oracle too.
* Objects and detections go at a share of 0.5 and more. Objects of score 0 go as well, so that they no longer count.
* The first `maxDets` rows are those of the file in its own order, whatever the scores, after that deletion. Rows of
  classes that nobody scores (0, 11) take a place among them.
* A detection takes the normal object of the highest IoU that is at least the threshold and still free; among equal
  ones the last. Only where there is none, an ignored object (score 0) with intersection / detection area at least the
  threshold takes it: it is then neither right nor wrong. Boxes are not rounded here, and have no extra pixel.
* Ignored objects do count in the denominator of recall: neither hit nor miss holds for precision alone. A class with
  two objects, one of them ignored, reaches at most recall 0.5 and AP 0.5.
* A class enters the mean once for each image that holds an object of it after the deletion, ignored objects included;
  a class whose objects are all ignored has AP 0 and its weight. The ARs are weighted in this way as well.
* Among equal scores the earlier image and the earlier row come first.
* The toolkit cannot read an empty file of results; here it is an image without detections. Its numbers are percent,
  these are in [0, 1]. The plain class mean (`_macro`) is an addition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

CATEGORIES = range(1, 11)
MAX_DETECTIONS = (1, 10, 100, 500)
METRICS = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500", "AP_macro", "AP50_macro", "AP75_macro")
# MATLAB's 0.5:0.05:0.95 counts the lower half from the start and the upper half from the end.
THRESHOLDS = [0.5 + 0.05 * k for k in range(5)] + [0.95 - 0.05 * k for k in range(4, -1, -1)]


@dataclass
class Image:
    """One image: rows of its annotation file (x, y, w, h, score, category, ...) and of its result file."""

    width: int
    height: int
    truth: list[list[float]] = field(default_factory=list)
    detections: list[list[float]] = field(default_factory=list)


def car(x, y, w=10, h=10, score=1):
    return [x, y, w, h, score, 4, 0, 0]


def region(x, y, w, h):
    return [x, y, w, h, 0, 0, 0, 0]


def found(x, y, w=10, h=10, score=0.9, category=4):
    return [x, y, w, h, score, category]


def round_half_away(value):
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def ignored_mask(image):
    """Return (height, width) booleans; row 0 and column 0 are the toolkit's row 1 and column 1."""
    mask = np.zeros((image.height, image.width), dtype=bool)
    for row in image.truth:
        if row[5] == 0:
            if any(value != int(value) for value in row[:4]):
                raise ValueError(f"region {row[:4]} is no whole number")
            x, y, w, h = (max(1, int(value)) for value in row[:4])
            for column in range(x, min(image.width, x + w) + 1):
                for line in range(y, min(image.height, y + h) + 1):
                    mask[line - 1, column - 1] = True
    return mask


def covered_share(row, mask):
    height, width = mask.shape
    x, y, w, h = (max(1, round_half_away(value)) for value in row[:4])
    x, y = min(width, x), min(height, y)
    first_column, last_column = x + 1, min(width, x + w)
    first_line, last_line = y + 1, min(height, y + h)
    covered = mask[first_line - 1 : last_line, first_column - 1 : last_column].sum()
    return covered / (w * h)


def without_ignored(image):
    """Return the objects and detections that are left when those in ignored regions are gone."""
    objects = [row for row in image.truth if row[5] != 0]
    if len(objects) == len(image.truth):
        return objects, list(image.detections)
    mask = ignored_mask(image)
    return (
        [row for row in objects if covered_share(row, mask) < 0.5],
        [row for row in image.detections if covered_share(row, mask) < 0.5],
    )


def overlap(detection, truth, ignored):
    """Return IoU, or for an ignored object the intersection in the detection's area."""
    width = min(detection[0] + detection[2], truth[0] + truth[2]) - max(detection[0], truth[0])
    height = min(detection[1] + detection[3], truth[1] + truth[3]) - max(detection[1], truth[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = detection[2] * detection[3]
    whole = area if ignored else area + truth[2] * truth[3] - width * height
    return width * height / whole


def match(objects, detections, threshold):
    """Match one class in one image.

    Returns:
        (score, flag) of each detection, highest first: 1 right, 0 wrong, -1 neither.
    """
    normal = [row for row in objects if row[4] != 0]
    ignored = [row for row in objects if row[4] == 0]
    free = [True] * len(normal)
    flags = []
    for detection in sorted(detections, key=lambda row: -row[4]):
        best, chosen = threshold, None
        for index, row in enumerate(normal):
            if free[index] and overlap(detection, row, False) >= best:
                best, chosen = overlap(detection, row, False), index
        if chosen is not None:
            free[chosen] = False
            flags.append((detection[4], 1))
        elif any(overlap(detection, row, True) >= threshold for row in ignored):
            flags.append((detection[4], -1))
        else:
            flags.append((detection[4], 0))
    return flags


def curve(images, category, threshold, most):
    """Return recall and precision after each detection of a class, over all images, by falling score."""
    number, flags = 0, []
    for objects, detections in images:
        own = [row for row in objects if row[5] == category]
        number += len(own)
        flags += match(own, [row for row in detections[:most] if row[5] == category], threshold)
    recall, precision, hits, misses = [], [], 0, 0
    for _, flag in sorted(flags, key=lambda pair: -pair[0]):
        hits += flag == 1
        misses += flag == 0
        recall.append(hits / max(1, number))
        precision.append(hits / max(1, hits + misses))
    return recall, precision


def all_point_ap(recall, precision):
    recall, precision = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for index in range(len(precision) - 2, -1, -1):
        precision[index] = max(precision[index], precision[index + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def score_class(images, category):
    aps, recalls = [], {most: [] for most in MAX_DETECTIONS}
    for threshold in THRESHOLDS:
        for most in MAX_DETECTIONS:
            recall, precision = curve(images, category, threshold, most)
            recalls[most].append(max(recall, default=0.0))
        aps.append(all_point_ap(recall, precision))  # of the last run, with 500
    scores = {"AP": sum(aps) / 10, "AP50": aps[0], "AP75": aps[5]}
    return scores | {f"AR{most}": sum(values) / 10 for most, values in recalls.items()}


def evaluate(images):
    """Return AP, AP50, AP75, AR1, AR10, AR100, AR500 in [0, 1], each also as `_macro`, and `per_class` by category.

    NaN where no object is left to score.
    """
    left = [without_ignored(image) for image in images]
    weights = {c: sum(any(row[5] == c for row in objects) for objects, _ in left) for c in CATEGORIES}
    per_class = {category: score_class(left, category) for category, weight in weights.items() if weight}
    result = {"per_class": per_class}
    for name in ("AP", "AP50", "AP75", *(f"AR{most}" for most in MAX_DETECTIONS)):
        values = {category: scores[name] for category, scores in per_class.items()}
        total = sum(weights[category] for category in values)
        result[name] = sum(weights[c] * v for c, v in values.items()) / total if values else math.nan
        result[f"{name}_macro"] = sum(values.values()) / len(values) if values else math.nan
    return result
