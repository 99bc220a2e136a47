"""Ignored regions of an image: parts of it in which nothing is right or wrong.

They come from the COCO JSON that a dataset YAML names under `annotations:`: its `ignore_regions`, and the boxes of
objects that are not scored (`iscrowd`). They travel with the image through loading and augmentation, apart from the
objects, and reach the losses as a batch's `ignore_bboxes` (`uavdet.losses.ignore`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uavdet.evaluation.truth import check_boxes, check_sizes, read_coco_truth, select_images


def read_ignored(
    annotations: str | Path, names: dict[int, str], shapes: Mapping[str, tuple[int, int]]
) -> dict[str, np.ndarray]:
    """Return the ignored regions of image files.

    Args:
        annotations: The COCO JSON of the split.
        names: Class id to class name, of the dataset.
        shapes: (height, width) of the images, after EXIF rotation, by image file.

    Returns:
        Image file to (M, 4) float32 xyxy, divided by the image size and clipped to [0, 1]; files without a region
        are left out.

    Raises:
        DataError: The JSON cannot be used, lacks an image, or was made for images of other sizes.
    """
    truth = read_coco_truth(annotations, names)
    check_boxes(truth, annotations)
    truth, matched = select_images(truth, list(shapes), annotations)
    images = {image.name: image for image in truth.images}
    check_sizes(truth, {name: shapes[file] for file, name in matched.items()}, annotations)
    found = {}
    for file, name in matched.items():
        image = images[name]
        boxes = np.concatenate([image.ignore_regions, image.boxes[image.crowd]])
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
    parts: np.ndarray = np.zeros((0, 4), boxes.dtype)
    for box in boxes:
        meets = (np.maximum(parts[:, :2], box[:2]) < np.minimum(parts[:, 2:], box[2:])).all(1)
        rest = [box]
        for taken in parts[meets]:
            rest = [piece for part in rest for piece in _subtract(part, taken)]
        parts = np.concatenate([parts, *(piece[None] for piece in rest)])
    return parts


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
