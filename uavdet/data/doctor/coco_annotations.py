"""Compares a split's COCO JSON with its images and label files, and measures its ignore regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uavdet.data.doctor.findings import Finding
from uavdet.data.doctor.images import ImageFacts
from uavdet.data.doctor.label_files import LabelFacts
from uavdet.errors import DataError
from uavdet.evaluation.truth import GroundTruth, ImageTruth, match_names, read_coco_truth


@dataclass(frozen=True)
class IgnoreFacts:
    """Ignore regions of a split: their number, the images that have one, and their share of all pixels."""

    regions: int
    images: int
    area_share: float


def examine_annotations(
    split: str, file: Path, names: dict[int, str], images: Sequence[ImageFacts], labels: Sequence[LabelFacts]
) -> tuple[list[Finding], IgnoreFacts | None]:
    """Compare a COCO JSON with the images and label files of its split.

    Returns:
        What does not agree, and the ignore regions; None where the JSON cannot be read.
    """
    try:
        truth = read_coco_truth(file, names)
    except DataError as error:
        return [Finding(split, "annotations", "", str(error))], None
    scored = split != "train"  # scoring refuses such an image; training takes it as one without ignore regions
    by_name = {image.name: image for image in truth.images}
    found = match_names([str(image.file) for image in images], by_name)
    pairs = [(image, label, found.get(str(image.file))) for image, label in zip(images, labels, strict=True)]
    findings = [
        Finding(split, "image not in annotations", str(image.file), f"is not among the images of {file}", scored)
        for image, _, name in pairs
        if name is None
    ]
    findings += [
        Finding(split, "annotated image missing", str(file), f"lists '{name}', which is no image of the split", False)
        for name in by_name.keys() - set(found.values())
    ]
    for image, label, name in pairs:
        if name is not None:
            findings += _compare(split, file, image, label, by_name[name])
    return sorted(findings, key=lambda finding: (finding.kind, finding.place, finding.text)), _measure_regions(truth)


def _compare(split: str, file: Path, image: ImageFacts, label: LabelFacts, truth: ImageTruth) -> Iterator[Finding]:
    place = f"{file}, image '{truth.name}'"
    if not image.problem and image.size != truth.size:
        own, other = ("x".join(map(str, size)) for size in (image.size, truth.size))
        yield Finding(split, "image size differs", place, f"is {other} pixels there; the file is {own}")
    objects, rows = int((~truth.crowd).sum()), len(label.rows)
    if objects != rows and not label.problems:
        text = f"has {objects} objects there, {rows} in {label.file}"
        yield Finding(split, "numbers of objects differ", place, text, stops=False)
    for what, boxes in (("boxes", truth.boxes), ("ignore regions", truth.ignore_regions)):
        yield from _judge_boxes(split, place, what, boxes, truth.size)
    if not np.isfinite(truth.areas).all():
        yield Finding(split, "bad area in annotations", place, "has an area that is not finite")


def _judge_boxes(split: str, place: str, what: str, boxes: np.ndarray, size: tuple[int, int]) -> Iterator[Finding]:
    """Name boxes that are none, which training and scoring refuse, and those that nothing can match."""
    finite = np.isfinite(boxes).all(1)
    sides = boxes[:, 2:] - boxes[:, :2]
    bad = ~finite | (sides < 0).any(1)
    clipped = np.clip(boxes, 0, [*size, *size])
    outside = ~bad & ((clipped[:, 2:] - clipped[:, :2]) <= 0).any(1)
    if bad.any():
        text = f"has {int(bad.sum())} {what} that are inverted or not finite"
        yield Finding(split, "bad box in annotations", place, text)
    if outside.any():
        text = f"has {int(outside.sum())} {what} without area inside the image"
        yield Finding(split, "box outside in annotations", place, text, stops=False)


def _measure_regions(truth: GroundTruth) -> IgnoreFacts:
    covered = sum(covered_area(image.ignore_regions, image.size) for image in truth.images)
    pixels = sum(float(image.size[0]) * image.size[1] for image in truth.images)
    return IgnoreFacts(
        regions=sum(len(image.ignore_regions) for image in truth.images),
        images=sum(bool(len(image.ignore_regions)) for image in truth.images),
        area_share=covered / pixels if pixels else 0.0,
    )


def covered_area(boxes: np.ndarray, size: tuple[int, int]) -> float:
    """Return the area that boxes cover together inside an image, in square pixels.

    Args:
        boxes: (N, 4) xyxy in pixels; they may overlap and reach outside.
        size: (width, height) of the image.
    """
    clipped = np.clip(boxes[np.isfinite(boxes).all(1)], 0, [*size, *size])
    xs, ys = np.unique(clipped[:, ::2]), np.unique(clipped[:, 1::2])
    covered = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), dtype=bool)
    for left, top, right, bottom in clipped:
        rows = slice(*np.searchsorted(ys, (top, bottom)))
        covered[rows, slice(*np.searchsorted(xs, (left, right)))] = True
    return float(np.diff(ys) @ covered @ np.diff(xs)) if covered.size else 0.0
