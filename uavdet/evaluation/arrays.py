"""Objects and detections of all images as flat arrays, checked; what matching works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

from uavdet.errors import DataError
from uavdet.evaluation.truth import GroundTruth, ImageDetections

_Arrays = TypeVar("_Arrays", bound="BoxArrays")


@dataclass(frozen=True)
class BoxArrays:
    """N boxes of all images, in the order of the images.

    Attributes:
        image: (N,) index into the images of the ground truth.
        category: (N,) index among the sorted class ids.
        boxes: (N, 4) xyxy in pixels; the far edges are the near ones plus the sides, as in tools that keep xywh.
        sizes: (N,) width times height.
    """

    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self: _Arrays, rows: np.ndarray) -> _Arrays:
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class ObjectArrays(BoxArrays):
    """Annotated objects; areas (N,) as annotated and crowd (N,) as in `ImageTruth`."""

    areas: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class DetectionArrays(BoxArrays):
    """Detections; scores (N,) and source (N,), the index of each within its image."""

    scores: np.ndarray
    source: np.ndarray


def flatten_objects(truth: GroundTruth, *, regions_as_crowd: bool = False) -> ObjectArrays:
    """Return the objects of all images.

    Args:
        truth: The annotated images.
        regions_as_crowd: Add each ignore region as a crowd of every class.

    Raises:
        DataError: An object has a class that `truth.names` does not list.
    """
    images = truth.images
    image = np.repeat(np.arange(len(images)), [len(i.classes) for i in images])
    classes = _join([i.classes for i in images], np.int64)
    category = category_indices(truth, classes)
    if (category < 0).any():
        row = int(np.argmax(category < 0))
        raise DataError(
            f"Annotations of '{images[image[row]].name}' have the class id {classes[row]}, which names: does not list."
        )
    boxes = _join([i.boxes for i in images], np.float64, 4)
    areas = _join([i.areas for i in images], np.float64)
    crowd = _join([i.crowd for i in images], bool)
    if regions_as_crowd:
        count, regions = len(truth.names), _join([i.ignore_regions for i in images], np.float64, 4)
        owner = np.repeat(np.arange(len(images)), [len(i.ignore_regions) for i in images])
        image = np.concatenate([image, np.repeat(owner, count)])
        category = np.concatenate([category, np.tile(np.arange(count), len(regions))])
        boxes = np.concatenate([boxes, np.repeat(regions, count, axis=0)])
        areas = np.concatenate([areas, np.repeat(box_sides(regions).prod(1), count)])
        crowd = np.concatenate([crowd, np.ones(count * len(regions), dtype=bool)])
    return ObjectArrays(image, category, *_edges(boxes), areas, crowd)


def flatten_detections(truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> DetectionArrays:
    """Return the detections of all images.

    Raises:
        DataError: A detection belongs to no annotated image, has no such class, or has a box or score that is not
            finite or a negative side; the message names the image and the detection.
    """
    numbers = {image.name: number for number, image in enumerate(truth.images)}
    if len(numbers) < len(truth.images):
        names = [image.name for image in truth.images]
        raise DataError(f"Image '{next(n for n in names if names.count(n) > 1)}' is annotated twice. List it once.")
    unknown = detections.keys() - numbers.keys()
    if unknown:
        raise DataError(
            f"Detections for '{min(unknown)}', which is not among the {len(truth.images)} annotated images. "
            "Score detections of the split that the annotations describe."
        )
    found = [(numbers[name], name, part) for name, part in detections.items()]
    found.sort(key=lambda row: row[0])
    for _, name, part in found:
        _check_lengths(name, part)
    counts = np.array([len(part.scores) for *_, part in found], dtype=np.int64)
    image = np.repeat(np.array([number for number, *_ in found], dtype=np.int64), counts)
    source = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
    boxes = _join([part.boxes for *_, part in found], np.float64, 4)
    scores = _join([part.scores for *_, part in found], np.float64)
    classes = _join([np.asarray(part.classes) for *_, part in found], np.float64)
    category = category_indices(truth, classes)
    for bad, what in (
        (~np.isfinite(boxes).all(1), "a box that is not finite. Boxes are four finite numbers in pixels"),
        (~np.isfinite(scores), "a score that is not finite. Scores are finite numbers"),
        ((boxes[:, 2:] < boxes[:, :2]).any(1), "a negative width or height. Boxes have left <= right, top <= bottom"),
        (category < 0, f"a class that does not exist. Class ids are {_listed(truth)}"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"Detection {source[row] + 1} of '{truth.images[image[row]].name}' has {what}.")
    return DetectionArrays(image, category, *_edges(boxes), scores, source)


def category_indices(truth: GroundTruth, classes: np.ndarray) -> np.ndarray:
    """Return where class ids (N,) stand among the sorted ids of `truth.names`; -1 for those that it does not list."""
    known = np.array(sorted(truth.names), dtype=np.int64)
    place = np.searchsorted(known, classes)
    found = place < len(known)
    found[found] = known[place[found]] == classes[found]
    return np.where(found, place, -1)


def _listed(truth: GroundTruth) -> str:
    ids = sorted(truth.names)
    return f"{ids[0]} to {ids[-1]}" if ids and ids == list(range(ids[0], ids[-1] + 1)) else str(ids)


def _check_lengths(name: str, part: ImageDetections) -> None:
    shapes = np.shape(part.boxes), np.shape(part.scores), np.shape(part.classes)
    count = len(part.scores)
    if shapes != ((count, 4), (count,), (count,)):
        raise DataError(
            f"Detections of '{name}' have boxes {shapes[0]}, scores {shapes[1]} and classes {shapes[2]}. "
            "They must be (N, 4), (N,) and (N,)."
        )


def _join(parts: list[np.ndarray], dtype: type, width: int | None = None) -> np.ndarray:
    """Return arrays of all images as one; (0,) or (0, width) where there is none."""
    empty: np.ndarray = np.zeros((0,) if width is None else (0, width), dtype=dtype)
    return np.concatenate([empty, *(part for part in parts if len(part))], dtype=dtype, casting="unsafe")


def box_sides(boxes: np.ndarray) -> np.ndarray:
    """Return the width and height (N, 2) of xyxy boxes (N, 4) as their files have them.

    Files hold x and width with few decimals, and (x + width) - x is no longer exactly that width: an object of 8 by 8
    pixels would leave its size range. Rounded to a billionth of a pixel it is.
    """
    sides: np.ndarray = (boxes[:, 2:] - boxes[:, :2]).round(9)
    return sides


def _edges(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes as pycocotools sees them, which computes with (x, y, width, height), and their sizes."""
    sides = box_sides(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + sides], axis=1), sides.prod(1)
