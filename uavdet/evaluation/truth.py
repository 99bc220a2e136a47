"""What a protocol scores: annotated objects and detections, both in original pixels."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from uavdet.errors import DataError


@dataclass
class ImageTruth:
    """The annotated objects of one image.

    Attributes:
        name: The image's file name as annotated, with forward slashes and without `./`, or its path.
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
        DataError: The file is missing or malformed, an id or a name stands twice, or a category is not among `names`.
            Whether boxes are finite is for `check_boxes`.
    """
    file = Path(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images, categories = list(content["images"]), list(content["categories"])
        _refuse_repeated(file, "images", "id", [image["id"] for image in images])
        _refuse_repeated(file, "images", "file_name", [image["file_name"] for image in images])
        _refuse_repeated(file, "categories", "id", [category["id"] for category in categories])
        _refuse_repeated(file, "categories", "name", [category["name"] for category in categories])
        class_names = {category["id"]: str(category["name"]) for category in categories}
    except FileNotFoundError:
        raise DataError(f"Annotations '{file}' do not exist. Correct annotations: in the dataset YAML.") from None
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"Annotations '{file}' are no COCO JSON ({type(error).__name__}: {error}).") from error
    ids = {name: index for index, name in names.items()}
    unknown = [name for name in class_names.values() if name not in ids]
    if unknown:
        raise DataError(f"Annotations '{file}' have the category '{unknown[0]}', which names: does not list.")
    classes = {category: ids[name] for category, name in class_names.items()}
    rows = _rows_by_image(file, images, content, "annotations", classes)
    regions = _rows_by_image(file, images, content, "ignore_regions")
    try:
        truths = [_image_truth(image, rows[image["id"]], regions[image["id"]], classes) for image in images]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"Annotations '{file}': an entry is malformed ({type(error).__name__}: {error}).") from error
    return GroundTruth(truths, names, {index: category for category, index in classes.items()})


def _refuse_repeated(file: Path, part: str, key: str, values: list[Any]) -> None:
    """Refuse two images or categories of one id or name: which of them an annotation means cannot be known."""
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise DataError(f"Annotations '{file}': two {part} have the {key} {twice!r}. Give each its own.")


def _rows_by_image(
    file: Path, images: list[dict[str, Any]], content: dict[str, Any], part: str, classes: dict[Any, int] | None = None
) -> dict[Any, list[dict[str, Any]]]:
    """Return the annotations or ignore regions of each image by its id, each with a bbox of four numbers.

    Raises:
        DataError: One has another bbox, or an image or a category that is not listed; its place in the file, counted
            from 1, is named.
    """
    found: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    entries = content.get(part, [])
    if not isinstance(entries, list):
        raise DataError(f"Annotations '{file}' are no COCO JSON ({part} is no list).")
    for number, row in enumerate(entries, start=1):
        if problem := _find_problem(row, found, classes):
            raise DataError(f"Annotations '{file}': {part} entry {number} {problem}. Mend or remove it.")
        found[row["image_id"]].append(row)
    return found


def _find_problem(row: Any, images: Mapping[Any, Any], classes: Mapping[Any, int] | None) -> str:
    """Return what is wrong with an annotation or an ignore region; '' for nothing."""
    keys = ["image_id", "bbox"] if classes is None else ["image_id", "category_id", "bbox"]
    if not isinstance(row, dict):
        return f"is {row!r}, no mapping"
    if missing := [key for key in keys if key not in row]:
        return f"has no {missing[0]}"
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, (int, float)) for value in box):
        return f"has the bbox {box!r}, which is not [x, y, width, height] in pixels"
    if not _is_key(row["image_id"], images):
        return f"has the image_id {row['image_id']!r}, which no image has"
    if classes is not None and not _is_key(row["category_id"], classes):
        return f"has the category_id {row['category_id']!r}, which no category has"
    return ""


def _is_key(value: Any, known: Mapping[Any, Any]) -> bool:
    return isinstance(value, Hashable) and value in known


def _image_truth(
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    regions: list[dict[str, Any]],
    classes: dict[Any, int],
) -> ImageTruth:
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    areas = [a["bbox"][2] * a["bbox"][3] if a.get("area") is None else a["area"] for a in annotations]
    return ImageTruth(
        name=str(PurePath(str(image["file_name"]).replace("\\", "/"))),
        size=(int(image["width"]), int(image["height"])),
        boxes=_xywh_to_xyxy(boxes),
        classes=np.array([classes[a["category_id"]] for a in annotations], dtype=np.int64),
        areas=np.array(areas, dtype=np.float64),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool),
        ignore_regions=_xywh_to_xyxy(np.array([r["bbox"] for r in regions], dtype=np.float64).reshape(-1, 4)),
        image_id=image["id"],
        dense=bool(image.get("dense", False)),
    )


def check_boxes(truth: GroundTruth, origin: str | Path) -> None:
    """Check that everything annotated can be scored.

    Args:
        truth: The annotated images.
        origin: The file that the truth was read from, for the message.

    Raises:
        DataError: A box or an area is not finite, or a side is negative; the message names the image and the object.
    """
    for image in truth.images:
        for what, boxes in (("object", image.boxes), ("ignore region", image.ignore_regions)):
            bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
            if what == "object":
                bad |= ~np.isfinite(image.areas)
            if bad.any():
                raise DataError(
                    f"Annotations '{origin}': {what} {int(np.argmax(bad)) + 1} of '{image.name}' has a box or an area "
                    "that is not finite, or a negative side. Boxes are [x, y, width, height]. Mend or remove it."
                )


def check_sizes(truth: GroundTruth, shapes: Mapping[str, tuple[int, int]], origin: str | Path) -> None:
    """Check that images have the sizes that their annotations name: boxes in pixels fit no other size.

    Args:
        truth: The annotated images.
        shapes: (height, width) of image files after EXIF rotation, by annotated name.
        origin: The file that the truth was read from, for the message.

    Raises:
        DataError: An image has another size.
    """
    for image in truth.images:
        height, width = shapes.get(image.name, image.size[::-1])
        if image.size != (width, height):
            given = "x".join(map(str, image.size))
            raise DataError(
                f"Annotations '{origin}' give '{image.name}' {given} pixels, the image has {width}x{height} after EXIF "
                "rotation. Boxes are in pixels of the image as it is shown: give the image that was annotated, or "
                "correct annotations: in the dataset YAML."
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
        DataError: A file is not annotated, or two files have one name in the annotations.
    """
    found = match_names(files, [image.name for image in truth.images])
    if len(found) < len(files):
        lost = min(set(files) - found.keys())
        raise DataError(
            f"Annotations '{origin}' do not list {len(files) - len(found)} of {len(files)} images, such as "
            f"{lost}. Correct annotations: in the dataset YAML, or remove it to go by the label files alone."
        )
    used: dict[str, str] = {}
    for file, name in found.items():
        if used.setdefault(name, file) != file:
            raise DataError(
                f"Annotations '{origin}' list '{name}' once for {used[name]} and {file}. Add their folders to it."
            )
    return replace(truth, images=[image for image in truth.images if image.name in used]), found


def match_names(files: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Find each image file among annotated names, which may hold none, some or all of its folders.

    Args:
        files: Paths of image files.
        names: Annotated file names.

    Returns:
        File to name, for the files that are annotated; the name with the most folders in common wins.
    """
    by_base: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for name in names:
        path = PurePath(name)
        by_base.setdefault(path.name, []).append((path.parts, name))
    found = {}
    for file in files:
        parts = PurePath(file).parts
        fitting = [entry for entry in by_base.get(parts[-1], []) if parts[-len(entry[0]) :] == entry[0]]
        if fitting:
            found[file] = max(fitting, key=lambda entry: len(entry[0]))[1]
    return found
