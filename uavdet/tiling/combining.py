"""From the detections of tiles to those of their frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.tiling.matching import Pairs, join_pairs, overlap_of, touching_pairs
from uavdet.tiling.merging import find_owners, rank_boxes
from uavdet.tiling.options import TilingOptions
from uavdet.tiling.parts import (
    COMPARABLE,
    best_scores,
    cut_after_joining,
    find_cut_sides,
    label_connected,
    match_parts,
    unite_boxes,
)


@dataclass
class _TileBoxes:
    """What tiles show.

    Attributes:
        boxes: (N, 4) float64 xyxy in the frame.
        scores: (N,).
        classes: (N,) int.
        tiles: (N,) int, the number of the tile; joined parts of several tiles have numbers of their own below 0.
        sides: (N, 4) bool, whether a side was cut by a border.
        margins: (N, 2) pixels in x and y within which a side is at a border.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    tiles: np.ndarray
    sides: np.ndarray
    margins: np.ndarray

    @property
    def cut(self) -> np.ndarray:
        """(N,) whether any side was cut."""
        return np.asarray(self.sides.any(axis=1))


def combine_tiles(
    found: Sequence[Detections],
    windows: np.ndarray,
    size: tuple[int, int],
    options: TilingOptions,
    margins: np.ndarray,
    max_det: int | None = None,
) -> Detections:
    """Return the detections of a frame.

    * Boxes of one tile are never compared with each other: its duplicates went when it was detected in, and two persons
      that stand closely stay two.
    * 'nmm' and 'greedynmm' first join the parts of objects that borders cut; see `match_parts`. What a tile shows whole
      is not stretched by what others show of it.
    * Then boxes are compared as `options` say; one that is cut, with a whole one, by the intersection over the smaller
      area in any case. Where scores are comparable a whole box stands for a cut one.

    Args:
        found: Detections of each tile, at least one, in the tile's pixels.
        windows: (T, 4) int xyxy of the tiles in the frame; the whole frame may be among them.
        size: (width, height) of the frame.
        options: How boxes are matched and merged.
        margins: (T, 2) pixels in x and y from a tile's border within which the side of a box counts as cut.
        max_det: Most detections, or None for all.
    """
    shown = _in_frame(found, windows, size, margins)
    if options.merge != "nms":
        shown = _join_parts(shown, windows[shown.tiles])
    pairs = _match(shown, options.merge_metric, options.merge_threshold)
    order = rank_boxes(shown.boxes, np.where(shown.cut, COMPARABLE * shown.scores, shown.scores))
    owners = find_owners(pairs, order, options.merge)
    scores = shown.scores if options.merge == "nms" else best_scores(shown.scores, owners)
    kept = np.flatnonzero(owners == np.arange(len(owners)))
    kept = kept[rank_boxes(shown.boxes[kept], scores[kept])][:max_det]
    return Detections(shown.boxes[kept].astype(np.float32), scores[kept], shown.classes[kept], found[0].names)


def _in_frame(
    found: Sequence[Detections], windows: np.ndarray, size: tuple[int, int], margins: np.ndarray
) -> _TileBoxes:
    tiles = np.repeat(np.arange(len(found)), [len(part) for part in found])
    corners = np.tile(windows[:, :2], 2)[tiles].astype(np.float64)
    boxes = np.concatenate([part.boxes.reshape(-1, 4) for part in found]).astype(np.float64) + corners
    return _TileBoxes(
        boxes,
        np.concatenate([part.scores for part in found]),
        np.concatenate([part.classes for part in found]),
        tiles,
        find_cut_sides(boxes, windows[tiles], size, margins[tiles]),
        margins[tiles],
    )


def _join_parts(shown: _TileBoxes, windows: np.ndarray) -> _TileBoxes:
    """Return what tiles show with parts joined."""
    pairs = match_parts(shown.boxes, shown.scores, shown.classes, windows, shown.cut)
    labels = label_connected(pairs, len(shown.boxes))
    united = unite_boxes(shown.boxes, labels)
    sides = cut_after_joining(shown.boxes, shown.sides, united, labels, shown.margins)
    several = np.bincount(labels, minlength=len(labels)) > 1
    tiles = np.where(several, -1 - np.arange(len(labels)), shown.tiles)
    kept = labels == np.arange(len(labels))
    scores = best_scores(shown.scores, labels)
    return _TileBoxes(united[kept], scores[kept], shown.classes[kept], tiles[kept], sides[kept], shown.margins[kept])


def _match(shown: _TileBoxes, metric: str, threshold: float) -> Pairs:
    """Return the pairs of boxes of different tiles that show one object."""
    found, cut = [], shown.cut
    for first, second in touching_pairs(shown.boxes, shown.classes):
        apart = shown.tiles[first] != shown.tiles[second]
        first, second = first[apart], second[apart]
        boxes, others = shown.boxes[first], shown.boxes[second]
        value = overlap_of(boxes, others, metric)
        if metric != "ios":
            one_is_cut = cut[first] != cut[second]
            value[one_is_cut] = overlap_of(boxes[one_is_cut], others[one_is_cut], "ios")
        found.append((first[value >= threshold], second[value >= threshold]))
    return join_pairs(found)
