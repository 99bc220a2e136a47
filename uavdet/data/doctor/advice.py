"""Advice that follows from the numbers of a dataset, each with the numbers that it follows from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from uavdet.assets import list_assets, read_yaml

QUERY_MARGIN = 1.2
"""Queries an object: selection by score gives some objects two queries, so that as many as objects miss a few."""
QUERY_STEP = 100
LOST_PIXELS = 8.0
"""Side in network pixels below which an object is smaller than one cell of the finest level (stride 8)."""
TINY_PIXELS = 16.0
"""Side below which AI-TOD calls an object tiny; two cells of the finest level."""
TARGET_PIXELS = 12.0
"""Side to bring the median object to: one and a half cells, so that a cell's centre falls into most objects."""
TINY_SHARE = 0.5
"""Share of objects under 16 px from which the typical object is tiny, and the image size worth changing."""
SIZE_STEP = 32
"""Sides of inputs are multiples of the coarsest stride."""
LARGEST_GROWTH = 2.0
"""Growth of the input's side that is still advised: twice the side costs four times the compute and memory."""
TILE_RATIO = 2.0
"""Image side over input side from which tiles are advised: below it, a larger input costs no more than tiles."""
TILE_OVERLAP_PERCENTAGE = 99.0
"""Tiles share a strip as wide as this percentile of the objects' longer sides: each such object is whole in one."""
THUMBDET_FACTORS = (4, 2)
THUMBDET_KEPT = 0.75
"""Share of objects that must keep 8 px behind ThumbDet's down-sampler; those below it are what it would cost."""
THUMBDET_SMALL_SHARE = 0.25
"""Share of objects under 16 px from which detail beyond the trunk's input is worth a down-sampler."""
RARE_OBJECTS = 50
"""Objects of a class in training below which its AP is mostly chance."""
UNLABELLED_SHARE = 0.1
"""Share of training images without a label file from which files were rather forgotten than left out on purpose."""
LEAKED_SHARE = 0.01
"""Share of a scored split with a twin in training that moves a score by as much as methods differ: a point in 100."""
DENSE_OBJECTS = 100
"""Objects an image beyond which COCO's 100 detections cannot all be hits."""
_LISTED_CLASSES = 6
_TILING = "tiling"


@dataclass(frozen=True)
class Advice:
    """One piece of advice.

    Attributes:
        topic: What it is about.
        action: What to do, or that there is nothing to do.
        reason: The numbers that it follows from.
        change: Whether there is something to do.
    """

    topic: str
    action: str
    reason: str
    change: bool = True

    def __str__(self) -> str:
        return f"{self.topic}: {self.action}, because {self.reason}."


@dataclass(frozen=True)
class Evidence:
    """The numbers that advice follows from.

    Attributes:
        names: Class names.
        counts: (I,) objects of each image, of all splits.
        original: (N, 2) widths and heights of all boxes in original pixels.
        network: (N, 2) the same in pixels of the network's input.
        long_side: Median longer side of the images in pixels.
        imgsz: Longer side of the network's input in pixels.
        shape: (height, width) of that input over its longer side.
        queries: Queries of the model, or None for one without.
        class_objects: Objects of each class in training; empty where there is no training split.
        unlabelled: (images without a label file, images) of the training split.
        leaked: Split to (images with an identical or near-duplicate image in training, images).
    """

    names: tuple[str, ...]
    counts: np.ndarray
    original: np.ndarray
    network: np.ndarray
    long_side: float
    imgsz: int
    queries: int | None
    class_objects: Mapping[str, int]
    unlabelled: tuple[int, int] = (0, 0)
    leaked: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shape: tuple[float, float] = (1.0, 1.0)

    def write_size(self, longer: int, step: int = SIZE_STEP) -> str:
        """Return an input of this longer side as `imgsz=` takes it: "640", or "height,width" of multiples of `step`."""
        if longer == self.imgsz:
            height, width = (round(longer * share) for share in self.shape)
        else:
            height, width = (round_up(longer * share, step) for share in self.shape)
        return str(width) if height == width else f"{height},{width}"


def advise(evidence: Evidence) -> list[Advice]:
    """Return all advice, that with something to do first; where there is none, the last entries say why not."""
    size = advise_resolution(evidence)
    found = [
        _for_whole_images(advise_queries(evidence), size),
        size,
        _as_alternative(advise_thumbdet(evidence), size),
        advise_classes(evidence),
        *advise_splits(evidence),
        advise_labels(evidence),
        advise_protocol(evidence),
    ]
    return sorted((entry for entry in found if entry is not None), key=lambda entry: not entry.change)


