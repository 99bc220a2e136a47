"""What a protocol scores: annotated objects and detections, both in original pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from uavdet.errors import DataError


@dataclass
class ImageTruth:
    """The annotated objects of one image.

    Attributes:
        name: The image's file name as annotated, or its path.
        size: (width, height) in pixels.
        boxes: (N, 4) xyxy in pixels.
        classes: (N,) class ids.
        areas: (N,) in square pixels; as annotated, which need not be the box's.
        crowd: (N,) whether the object is a crowd or one that is not scored: neither found nor missed.
        ignore_regions: (M, 4) xyxy in pixels, without a class.
        image_id: Its id in the annotations; None where they give none.
        dense: Whether the annotators marked the image as too dense to score (TinyPerson).
    """

    name: str
    size: tuple[int, int]
    boxes: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    ignore_regions: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    image_id: Any = None
    dense: bool = False


@dataclass
class ImageDetections:
    """The detections of one image: (N, 4) xyxy in pixels, (N,) scores and (N,) class ids."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


@dataclass
class GroundTruth:
    """The annotated images of a split and its class names.

    Attributes:
        images: The images.
        names: Class id to class name.
        category_ids: Class id to category id in the annotations, of those that they list.
    """

    images: list[ImageTruth]
    names: dict[int, str]
    category_ids: dict[int, Any] = field(default_factory=dict)

    @property
    def counts(self) -> np.ndarray:
        """Number of objects of each image, crowds apart."""
        return np.array([int((~image.crowd).sum()) for image in self.images])


def read_coco_truth(file: str | Path, names: dict[int, str]) -> GroundTruth:
    """Read a COCO JSON; its categories are found among `names` by name.

    Args:
        file: A COCO instances JSON, boxes xywh in pixels, optionally with `ignore_regions`.
        names: Class id to class name, of the dataset.

    Raises:
        DataError: The file is missing or malformed, or a category is not among `names`.
    """
    file = Path(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    except FileNotFoundError:
        raise DataError(f"Annotations '{file}' do not exist. Correct annotations: in the dataset YAML.") from None
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"Annotations '{file}' are no COCO JSON ({type(error).__name__}: {error}).") from error
    ids = {name: index for index, name in names.items()}
    unknown = [name for name in categories.values() if name not in ids]
    if unknown:
        raise DataError(f"Annotations '{file}' have the category '{unknown[0]}', which names: does not list.")
    rows: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
    regions: dict[Any, list[Any]] = {key: [] for key in images}
    try:
        for annotation in content.get("annotations", []):
            rows[annotation["image_id"]].append(annotation)
        for region in content.get("ignore_regions", []):
            regions[region["image_id"]].append(region["bbox"])
        truths = [_image_truth(images[key], rows[key], regions[key], categories, ids) for key in images]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"Annotations '{file}': an entry is malformed ({type(error).__name__}: {error}).") from error
    return GroundTruth(truths, names, {ids[name]: category for category, name in categories.items()})


def _image_truth(
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    regions: list[Any],
    categories: dict[Any, str],
    ids: dict[str, int],
) -> ImageTruth:
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    return ImageTruth(
        name=str(image["file_name"]),
        size=(int(image["width"]), int(image["height"])),
        boxes=_xywh_to_xyxy(boxes),
        classes=np.array([ids[categories[a["category_id"]]] for a in annotations], dtype=np.int64),
        areas=np.array([a.get("area", a["bbox"][2] * a["bbox"][3]) for a in annotations], dtype=np.float64),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool),
        ignore_regions=_xywh_to_xyxy(np.array(regions, dtype=np.float64).reshape(-1, 4)),
        image_id=image["id"],
        dense=bool(image.get("dense", False)),
    )


def _xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def truth_from_labels(labels: list[dict[str, Any]], names: dict[int, str]) -> GroundTruth:
    """Return the truth that YOLO labels tell, for datasets without a COCO JSON.

    Args:
        labels: Label dicts of a dataset: `im_file`, `shape` (height, width), `cls` (N, 1), `bboxes` normalised cxcywh.
        names: Class id to class name.
    """
    truths = []
    for label in labels:
        height, width = label["shape"]
        centre, side = label["bboxes"][:, :2].astype(np.float64), label["bboxes"][:, 2:].astype(np.float64)
        boxes = np.concatenate([centre - side / 2, centre + side / 2], 1) * [width, height, width, height]
        truths.append(
            ImageTruth(
                name=str(label["im_file"]),
                size=(width, height),
                boxes=boxes,
                classes=label["cls"].reshape(-1).astype(np.int64),
                areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
                crowd=np.zeros(len(boxes), dtype=bool),
            )
        )
    return GroundTruth(truths, names)


def restrict_truth(truth: GroundTruth, classes: Iterable[int] | None = None, single: bool = False) -> GroundTruth:
    """Return a truth with some of its classes, or with all of them made one; ignore regions stay.

    Args:
        truth: The annotated images.
        classes: Class ids to keep; None keeps all.
        single: Make every object one of class 0, `object`.
    """
    kept = set(truth.names) if classes is None else set(classes)

    def restrict(image: ImageTruth) -> ImageTruth:
        chosen = np.isin(image.classes, list(kept))
        parts = (image.boxes[chosen], image.classes[chosen], image.areas[chosen], image.crowd[chosen])
        boxes, ids, areas, crowd = parts
        return replace(image, boxes=boxes, classes=ids * 0 if single else ids, areas=areas, crowd=crowd)

    images = [restrict(image) for image in truth.images]
    return GroundTruth(images, {0: "object"} if single else truth.names, {} if single else truth.category_ids)


def select_images(truth: GroundTruth, files: list[str], origin: str | Path) -> tuple[GroundTruth, dict[str, str]]:
    """Return the truth of some image files, and each file's name in it.

    Args:
        truth: The annotated images.
        files: Image files.
        origin: The file that the truth was read from, for the message.

    Raises:
        DataError: A file is not annotated.
    """
    found = match_names(files, [image.name for image in truth.images])
    if len(found) < len(files):
        lost = min(set(files) - found.keys())
        raise DataError(
            f"Annotations '{origin}' do not list {len(files) - len(found)} of {len(files)} images, such as "
            f"{lost}. Correct annotations: in the dataset YAML, or remove it to score by the label files."
        )
    used = set(found.values())
    return replace(truth, images=[image for image in truth.images if image.name in used]), found


def match_names(files: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Find each image file among annotated names, which may hold none, some or all of its folders.

    Args:
        files: Paths of image files.
        names: Annotated file names.

    Returns:
        File to name, for the files that are annotated; the name with the most folders in common wins.
    """
    by_base: dict[str, list[PurePath]] = {}
    for name in names:
        path = PurePath(name)
        by_base.setdefault(path.name, []).append(path)
    found = {}
    for file in files:
        parts = PurePath(file).parts
        fitting = [p for p in by_base.get(parts[-1], []) if parts[-len(p.parts) :] == p.parts]
        if fitting:
            found[file] = str(max(fitting, key=lambda p: len(p.parts)))
    return found
