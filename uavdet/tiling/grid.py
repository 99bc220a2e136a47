"""Where the tiles of a frame lie."""

from __future__ import annotations

import math

import numpy as np


def tile_grid(size: tuple[int, int], tile: tuple[int, int], overlap: float) -> np.ndarray:
    """Return the tiles that cover a frame, row by row.

    Every tile has the full size: the last one of a row or column is shifted to end at the frame's border, as SAHI does.
    A frame that is narrower or lower than a tile has tiles of its own width or height.

    Args:
        size: (width, height) of the frame in pixels, each at least 1.
        tile: (width, height) of a tile in pixels.
        overlap: Share of a tile's side that neighbours have in common, at least.

    Returns:
        (N, 4) int64 xyxy in pixels, at least one.
    """
    width, height = (min(side, length) for side, length in zip(tile, size, strict=True))
    lefts, tops = _starts(size[0], width, overlap), _starts(size[1], height, overlap)
    corners = np.stack([np.tile(lefts, len(tops)), np.repeat(tops, len(lefts))], axis=1)
    return np.concatenate([corners, corners + np.array([width, height])], axis=1)


def fitting_side(length: int, count: int, overlap: float) -> int:
    """Return the shortest tile of which `count` cover a length with this overlap."""
    single_steps = length - count + 1  # neighbours differ by a pixel at least, whatever the overlap
    side = max(min(math.ceil(length / (count - (count - 1) * overlap)), single_steps), 1)
    while len(_starts(length, side, overlap)) > count:  # an overlap of whole pixels can ask for a little more
        side += 1
    return side


def _starts(length: int, side: int, overlap: float) -> np.ndarray:
    """Return where tiles of a side start on a length."""
    step = max(side - math.ceil(side * overlap - 1e-9), 1)
    last = max(length - side, 0)
    return np.append(np.arange(0, last, step), last).astype(np.int64)