def _for_whole_images(queries: Advice | None, size: Advice | None) -> Advice | None:
    """Say of advice on queries that it is not for tiles, where these are advised, too: they show fewer objects."""
    if queries is None or size is None or size.topic != _TILING or not queries.change:
        return queries
    return replace(queries, action=f"{queries.action} for whole images; for tiles run doctor on them")


def _as_alternative(thumbdet: Advice | None, size: Advice | None) -> Advice | None:
    """Say of ThumbDet, whose trunk keeps its input, that it is in the place of a larger input or of tiles."""
    if thumbdet is None or size is None or not (thumbdet.change and size.change):
        return thumbdet
    return replace(thumbdet, action=f"{thumbdet.action}, in the place of another {size.topic}: one of the two")


def round_up(value: float, step: int) -> int:
    """Return the next multiple of `step` that is no smaller."""
    return math.ceil(round(value / step, 6)) * step


def advise_queries(evidence: Evidence) -> Advice | None:
    """Advise the number of queries: that of objects at the 99th percentile with a margin, in steps of 100."""
    if evidence.queries is None or not len(evidence.original):
        return None
    p99, most = float(np.percentile(evidence.counts, 99)), int(evidence.counts.max())
    needed = round_up(p99 * QUERY_MARGIN, QUERY_STEP)
    numbers = f"an image has {p99:.0f} objects at the 99th percentile and at most {most}"
    if p99 * QUERY_MARGIN <= evidence.queries:
        return Advice("queries", f"keep {evidence.queries}", numbers, change=False)
    lost = float(np.maximum(evidence.counts - evidence.queries, 0).sum() / evidence.counts.sum())
    reach = f", and {lost:.1%} of all objects are beyond {evidence.queries} queries" if lost else ""
    return Advice("queries", f"queries={needed} in the place of {evidence.queries}", numbers + reach)


def advise_resolution(evidence: Evidence) -> Advice | None:
    """Advise a larger input or tiles where objects are lost at the training size.

    A larger input is advised up to twice the side and up to the size of the images, beyond which there is no detail;
    then tiles, where the images are more than twice as large as the input.
    """
    if not len(evidence.network):
        return None
    side, imgsz = _median_side(evidence.network), evidence.imgsz
    tiny = float((evidence.network.prod(1) < TINY_PIXELS**2).mean())
    given = evidence.write_size(imgsz)
    numbers = f"the median object is {side:.1f} px and {tiny:.0%} of objects are under 16x16 px at {given}"
    if side >= TARGET_PIXELS or (side >= LOST_PIXELS and tiny <= TINY_SHARE):
        return Advice("image size", f"keep imgsz={given}", numbers, change=False)
    needed = round_up(imgsz * TARGET_PIXELS / side, SIZE_STEP)
    limit = round_up(evidence.long_side, SIZE_STEP)
    if needed > LARGEST_GROWTH * imgsz and evidence.long_side > TILE_RATIO * imgsz:
        return _advise_tiles(evidence, numbers, needed)
    advised = min(needed, limit, int(LARGEST_GROWTH * imgsz))
    if advised <= imgsz:
        text = f"{numbers}, and the images hold no more detail ({evidence.long_side:.0f} px)"
        return Advice("image size", "keep it, and take a model with stride-4 detail (so-detr-*)", text)
    gain = f"{numbers}; there it is {side * advised / imgsz:.1f} px, at {(advised / imgsz) ** 2:.1f} times the compute"
    return Advice("image size", f"imgsz={evidence.write_size(advised)} in the place of {given}", gain)


