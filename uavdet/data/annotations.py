"""Annotated images as a dataset's authors wrote them: what format readers return and what conversions write.

Boxes are (left, top, width, height) in original pixels, unclipped and unrounded, as in COCO.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Annotation:
    """One annotated object.

    Attributes:
        box: (left, top, width, height) in pixels.
        category: Class name.
        area: Square pixels; None means that of the box.
        ignored: Neither found nor missed by a detector, whatever it does there: a crowd, an object that the authors
            do not score. Written with `iscrowd` and `ignore` 1, kept out of the label files, ignored in training.
        track_id: Identity over the frames of a sequence.
        flags: What else the format says of it (truncation, occlusion, difficult, ...), written to the JSON as it is.
        origin: File and line, for messages.
    """

    box: Box
    category: str
    area: float | None = None
    ignored: bool = False
    track_id: int | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(slots=True)
class IgnoreRegion:
    """A part of an image in which nothing is right or wrong, of no class: (left, top, width, height) in pixels."""

    box: Box
    name: str = "ignored"
    flags: dict[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(slots=True)
class AnnotatedImage:
    """One image and everything that was annotated in it.

    Attributes:
        file: The image file.
        name: Its path below `images/<split>` of the converted dataset, with forward slashes.
        size: (width, height) in pixels.
        objects: Objects of the dataset's classes.
        ignore_regions: Regions without a class.
        excluded: Objects of classes that the dataset's protocol does not detect (VisDrone's "others"); kept in the
            JSON apart, background for everything else.
        flags: What else is known of the image (`dense`, `sequence`, `frame`, ...), written to the JSON as it is.
        crop: (left, top, width, height) in pixels of `file`, where the image is a part of it; boxes are relative to
            its corner.
    """

    file: Path
    name: str
    size: tuple[int, int]
    objects: list[Annotation] = field(default_factory=list)
    ignore_regions: list[IgnoreRegion] = field(default_factory=list)
    excluded: list[Annotation] = field(default_factory=list)
    flags: dict[str, Any] = field(default_factory=dict)
    crop: tuple[int, int, int, int] | None = None


@dataclass
class DropLog:
    """What a conversion left out, counted by split and reason, with the first place of each reason."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    places: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, split: str, reason: str, place: str) -> None:
        """Count one thing left out; `place` names its file and line."""
        self.counts[split, reason] += 1
        self.places.setdefault((split, reason), place)

    def __len__(self) -> int:
        return sum(self.counts.values())
