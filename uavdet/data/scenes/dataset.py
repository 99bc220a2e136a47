"""The files of a synthetic dataset: YOLO label rows, COCO JSON with ignore regions, and data.yaml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from uavdet.data.scenes.camera import FloatArray


class ImageLabels(NamedTuple):
    """The truth of one image.

    Attributes:
        file_name: Its name within `images/<split>`.
        size: (width, height) in pixels.
        boxes: (N, 4) xyxy in pixels.
        class_ids: Dataset class ids.
        track_ids: One a box.
        ignore_regions: (M, 4) xyxy in pixels.
    """

    file_name: str
    size: tuple[int, int]
    boxes: FloatArray
    class_ids: Sequence[int]
    track_ids: Sequence[int]
    ignore_regions: FloatArray


def write_label(path: Path, labels: ImageLabels) -> None:
    """Write YOLO rows: class id, then centre and size normalised by the image, six decimals; no box, empty file."""
    boxes = labels.boxes.astype(float)
    middle, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rows = np.hstack([middle, sides]) / np.array([*labels.size, *labels.size])
    text = [
        f"{class_id} " + " ".join(f"{value:.6f}" for value in row)
        for class_id, row in zip(labels.class_ids, rows, strict=True)
    ]
    path.write_text("".join(f"{row}\n" for row in text), encoding="utf-8")


def write_annotations(folder: Path, split: str, images: Sequence[ImageLabels], names: Sequence[str]) -> Path:
    """Write `annotations/instances_<split>.json`; COCO ids count from 1, ignore regions are named DontCare."""
    content = {
        "info": {"description": f"uavdet synthetic scenes, {split}"},
        "licenses": [],
        "images": [_describe_image(number, labels) for number, labels in enumerate(images, 1)],
        "annotations": _list_annotations(images),
        "categories": [{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(names, 1)],
        "ignore_regions": [
            {"image_id": number, "bbox": _to_xywh(region), "name": "DontCare"}
            for number, labels in enumerate(images, 1)
            for region in labels.ignore_regions
        ],
    }
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _describe_image(number: int, labels: ImageLabels) -> dict[str, Any]:
    width, height = labels.size
    return {"id": number, "file_name": labels.file_name, "width": width, "height": height}


def _list_annotations(images: Sequence[ImageLabels]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for number, labels in enumerate(images, 1):
        for box, class_id, track_id in zip(labels.boxes, labels.class_ids, labels.track_ids, strict=True):
            x, y, width, height = _to_xywh(box)
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": class_id + 1,
                "bbox": [x, y, width, height],
                "area": round(width * height, 4),
                "iscrowd": 0,
                "track_id": track_id,
            })  # fmt: skip
    return annotations


def _to_xywh(box: FloatArray) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)]


def write_data_yaml(folder: Path, splits: Sequence[str], names: Sequence[str]) -> Path:
    """Write `data.yaml` with images, annotations and names, and return its path."""
    content: dict[str, Any] = {split: f"images/{split}" for split in splits}
    content["annotations"] = {split: f"annotations/instances_{split}.json" for split in splits}
    content["names"] = dict(enumerate(names))
    path = folder / "data.yaml"
    head = "# Synthetic aerial scenes. Annotations are COCO JSON in original pixels, with ignore regions.\n"
    path.write_text(head + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
