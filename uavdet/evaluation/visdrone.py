"""VisDrone's protocol, by the rules of its official detection toolkit, and the files that its server takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from uavdet.errors import DataError
from uavdet.evaluation.arrays import box_sides, flatten_detections, flatten_objects
from uavdet.evaluation.coco import THRESHOLDS
from uavdet.evaluation.matching import match_detections
from uavdet.evaluation.precision import all_point_precision, count_hits
from uavdet.evaluation.protocol import Protocol, Score
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

LIMITS = (1, 10, 100, 500)


class VisDrone(Protocol):
    """The protocol of VisDrone-DET (Zhu et al., 2018), as its MATLAB toolkit has it in calcAccuracy.m and evalRes.m.

    - Objects and detections with at least half of their area in ignore regions are deleted (`drop_ignored`).
    - The best 1, 10, 100 or 500 detections of an image count, over all classes; AP looks at 500. The toolkit takes
      the first rows of a result file, which must be sorted by score; here the scores decide.
    - Objects that the annotators gave the score 0 (`ImageTruth.crowd`) are neither right nor wrong: detections match
      them by intersection over the detection's area, any number of them. They still count in the denominator of the
      recall, as in the toolkit.
    - AP is the area under the precision-recall curve made monotone, at all its points instead of COCO's 101.
    - The toolkit lists a class once for every image that has it, so that its mean over classes is weighted by those
      numbers of images: AP, AP50, AP75, AR1 to AR500. Those that end in `_macro` are plain means over the classes.
    """

    name = "visdrone"
    max_detections = 500
    rules = (
        "500 detections an image over all classes; half in ignore regions deleted; score-0 objects ignored; "
        "classes weighted by their images"
    )

    def score(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Score:
        """Return the scores of detections; see `Protocol.score`."""
        flatten_detections(truth, detections)  # refuses bad ones by their number before any is dropped
        truth, detections = drop_ignored(truth, detections)
        matching = match_detections(
            truth,
            detections,
            thresholds=THRESHOLDS,
            area_ranges=[(0.0, np.inf)],
            max_detections=self.max_detections,
            limit_by_image=True,
        )
        objects, images = _count_objects(truth)
        precision = all_point_precision(matching, objects)[0]
        columns = {"AP": precision, "AP50": precision[:1], "AP75": precision[5:6]}
        for most in LIMITS:
            columns[f"AR{most}"] = count_hits(matching, most)[0] / np.maximum(objects, 1)
        metrics = {name: _weighted_mean(values.mean(0), images) for name, values in columns.items()}
        metrics |= {f"{name}_macro": _weighted_mean(v.mean(0), images > 0) for name, v in columns.items()}
        per_class = {
            truth.names[class_id]: {name: float(values[:, index].mean()) for name, values in columns.items()}
            for index, class_id in enumerate(sorted(truth.names))
            if images[index]
        }
        return Score(self.name, metrics, per_class, self.rules)


def _count_objects(truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """Return (K,) objects of each class, score-0 objects too, and (K,) images that have one."""
    objects = flatten_objects(truth)
    counts = np.zeros((len(truth.names), len(truth.images)), dtype=np.int64)
    np.add.at(counts, (objects.category, objects.image), 1)
    return counts.sum(1), (counts > 0).sum(1)


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of values (K,), each as often as its weight says; NaN where no class has objects."""
    return float((values * weights).sum() / weights.sum()) if weights.any() else float("nan")


def drop_ignored(
    truth: GroundTruth, detections: Mapping[str, ImageDetections]
) -> tuple[GroundTruth, dict[str, ImageDetections]]:
    """Delete objects and detections of which at least half of the area lies in ignore regions.

    Follows the toolkit's dropObjectsInIgr.m, with `covered_share` for its mask.

    Args:
        truth: The annotated images.
        detections: By image name.

    Returns:
        The truth and the detections that are left.
    """
    left = dict(detections)
    images = []
    for image in truth.images:
        if len(image.ignore_regions):
            found = left.get(image.name)
            if found is not None:
                rows = covered_share(np.asarray(found.boxes), image) < 0.5
                left[image.name] = ImageDetections(
                    np.asarray(found.boxes)[rows], np.asarray(found.scores)[rows], np.asarray(found.classes)[rows]
                )
            image = _take_objects(image, covered_share(image.boxes, image) < 0.5)
        images.append(image)
    return replace(truth, images=images), left


