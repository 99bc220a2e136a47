"""What `uavdet analyze saliency` measured, as rows and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.samples import SIZES, Sample, describe_size, size_of

PATCH, REACH = 45, 5
"""Points along a side of a mean patch, and its side in sides of the object's box."""
HEADER = (
    "image", "object", "class", "side", "size", "found", "score", "iou", "level", "saliency", "saliency_in_box",
    "share_in_box", "share_in_ring", "area_of_box", "spread",
)  # fmt: skip


@dataclass(frozen=True)
class ObjectSaliency:
    """The saliency of one object at one level; of an object that nothing finds, that it was not found.

    Attributes:
        image: Name of the image file.
        number: Place of the object in its image's labels, from 0.
        name: Of its class.
        side: Square root of its box's area in pixels of the image file.
        score: Of its class, after the sigmoid; None where nothing finds it, as all that follows.
        overlap: IoU of the prediction and its box.
        level: P3, ..., or `image`.
        total: Sum over the map.
        in_box: Sum over the cells that the box touches.
        share_in_box: The same, divided by the total; None where the total is zero, as the rest.
        share_in_ring: Of the cells around these, up to one object's side, at least one cell, away.
        area_of_box: Share of the map's cells that the box touches: `share_in_box` if all cells were alike.
        spread: Distance from the box's centre within which half of the total lies, in pixels of the image file.
    """

    image: str
    number: int
    name: str
    side: float
    score: float | None = None
    overlap: float | None = None
    level: str | None = None
    total: float | None = None
    in_box: float | None = None
    share_in_box: float | None = None
    share_in_ring: float | None = None
    area_of_box: float | None = None
    spread: float | None = None

    @property
    def size(self) -> str:
        """Its name in `SIZES`."""
        return size_of(self.side)

    def row(self) -> dict[str, Any]:
        """Return a row of the CSV file."""
        values = (
            self.image, self.number, self.name, self.side, self.size, int(self.score is not None), self.score,
            self.overlap, self.level, self.total, self.in_box, self.share_in_box, self.share_in_ring,
            self.area_of_box, self.spread,
        )  # fmt: skip
        return dict(zip(HEADER, values, strict=True))


@dataclass
class MeanPatch:
    """The mean saliency around the objects of a size: how many times the map's mean each place has.

    Attributes:
        total: (PATCH, PATCH) sum over the objects; the box is the middle one of REACH x REACH squares.
        weight: (PATCH, PATCH) objects whose map reaches that place.
        objects: How many there are.
    """

    total: np.ndarray = field(default_factory=lambda: np.zeros((PATCH, PATCH)))
    weight: np.ndarray = field(default_factory=lambda: np.zeros((PATCH, PATCH)))
    objects: int = 0

    @property
    def mean(self) -> np.ndarray:
        """(PATCH, PATCH); NaN where no map reaches."""
        return np.divide(self.total, self.weight, out=np.full((PATCH, PATCH), np.nan), where=self.weight > 0)


@dataclass(frozen=True)
class Example:
    """An image with the saliency of all its found objects.

    Attributes:
        sample: The image.
        heat: (H, W) density of the saliency over the pixels; each object's adds up to 1.
        found: (N,) bool by object.
    """

    sample: Sample
    heat: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class SaliencyReport:
    """What was measured.

    Attributes:
        objects: A row for every level of each object that is found, and one for each of the others.
        patches: Mean patches by level and size.
        examples: A few images.
        images: How many were looked at.
        gradient: `features` or `image`.
        conf: Lowest score of a prediction that finds an object.
        folder: Where the figures and `saliency.csv` are.
    """

    objects: list[ObjectSaliency]
    patches: dict[str, dict[str, MeanPatch]]
    examples: list[Example]
    images: int
    gradient: str
    conf: float
    folder: Path

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return by size how many objects are found, and how many there are."""
        rows = {(row.image, row.number): row for row in self.objects}.values()
        sizes = {size: [row.score is not None for row in rows if row.size == size] for size in SIZES}
        return {size: (sum(found), len(found)) for size, found in sizes.items() if found}

    def means(self, level: str, size: str) -> dict[str, float]:
        """Return the means of what is measured, over the found objects of a size whose scores rest on a level.

        Empty where there is none.
        """
        names = ("in_box", "share_in_box", "share_in_ring", "area_of_box", "spread")
        rows = [row for row in self.objects if row.level == level and row.size == size and row.total]
        return {name: float(np.mean([getattr(row, name) for row in rows])) for name in names} if rows else {}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        counts = self.counts()
        levels = {level: {size: self.means(level, size) for size in counts} for level in self.patches}
        return {
            "images": self.images,
            "gradient": self.gradient,
            "conf": self.conf,
            "objects": {size: {"found": found, "all": number} for size, (found, number) in counts.items()},
            "levels": levels,
            "save_dir": self.folder,
        }

    def table(self) -> str:
        """Return the means by level and size as text for people."""
        counts = self.counts()
        found, number = (sum(column) for column in zip(*counts.values(), strict=True))
        lines = [
            f"{found} of {number} objects of {self.images} images are found (IoU >= 0.5, score >= {self.conf:g}). "
            "Means of their saliency:",
            f"{'level':6} {'size':20} {'found':>10} {'in box':>8} {'in ring':>8} {'if even':>8} "
            f"{'spread':>9} {'sum':>9}",
        ]
        for level in self.patches:
            for size, (some, every) in counts.items():
                means = self.means(level, size)
                shares = [_percent(means.get(name)) for name in ("share_in_box", "share_in_ring", "area_of_box")]
                rest = f"{means['spread']:>9.1f} {means['in_box']:>9.3g}" if "spread" in means else f"{'-':>9} {'-':>9}"
                columns = " ".join(f"{share:>8}" for share in shares)
                lines.append(f"{level:6} {describe_size(size):20} {f'{some} of {every}':>10} {columns} {rest}")
        lines.append(
            "in box, in ring: shares of an object's saliency; if even: of the box, were all cells alike; spread: "
            "radius that holds half of it, in pixels of the image; sum: within the box, as the paper gives it."
        )
        return "\n".join([*lines, f"\nFigures and saliency.csv: {self.folder}"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
