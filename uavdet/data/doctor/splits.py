"""Examines one split of a dataset: its image files, its label files and its annotations."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from uavdet.data.config import DataConfig
from uavdet.data.doctor.boxes import BoxTable, tabulate_boxes
from uavdet.data.doctor.coco_annotations import IgnoreFacts, examine_annotations
from uavdet.data.doctor.findings import Finding
from uavdet.data.doctor.images import ImageFacts, examine_image
from uavdet.data.doctor.label_files import LabelFacts, examine_labels, find_orphans
from uavdet.data.labels import label_file, list_images
from uavdet.errors import UAVDetError, one_line

NEEDED = ("train", "val")
"""The splits without which training does not start."""
_MOST_THREADS = 8  # each holds one decoded image


@dataclass
class SplitFacts:
    """What is known of a split.

    Attributes:
        name: Its name.
        images: Its image files, sorted.
        labels: The label file of each.
        findings: What is wrong with them.
        ignore: Its ignore regions, where it has annotations.
    """

    name: str
    images: list[ImageFacts] = field(default_factory=list)
    labels: list[LabelFacts] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ignore: IgnoreFacts | None = None

    @cached_property
    def readable(self) -> list[int]:
        """The numbers of the images that can be read; the boxes' `image_ids` count these."""
        return [index for index, image in enumerate(self.images) if not image.problem]

    @cached_property
    def table(self) -> BoxTable:
        """The usable boxes of the readable images."""
        return tabulate_boxes((self.images[i].size, self.labels[i].rows) for i in self.readable)


def list_split(config: DataConfig, split: str) -> tuple[list[Path], list[Finding]]:
    """Return the images of a split, and what keeps them from being found."""
    stops = split in NEEDED
    if split not in config.images:
        text = f"has no '{split}:' entry, which training needs"
        return [], [Finding(split, "missing split", str(config.yaml_file), text, stops)]
    try:
        images = list_images(config.require(split))
    except (UAVDetError, OSError, UnicodeDecodeError) as error:
        return [], [Finding(split, "missing split", "", one_line(error), stops)]
    repeated = [image for image, count in Counter(images).items() if count > 1]
    text = "stands more than once in the split"
    return images, [Finding(split, "image listed twice", str(image), text, stops=False) for image in repeated]


def examine_split(config: DataConfig, split: str, images: list[Path], known_labels: set[Path]) -> SplitFacts:
    """Read every image and every label file of a split.

    Args:
        config: The dataset.
        split: The split's name.
        images: Its images.
        known_labels: The label files of the images of all splits, and other text files that are none.
    """
    facts = SplitFacts(split)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(_MOST_THREADS, 2 * (os.cpu_count() or 1))) as pool:
        warnings.simplefilter("ignore")  # Pillow's on large images and odd EXIF blocks; what matters is found below
        facts.images = list(pool.map(examine_image, images))
        facts.labels = list(pool.map(lambda image: examine_labels(image, config.nc), images))
    facts.findings += _image_findings(facts)
    facts.findings += _label_findings(facts)
    for path in find_orphans(images, known_labels):
        facts.findings.append(Finding(split, "label file without image", str(path), "belongs to no image", stops=False))
    if split in config.annotations:
        found, facts.ignore = examine_annotations(
            split, config.annotations[split], config.names, facts.images, facts.labels
        )
        facts.findings += found
    return facts


def _image_findings(facts: SplitFacts) -> Iterator[Finding]:
    for image in facts.images:
        place = str(image.file)
        if image.problem:
            yield Finding(facts.name, "unreadable image", place, image.problem)
            continue
        if image.wrong_suffix:
            yield Finding(facts.name, "wrong suffix", place, f"holds {image.format} under another suffix", False)
        if image.bits > 8:
            peak = f"; its brightest value {image.peak} becomes {image.peak // 256}" if image.peak is not None else ""
            text = f"has {image.bits} bits a channel, of which training reads the upper 8{peak}"
            yield Finding(facts.name, "more than 8 bits", place, text, stops=False)


def _label_findings(facts: SplitFacts) -> Iterator[Finding]:
    for labels in facts.labels:
        for line, kind, text in labels.problems:
            yield Finding(facts.name, kind, f"{labels.file} line {line}:" if line else str(labels.file), text)
        for line, earlier in labels.repeats:
            text = f"repeats line {earlier}; training reads it once"
            yield Finding(facts.name, "repeated row", f"{labels.file} line {line}:", text, stops=False)
        for line in labels.clipped:
            text = "the box reaches over the image's edge; training clips it"
            yield Finding(facts.name, "clipped box", f"{labels.file} line {line}:", text, stops=False)
    boxes = sum(len(labels.rows) for labels in facts.labels)
    if facts.name == "train" and facts.images and not boxes:
        place = str(label_file(facts.images[0].file))
        yield Finding(facts.name, "no box", place, "and its like hold no usable box, so that there is nothing to learn")


def describe_images(facts: SplitFacts) -> dict[str, Any]:
    """Return counts of the images of a split: by problem, kind of picture and size."""
    usable = [image for image in facts.images if not image.problem]
    sizes = Counter(image.size for image in usable)
    return {
        "images": len(facts.images),
        "unreadable": len(facts.images) - len(usable),
        "without_label_file": sum(not labels.found for labels in facts.labels),
        "without_box": sum(not len(labels.rows) for labels in facts.labels),
        "sizes": {f"{width}x{height}": count for (width, height), count in sizes.most_common()},
        "formats": dict(Counter(image.format for image in usable).most_common()),
        "modes": dict(Counter(image.mode for image in usable).most_common()),
        "grey_in_colour": sum(image.grey_in_colour for image in usable),
        "more_than_8_bits": sum(image.bits > 8 for image in usable),
        "rotated_by_exif": sum(image.orientation != 1 for image in usable),
    }