def _take_objects(image: ImageTruth, rows: np.ndarray) -> ImageTruth:
    return replace(
        image,
        boxes=image.boxes[rows],
        classes=image.classes[rows],
        areas=image.areas[rows],
        crowd=image.crowd[rows],
    )


def covered_share(boxes: np.ndarray, image: ImageTruth) -> np.ndarray:
    """Return which share of each box lies in the union of the ignore regions, as the toolkit's pixel mask tells.

    The toolkit rounds a box's x, y, width and height to whole numbers, halves away from zero, and raises those below 1
    to 1; x and y are pixel numbers that count from 1. A region of (x, y, w, h) marks the columns x to x + w and the
    rows y to y + h, both ends included, inside the image: one more than its size. A box is worth the marked pixels of
    the columns x + 1 to x + w and the rows y + 1 to y + h, divided by w * h, whatever the image cuts off. Regions in
    whole pixels are as in the toolkit, which takes no others; others are rounded like boxes.

    No mask is drawn: the edges of all regions cut the image into a few cells that are marked or not as a whole, and
    the pixels that a box shares with a cell are counted.

    Args:
        boxes: (N, 4) xyxy in pixels.
        image: Its size and ignore regions.

    Returns:
        (N,) shares; those of boxes over the edge of the image miss what lies outside.
    """
    corner, side = _whole_pixels(boxes)
    first, extent = _whole_pixels(image.ignore_regions)
    size = np.array(image.size)
    corner = np.minimum(corner, size)
    after = np.minimum(size, first + extent) + 1  # the column and row after the last that a region marks
    shared = []
    for axis in (0, 1):
        edges = np.unique(np.concatenate([first[:, axis], after[:, axis]]))
        low, high = edges[:-1], edges[1:]
        marks = (first[:, axis, None] <= low) & (high <= after[:, axis, None])
        begin, end = corner[:, axis, None] + 1, corner[:, axis, None] + side[:, axis, None] + 1
        shared.append((marks, np.clip(np.minimum(end, high) - np.maximum(begin, low), 0, None)))
    (columns, across), (rows, down) = shared
    marked = (columns[:, :, None] & rows[:, None, :]).any(0)
    return ((across @ marked) * down).sum(1) / side.prod(1)


def _whole_pixels(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (N, 2) and sides (N, 2) of boxes as whole numbers of at least 1."""
    corner, side = boxes[:, :2], box_sides(boxes)
    return np.maximum(np.floor(corner + 0.5), 1), np.maximum(np.floor(side + 0.5), 1)


def write_submission(folder: str | Path, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Path:
    """Write detections as VisDrone's challenge server takes them.

    One `<image>.txt` for each image, empty where nothing was found; rows `x,y,w,h,score,category,-1,-1` in pixels by
    falling score, the best 500; the category is the class id plus 1, as VisDrone counts.

    Args:
        folder: Where to; made where it does not exist.
        truth: The images.
        detections: By image name.

    Returns:
        The folder.

    Raises:
        DataError: Two images would have the same file, or as `Protocol.score`.
    """
    flatten_detections(truth, detections)
    files: dict[str, str] = {}
    for image in truth.images:
        other = files.setdefault(PurePath(image.name).stem, image.name)
        if other != image.name:
            raise DataError(
                f"Images '{other}' and '{image.name}' would both be '{PurePath(image.name).stem}.txt'. "
                "A submission names files by images without their folders. Rename one."
            )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, name in files.items():
        text = _submission_rows(detections[name]) if name in detections else ""
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8")
    return folder


def _submission_rows(found: ImageDetections) -> str:
    rows = []
    for row in np.argsort(-np.asarray(found.scores), kind="stable")[:500].tolist():
        left, top, right, bottom = (float(value) for value in found.boxes[row])
        numbers = ",".join(f"{value:.2f}" for value in (left, top, right - left, bottom - top))
        rows.append(f"{numbers},{float(found.scores[row]):.6f},{int(found.classes[row]) + 1},-1,-1\n")
    return "".join(rows)
