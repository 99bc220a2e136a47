"""Ignored regions of an image: parts of it in which nothing is right or wrong.

They come from the COCO JSON that a dataset YAML names under `annotations:`: its `ignore_regions`, and the boxes of
objects that are not scored (`iscrowd`). They travel with the image through loading and augmentation, apart from the
objects, and reach the losses as a batch's `ignore_bboxes` (`uavdet.losses.ignore`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uavdet.errors import DataError
from uavdet.evaluation.truth import match_names, read_coco_truth


def read_ignored(annotations: str | Path, names: dict[int, str], files: list[str]) -> dict[str, np.ndarray]:
    """Return the ignored regions of image files.

    Args:
        annotations: The COCO JSON of the split.
        names: Class id to class name, of the dataset.
        files: Image files.

    Returns:
        Image file to (M, 4) float32 xyxy, divided by the image size and clipped to [0, 1]; files without a region
        are left out.

    Raises:
        DataError: The JSON cannot be used.
    """
    truth = {image.name: image for image in read_coco_truth(annotations, names).images}
    found = {}
    for file, name in match_names(files, truth).items():
        image = truth[name]
        boxes = np.concatenate([image.ignore_regions, image.boxes[image.crowd]])
        if not np.isfinite(boxes).all():
            raise DataError(
                f"Annotations '{annotations}': an ignored region of '{name}' is not finite. Mend or remove it."
            )
        boxes = np.clip(boxes / np.array([*image.size, *image.size]), 0, 1).astype(np.float32)
        boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
        if len(boxes):
            found[file] = boxes
    return found


def disjoint(boxes: np.ndarray) -> np.ndarray:
    """Return boxes that cover the same points and do not overlap, so that areas inside them may be added up.

    Args:
        boxes: (M, 4) xyxy.

    Returns:
        (K, 4) xyxy.
    """
    parts: list[np.ndarray] = []
    for box in boxes:
        rest = [box]
        for taken in parts:
            rest = [piece for part in rest for piece in _subtract(part, taken)]
        parts += rest
    return np.array(parts, dtype=boxes.dtype).reshape(-1, 4)


def _subtract(box: np.ndarray, hole: np.ndarray) -> list[np.ndarray]:
    """Return the at most four boxes that are left of `box` without `hole`."""
    left, top, right, bottom = np.maximum(box[:2], hole[:2]).tolist() + np.minimum(box[2:], hole[2:]).tolist()
    if left >= right or top >= bottom:
        return [box]
    x1, y1, x2, y2 = box.tolist()
    pieces = [(x1, y1, x2, top), (x1, bottom, x2, y2), (x1, top, left, bottom), (right, top, x2, bottom)]
    return [np.array(p, dtype=box.dtype) for p in pieces if p[2] > p[0] and p[3] > p[1]]


def fill_regions(image: np.ndarray, regions: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the image with every ignored region painted in its mean colour, as TinyPerson's images are.

    Objects keep their pixels, so that a labelled object inside a region stays visible.

    Args:
        image: (H, W, C) or (H, W).
        regions: (M, 4) xyxy, divided by the image size.
        objects: (N, 4) xyxy, divided by the image size.
    """
    painted, height, width = image.copy(), *image.shape[:2]
    for left, top, right, bottom in _pixels(regions, width, height):
        patch = painted[top:bottom, left:right]
        if patch.size:
            patch[...] = image[top:bottom, left:right].mean((0, 1)).round().astype(image.dtype)
    for left, top, right, bottom in _pixels(objects, width, height):
        painted[top:bottom, left:right] = image[top:bottom, left:right]
    return painted


def _pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the pixels that boxes touch, as (N, 4) slices left, top, right, bottom."""
    scaled = boxes * np.array([width, height, width, height])
    return np.concatenate([np.floor(scaled[:, :2] + 1e-4), np.ceil(scaled[:, 2:] - 1e-4)], 1).astype(int)