def _advise_tiles(evidence: Evidence, numbers: str, needed: int) -> Advice:
    longer = float(np.percentile(evidence.original.max(1), TILE_OVERLAP_PERCENTAGE))
    overlap = min(round_up(longer, SIZE_STEP), int(evidence.imgsz * min(evidence.shape)) // 2)
    return Advice(
        _TILING,
        f"cut the images by `uavdet convert tile={evidence.write_size(evidence.imgsz)} overlap={overlap}`",
        f"{numbers}; {TARGET_PIXELS:.0f} px would take imgsz={evidence.write_size(needed)}, while the images are "
        f"{evidence.long_side:.0f} px and show it at {_median_side(evidence.original):.1f} px",
    )


def _median_side(sides: np.ndarray) -> float:
    return float(np.median(np.sqrt(sides.prod(1))))


def advise_thumbdet(evidence: Evidence) -> Advice | None:
    """Advise the factor of ThumbDet, whose learned down-sampler reads an input 2 or 4 times larger than the trunk's.

    The trunk keeps working at `imgsz`. It is advised where the images are that much larger, and three quarters of the
    objects keep 8 px at the trunk, while a quarter of them is under 16 px. The input must be a multiple of 64 (factor
    2) or 128 (factor 4).
    """
    if evidence.queries is None or not len(evidence.network):
        return None
    ratio, imgsz = evidence.long_side / evidence.imgsz, evidence.imgsz
    given = evidence.write_size(imgsz)
    factor = next((factor for factor in THUMBDET_FACTORS if ratio >= factor), None)
    if factor is None:
        size = f"the images ({evidence.long_side:.0f} px) are {ratio:.1f} times the input of {given}; it pays from 2"
        return Advice("ThumbDet factor", "none", size, change=False)
    sides = np.sqrt(evidence.network.prod(1))
    kept, small = float((sides >= LOST_PIXELS).mean()), float((sides < TINY_PIXELS).mean())
    numbers = f"{kept:.0%} of objects keep {LOST_PIXELS:.0f} px at {given} behind the down-sampler"
    if kept < THUMBDET_KEPT:
        return Advice("ThumbDet factor", "none", f"only {numbers}; {THUMBDET_KEPT:.0%} should", change=False)
    if small < THUMBDET_SMALL_SHARE:
        text = f"only {small:.0%} of objects are under 16x16 px at {given}; it pays from {THUMBDET_SMALL_SHARE:.0%}"
        return Advice("ThumbDet factor", "none", text, change=False)
    step = SIZE_STEP * factor
    source = evidence.write_size(round_up(imgsz * factor, step), step)
    action = f"{factor}, with an input of {source} (a multiple of {step})"
    return Advice("ThumbDet factor", action, f"the images are {ratio:.1f} times the input of {given}, and {numbers}")


def advise_classes(evidence: Evidence) -> Advice | None:
    """Name the classes with too few objects to learn or to score."""
    rare = sorted((count, name) for name, count in evidence.class_objects.items() if count < RARE_OBJECTS)
    if not rare or not len(evidence.original):
        return None
    listed = ", ".join(f"{name} {count}" for count, name in rare[:_LISTED_CLASSES])
    more = f" and {len(rare) - _LISTED_CLASSES} more" if len(rare) > _LISTED_CLASSES else ""
    return Advice(
        "classes",
        "collect more, merge them or leave them out",
        f"these have fewer than {RARE_OBJECTS} objects in training: {listed}{more}",
    )


def advise_splits(evidence: Evidence) -> list[Advice]:
    """Name the scored splits that share pictures with the training split."""
    return [
        Advice(
            "leakage",
            f"split by flight or place, or take these images out of {split}",
            f"{count} of {total} {split} images have an identical or near-duplicate image in training",
        )
        for split, (count, total) in evidence.leaked.items()
        if total and count / total >= LEAKED_SHARE
    ]


def advise_labels(evidence: Evidence) -> Advice | None:
    """Ask for label files where many training images have none."""
    missing, total = evidence.unlabelled
    if not total or missing / total < UNLABELLED_SHARE:
        return None
    return Advice(
        "labels",
        "look whether label files were forgotten; write empty ones for images that show nothing",
        f"{missing} of {total} training images ({missing / total:.0%}) have no label file and count as background",
    )


def advise_protocol(evidence: Evidence) -> Advice | None:
    """Advise the protocol by which to score and publish."""
    if not len(evidence.original):
        return None
    tiny = float((evidence.original.prod(1) < TINY_PIXELS**2).mean())
    p99 = float(np.percentile(evidence.counts, 99))
    if _is_visdrone(evidence.names):
        return Advice("protocol", "visdrone", "the classes are VisDrone's", change=False)
    if tiny > TINY_SHARE:
        reason = f"{tiny:.0%} of objects are under 16x16 original pixels, which COCO's sizes do not tell apart"
        return Advice("protocol", "aitod", reason, change=False)
    if p99 > DENSE_OBJECTS:
        reason = f"an image has {p99:.0f} objects at the 99th percentile, and COCO counts {DENSE_OBJECTS} detections"
        return Advice("protocol", "coco500", reason, change=False)
    reason = f"{tiny:.0%} of objects are under 16x16 original pixels and an image has {p99:.0f} objects at the 99th "
    return Advice("protocol", "coco", reason + "percentile", change=False)


def _is_visdrone(names: tuple[str, ...]) -> bool:
    file = list_assets("datasets").get("visdrone.yaml")
    listed = (read_yaml(file) or {}).get("names") if file else {}
    known = listed.values() if isinstance(listed, dict) else listed or []
    return [name.lower() for name in names] == [str(name).lower() for name in known]
