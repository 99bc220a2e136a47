"""VisDrone's protocol, by the rules of its official detection toolkit, and the files that its server takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np

from uavdet.evaluation.arrays import box_sides, flatten_detections, flatten_objects
from uavdet.evaluation.coco import THRESHOLDS
from uavdet.evaluation.matching import Matching, match_detections
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
        matching, counts = self.match(truth, detections)
        columns, images = _measure(matching, counts)
        per_class = {
            truth.names[class_id]: {name: float(values[index]) for name, values in columns.items()}
            for index, class_id in enumerate(sorted(truth.names))
            if images[index]
        }
        return Score(self.name, _means(columns, images), per_class, self.rules)

    def match(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> tuple[Matching, np.ndarray]:
        """Return the detections matched by these rules, and (K, I) objects by class and image, score-0 ones too."""
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
        objects = flatten_objects(truth)
        counts = np.zeros((len(truth.names), len(truth.images)), dtype=np.int64)
        np.add.at(counts, (objects.category, objects.image), 1)
        return matching, counts

    def resample(
        self, truth: GroundTruth, detections: Mapping[str, ImageDetections], weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return the metrics of resampled images; see `Protocol.resample`. An image that is drawn twice is two."""
        matching, counts = self.match(truth, detections)
        samples = [_means(*_measure(matching, counts, sample)) for sample in weights]
        return {name: np.array([sample[name] for sample in samples]) for name in samples[0]}


def _measure(
    matching: Matching, counts: np.ndarray, weights: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the metrics of each class (K,), and how many images have the class (K,).

    Args:
        matching: Detections matched to objects.
        counts: (K, I) objects by class and image.
        weights: (I,) how often each image counts; None means once each.
    """
    weighted = counts if weights is None else counts * weights
    objects, images = weighted.sum(1), ((counts > 0) if weights is None else (counts > 0) * weights).sum(1)
    precision = all_point_precision(matching, objects, weights)[0]
    columns = {"AP": precision.mean(0), "AP50": precision[0], "AP75": precision[5]}
    for most in LIMITS:
        columns[f"AR{most}"] = (count_hits(matching, most, weights)[0] / np.maximum(objects, 1)).mean(0)
    return columns, images


def _means(columns: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, float]:
    """Return the means over classes, weighted by their images, then plain."""
    metrics = {name: _weighted_mean(values, images) for name, values in columns.items()}
    return metrics | {f"{name}_macro": _weighted_mean(values, images > 0) for name, values in columns.items()}


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

    One `<image>.txt` for each image, in its folder where names have folders (frames of VisDrone-VID, whose server
    takes another form), empty where nothing was found; rows `x,y,w,h,score,category,-1,-1` in pixels by
    falling score, the best 500; the category is the class id plus 1, as VisDrone counts.

    Args:
        folder: Where to; made where it does not exist.
        truth: The images.
        detections: By image name.

    Returns:
        The folder.

    Raises:
        DataError: As `Protocol.score`.
    """
    flatten_detections(truth, detections)
    folder = Path(folder)
    flat = len({PurePath(image.name).stem for image in truth.images}) == len(truth.images)
    for image in truth.images:
        path = PurePath(image.name)
        place = path.name if flat or path.is_absolute() else path
        file = (folder / place).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        text = _submission_rows(detections[image.name]) if image.name in detections else ""
        file.write_text(text, encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _submission_rows(found: ImageDetections) -> str:
    rows = []
    for row in np.argsort(-np.asarray(found.scores), kind="stable")[:500].tolist():
        left, top, right, bottom = (float(value) for value in found.boxes[row])
        numbers = ",".join(f"{value:.2f}" for value in (left, top, right - left, bottom - top))
        rows.append(f"{numbers},{float(found.scores[row]):.6f},{int(found.classes[row]) + 1},-1,-1\n")
    return "".join(rows)
