"""Finds places for labels where they cover no object and no other label."""

from __future__ import annotations

import cv2
import numpy as np

_NEAR = 7
_DIRECTIONS = 12
_RINGS = (1.0, 2.2, 3.6)  # heights of a label between an object and its label
_AWAY = np.repeat(np.array(_RINGS), _DIRECTIONS)
# The first direction is up and right; rings are turned by half a step to one another, which makes more room.
_ANGLES = 2 * np.pi * (np.arange(len(_AWAY)) + np.arange(len(_AWAY)) // _DIRECTIONS % 2 / 2) / _DIRECTIONS - np.pi / 3
_COSINES, _SINES = np.cos(_ANGLES), np.sin(_ANGLES)
NO_PLACE = -1
"""Choice of a label for which there was no room."""


class Occupancy:
    """Which parts of a frame are taken.

    It works in cells of some pixels: objects grow to whole cells, so what is free of them is so to the pixel.

    Args:
        size: (height, width) of the frame.
        objects: (N, 4) xyxy in pixels, which no label may cover.
        cell: Pixels a side of a cell.
    """

    def __init__(self, size: tuple[int, int], objects: np.ndarray, cell: int) -> None:
        self.size, self._cell = size, cell
        self._labels = np.zeros((-(-size[0] // cell), -(-size[1] // cell)), dtype=np.uint8)
        grid = self._labels.copy()
        for x1, y1, x2, y2 in self.cells(objects).tolist():
            grid[y1:y2, x1:x2] = 1
        self._sums = cv2.integral(grid)

    def cells(self, boxes: np.ndarray) -> np.ndarray:
        """Return (..., 4) the first and last+1 cells that boxes (..., 4) xyxy touch, inside of the grid."""
        rows, columns = self._labels.shape
        cells = boxes / self._cell
        np.floor(cells[..., :2], out=cells[..., :2])
        np.ceil(cells[..., 2:], out=cells[..., 2:])
        np.clip(cells, 0, np.array([columns, rows, columns, rows]), out=cells)
        return cells.astype(np.int32)

    def free_of_objects(self, places: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Return (..., ) whether places (..., 4) xyxy, which touch these cells, are in the frame and on no object."""
        height, width = self.size
        inside = (places[..., :2] >= 0).all(-1) & (places[..., 2] <= width) & (places[..., 3] <= height)
        x1, y1, x2, y2 = np.moveaxis(cells, -1, 0)
        sums = self._sums
        return inside & (sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1] == 0)

    def take(self, cells: list[int]) -> bool:
        """Take cells x1, y1, x2, y2 for a label, and return whether no other label had any of them."""
        x1, y1, x2, y2 = cells
        window = self._labels[y1:y2, x1:x2]
        if window.any():
            return False
        window[:] = 1
        return True


def place_labels(
    occupancy: Occupancy, anchors: np.ndarray, widths: np.ndarray, height: int, preferred: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a place for each label, the first label first; those without room get none.

    A label stands at its object if it can: above, below, right or left of it. Otherwise it stands further away, where a
    line has to lead to it.

    Args:
        occupancy: What is taken; the places that are chosen are taken as well.
        anchors: (N, 4) xyxy in pixels, the outlines of the objects.
        widths: (N,) pixels of each label.
        height: Pixels of every label.
        preferred: (N,) choices to try first, such as those of the frame before, or `NO_PLACE`.

    Returns:
        (N, 4) int places xyxy, and (N,) the choices: `NO_PLACE`, or the number of a kind of place, from
        `needs_line` upwards those away from the object.
    """
    places = np.rint(_candidates(anchors, widths, height)).astype(np.int64)
    cells = occupancy.cells(places)
    free = occupancy.free_of_objects(places, cells)
    chosen = np.full(len(anchors), NO_PLACE, dtype=np.int64)
    for label in range(len(anchors)):
        choices = np.flatnonzero(free[label]).tolist()
        if preferred is not None and preferred[label] in choices:
            choices.insert(0, int(preferred[label]))
        chosen[label] = next((choice for choice in choices if occupancy.take(cells[label, choice].tolist())), NO_PLACE)
    return places[np.arange(len(anchors)), np.maximum(chosen, 0)], chosen


def needs_line(choice: int) -> bool:
    """Return whether a chosen place is away from its object, so that a line has to lead there."""
    return choice >= _NEAR


def _candidates(anchors: np.ndarray, widths: np.ndarray, height: int) -> np.ndarray:
    """Return (N, C, 4) places xyxy that a label may have, the best first."""
    left, top, right, bottom = anchors.T
    gap = max(1, height // 8)
    above, below, after, before = top - gap - height, bottom + gap, right + gap, left - gap - widths
    # The last one is inside, which is free where an object is so large that it counts as ground.
    near = [left, left, after, before, right - widths, right - widths, left + 2 * gap]
    near_tops = [above, below, top, top, above, below, top + 2 * gap]
    middle, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    reach_x = sides[:, :1] / 2 + widths[:, None] / 2 + _AWAY * height
    reach_y = sides[:, 1:] / 2 + height / 2 + _AWAY * height
    far = middle[:, :1] + _COSINES * reach_x - widths[:, None] / 2
    far_tops = middle[:, 1:] + _SINES * reach_y - height / 2
    places = np.empty((len(anchors), _NEAR + len(_AWAY), 4))
    places[:, :_NEAR, 0], places[:, _NEAR:, 0] = np.stack(near, axis=1), far
    places[:, :_NEAR, 1], places[:, _NEAR:, 1] = np.stack(near_tops, axis=1), far_tops
    places[..., 2] = places[..., 0] + widths[:, None]
    places[..., 3] = places[..., 1] + height
    return places
