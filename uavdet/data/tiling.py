"""Cuts annotated images into overlapping tiles, as DOTA's development kit does: the last tile ends at the border.

An object with at least 70 % of its area in a tile is an object of that tile. One with less is neither right nor wrong
there: that part becomes an ignore region. An object that is smaller than the overlap is whole in at least one tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from uavdet.data.annotations import AnnotatedImage, Annotation, Box, DropLog, IgnoreRegion
from uavdet.errors import UsageError

MIN_VISIBLE = 0.7  # the share that DOTA's development kit asks for
_POINT_FLAGS = ("polygon", "segmentation")


class Window(NamedTuple):
    """A tile's place in its image, in pixels."""

    left: int
    top: int
    width: int
    height: int


class CutObject(IgnoreRegion):
    """The part of an object in a tile that shows too little of it."""


def tile_windows(size: tuple[int, int], tile: tuple[int, int], overlap: int) -> list[Window]:
    """Return the windows that cover an image, row by row.

    Args:
        size: (width, height) of the image in pixels.
        tile: (width, height) of a tile; an image that is narrower or lower gives tiles of its own width or height.
        overlap: Pixels that neighbouring tiles share, at least.

    Raises:
        UsageError: The overlap is not smaller than the tile.
    """
    if overlap >= min(tile):
        raise UsageError(f"overlap={overlap} is not smaller than the tile of {min(tile)} pixels. Give a smaller one.")
    columns, rows = (_starts(length, side, overlap) for length, side in zip(size, tile, strict=True))
    width, height = min(size[0], tile[0]), min(size[1], tile[1])
    return [Window(left, top, width, height) for top in rows for left in columns]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    starts = list(range(0, max(length - side, 0), side - overlap))
    return [*starts, max(length - side, 0)]


def cut_tiles(
    images: Iterable[AnnotatedImage], tile: tuple[int, int], overlap: int, split: str, drops: DropLog
) -> Iterator[AnnotatedImage]:
    """Yield the tiles of images; an image that is no larger than a tile is yielded whole.

    Flags of a tile's image: `tile_of`, the image's name, and `tile`, [left, top, width, height] in it.

    Args:
        images: Annotated images whose boxes have area inside of them.
        tile: (width, height) in pixels.
        overlap: Pixels that neighbouring tiles share.
        split: The split that drops are counted in.
        drops: Where objects are counted of which no tile shows 70 %, which are larger than the overlap.
    """
    for image in images:
        windows = tile_windows(image.size, tile, overlap)
        if len(windows) == 1:
            yield image
            continue
        shares = visible_shares([entry.box for entry in image.objects], image.size, windows)
        for entry, best in zip(image.objects, shares.max(0, initial=0.0), strict=True):
            if best < MIN_VISIBLE and not entry.ignored:
                drops.add(split, "object of which no tile shows 70 %; give a larger tile or overlap", entry.origin)
        for window, shown in zip(windows, shares, strict=True):
            yield _cut_tile(image, window, shown)


def visible_shares(boxes: Sequence[Box], size: tuple[int, int], windows: Sequence[Window]) -> np.ndarray:
    """Return (windows, boxes) the share of each box's area, as far as it lies inside the image, that a window shows."""
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    corners = np.clip(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), 0, (*size, *size))
    frames = np.array([(w.left, w.top, w.left + w.width, w.top + w.height) for w in windows], dtype=np.float64)
    low = np.maximum(frames[:, None, :2], corners[None, :, :2])
    high = np.minimum(frames[:, None, 2:], corners[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2) / (corners[:, 2:] - corners[:, :2]).prod(1)


def _cut_tile(image: AnnotatedImage, window: Window, shares: np.ndarray) -> AnnotatedImage:
    path = PurePosixPath(image.name)
    corner = image.crop[:2] if image.crop else (0, 0)
    cut = AnnotatedImage(
        file=image.file,
        name=str(path.with_name(f"{path.stem}__{window.left}_{window.top}.png")),
        size=(window.width, window.height),
        flags={**image.flags, "tile_of": image.name, "tile": list(window)},
        crop=(corner[0] + window.left, corner[1] + window.top, window.width, window.height),
    )
    for index in np.flatnonzero(shares):
        _add_object(cut, image.objects[index], float(shares[index]), window)
    excluded = visible_shares([entry.box for entry in image.excluded], image.size, [window])[0]
    for index in np.flatnonzero(excluded):
        cut.excluded.append(_cut_annotation(image.excluded[index], float(excluded[index]), window))
    for region in image.ignore_regions:
        shown = _intersect(region.box, window)
        if shown[2] > 0 and shown[3] > 0:
            cut.ignore_regions.append(replace(region, box=_shift(shown, window)))
    return cut


def _add_object(cut: AnnotatedImage, entry: Annotation, share: float, window: Window) -> None:
    """Add an object to a tile that shows this share of it; an ignored one is ignored however little is seen."""
    if share >= MIN_VISIBLE or entry.ignored:
        cut.objects.append(_cut_annotation(entry, share, window))
    else:
        box = _shift(_intersect(entry.box, window), window)
        flags = {"visible": round(share, 4), "track_id": entry.track_id, **_shift_points(entry.flags, window)}
        flags = {key: value for key, value in flags.items() if value is not None}
        cut.ignore_regions.append(CutObject(box, f"cut {entry.category}", flags, entry.origin))


def _cut_annotation(entry: Annotation, share: float, window: Window) -> Annotation:
    """Return an object in a tile's pixels; one that is cut is clipped, and keeps its whole box in a flag."""
    flags = _shift_points(entry.flags, window)
    if share == 1:
        return replace(entry, box=_shift(entry.box, window), flags=flags)
    flags |= {"whole_bbox": list(_shift(entry.box, window)), "visible": round(share, 4)}
    area = None if entry.area is None else entry.area * share
    return replace(entry, box=_shift(_intersect(entry.box, window), window), area=area, flags=flags)


def _shift_points(flags: dict[str, Any], window: Window) -> dict[str, Any]:
    """Return the flags with polygons in a tile's pixels; a run-length mask, which has the image's size, is left out."""
    shifted = dict(flags)
    for key in _POINT_FLAGS:
        if isinstance(flags.get(key), list):
            shifted[key] = _shift_polygon(flags[key], window)
        else:
            shifted.pop(key, None)
    return shifted


def _shift_polygon(points: list[Any], window: Window) -> list[Any]:
    if points and isinstance(points[0], list):
        return [_shift_polygon(part, window) for part in points]
    return [value - window[index % 2] for index, value in enumerate(points)]


def _intersect(box: Box | Window, other: tuple[float, float, float, float]) -> Box:
    left, top = max(box[0], other[0]), max(box[1], other[1])
    right, bottom = min(box[0] + box[2], other[0] + other[2]), min(box[1] + box[3], other[1] + other[3])
    return left, top, max(right - left, 0.0), max(bottom - top, 0.0)


def _shift(box: Box, window: Window) -> Box:
    return box[0] - window.left, box[1] - window.top, box[2], box[3]
