"""Draws detections and tracks so that small objects stay visible.

Nothing is drawn on an object, but for labels on those that fill a tenth of the frame: outlines stand off it, labels are
placed where there is room, and trails and leader lines pass beneath. What finds no room is left out, the lowest score
first. It takes OpenCV alone: supervision's annotators draw lines on the edges of boxes, which cover objects of five
pixels, and come with the `video` extra.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.video.label_placement import NO_PLACE, Occupancy, needs_line, place_labels
from uavdet.video.text import Colour, text_height, text_width, write_words

_COLOURS: tuple[Colour, ...] = (
    (80, 220, 80), (60, 170, 255), (255, 190, 60), (230, 100, 230), (90, 90, 255), (220, 220, 60),
)  # fmt: skip
_DARK = (0, 0, 0)
_REFERENCE = 1000.0
_TEXT_SIZE = 0.42
_SMALLEST_OUTLINE = 11
_LABEL_SHARE = 0.06
_GROUND_SHARE = 0.1  # objects that fill more of a frame may have labels on them
_TRAIL = 40
_FORGET_AFTER = 30
_ENLARGE_BELOW = 900


@dataclass(frozen=True)
class DrawingOptions:
    """What pictures of detections show.

    Attributes:
        boxes: Draw boxes.
        labels: Write class names, and identities of tracks.
        conf: Write scores.
        line_width: Of boxes in pixels, or None for one that suits the picture.
        trails: Draw where tracks have been.
        enlarge: Double frames below 900 pixels, whose objects and labels would be small.
    """

    boxes: bool = True
    labels: bool = True
    conf: bool = True
    line_width: int | None = None
    trails: bool = True
    enlarge: bool = False


def class_colour(category: int) -> Colour:
    """Return a class's BGR colour."""
    return _COLOURS[category % len(_COLOURS)]


def draw_detections(image: np.ndarray, found: Detections, options: DrawingOptions) -> np.ndarray:
    """Return a copy of a picture, (H, W, 3) BGR or (H, W) grey, with its detections drawn on it."""
    return Painter(options).draw(image, found)


@dataclass
class _Trail:
    """Where a track has been, (x, y) in pixels, where its label stood, and the frame that it was last seen in."""

    points: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_TRAIL))
    choice: int = NO_PLACE
    seen: int = 0


class Painter:
    """Draws the frames of one source; it remembers the trails of tracks, and where their labels stood.

    Args:
        options: What to show.
    """

    def __init__(self, options: DrawingOptions) -> None:
        self._options = options
        self._trails: dict[int, _Trail] = {}
        self._size: tuple[int, ...] = ()
        self._count = 0

    def draw(self, image: np.ndarray, found: Detections) -> np.ndarray:
        """Return a copy of a frame with its detections drawn on it.

        Args:
            image: (H, W, 3) uint8 BGR or (H, W) grey.
            found: The detections of it; an identity below 1 is none.
        """
        canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 or image.shape[2] == 1 else image.copy()
        factor = 2 if self._options.enlarge and max(image.shape[:2]) < _ENLARGE_BELOW else 1
        if factor > 1:
            canvas = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        if canvas.shape != self._size:
            self._trails, self._size = {}, canvas.shape
        self._count += 1
        if self._options.boxes and len(found):
            _Drawing(canvas, found, factor, self._options, self._remember(found, factor)).draw()
        return canvas

    def _remember(self, found: Detections, factor: int) -> list[_Trail]:
        """Return the trail of each detection, and forget those that were not seen for a while."""
        if found.track_ids is None:
            return [_Trail() for _ in range(len(found))]
        middles = np.rint((found.boxes[:, :2] + found.boxes[:, 2:]) / 2 * factor).astype(int).tolist()
        trails = []
        for identity, (x, y) in zip(found.track_ids.tolist(), middles, strict=True):
            trail = self._trails.setdefault(identity, _Trail()) if identity > 0 else _Trail()
            trail.points.append((x, y))
            trail.seen = self._count
            trails.append(trail)
        self._trails = {key: trail for key, trail in self._trails.items() if self._count - trail.seen <= _FORGET_AFTER}
        return trails


class _Drawing:
    """The detections of one frame on their way onto its canvas.

    Args:
        canvas: (H, W, 3) uint8 BGR, which is drawn on.
        found: The detections.
        factor: By which the canvas is larger than the frame.
        options: What to show.
        trails: Of each detection.
    """

    def __init__(
        self, canvas: np.ndarray, found: Detections, factor: int, options: DrawingOptions, trails: list[_Trail]
    ) -> None:
        self._canvas, self._found, self._options, self._trails = canvas, found, options, trails
        self._scale = max(1.0, math.sqrt(canvas.shape[0] * canvas.shape[1]) / _REFERENCE)
        self._line = options.line_width or max(1, round(0.75 * self._scale))
        self._text = round(_TEXT_SIZE * self._scale, 2)
        self._colours = [class_colour(int(category)) for category in found.classes]
        self._boxes = found.boxes.astype(np.float64) * factor
        limit = np.array([canvas.shape[1], canvas.shape[0]] * 2)
        inner = np.concatenate([np.floor(self._boxes[:, :2]), np.ceil(self._boxes[:, 2:])], axis=1)
        self._inner = np.clip(inner, 0, limit).astype(int)
        self._outlines = self._find_outlines()
        self._legend: list[tuple[str, tuple[int, int, int]]] = []

    def draw(self) -> None:
        """Draw everything, the lowest first."""
        kept = [self._canvas[y1:y2, x1:x2].copy() for x1, y1, x2, y2 in self._inner.tolist()]
        labels = self._place() if self._options.labels else []
        if self._options.trails:
            self._draw_trails()
        for row, _, place, choice in labels:
            if needs_line(choice):
                self._draw_leader(row, place)
        self._restore(range(len(kept)), kept)
        self._draw_outlines()
        areas = (self._inner[:, 2:] - self._inner[:, :2]).prod(1)
        small = np.flatnonzero(areas < (24 * self._scale) ** 2)
        self._restore(small.tolist(), kept)
        for line, (left, top, category) in self._legend:
            write_words(self._canvas, (line,), (left, top), class_colour(category), self._text)
        for row, words, place, _ in labels:
            write_words(self._canvas, words, (int(place[0]), int(place[1])), self._colours[row], self._text)

    def _find_outlines(self) -> np.ndarray:
        """Return (N, 4) int xyxy, the outermost pixels of each outline: off the object, never tiny, and in sight."""
        off = 1 + self._line
        middle = (self._inner[:, :2] + self._inner[:, 2:]) / 2
        least = _SMALLEST_OUTLINE * self._scale / 2
        low = np.minimum(self._inner[:, :2] - off, np.floor(middle - least))
        high = np.maximum(self._inner[:, 2:] + off, np.ceil(middle + least))
        outlines = np.concatenate([low, high - 1], axis=1).astype(int)
        return np.clip(outlines, 0, np.array([self._canvas.shape[1], self._canvas.shape[0]] * 2) - 1)

    def _place(self) -> list[tuple[int, tuple[str, ...], np.ndarray, int]]:
        """Return the labels for which there is room: row, words, place xyxy and choice."""
        words, names = self._choose_words()
        rows = np.array([row for row, entry in enumerate(words) if entry], dtype=int)
        if not len(rows):
            return []
        cell = max(2, round(self._scale))
        height, width = self._canvas.shape[:2]
        areas = (self._inner[:, 2:] - self._inner[:, :2]).prod(1)
        objects = self._inner[areas <= _GROUND_SHARE * height * width] + np.array([-1, -1, 1, 1])
        occupancy = Occupancy((height, width), objects, cell)
        if names:
            self._place_legend(occupancy, names)
        widths = np.array([text_width(words[row], self._text) for row in rows], dtype=float)
        preferred = np.array([self._trails[row].choice for row in rows])
        places, choices = place_labels(
            occupancy, self._outlines[rows].astype(float), widths, text_height(self._text), preferred
        )
        for row, choice in zip(rows.tolist(), choices.tolist(), strict=True):
            self._trails[row].choice = choice
        return [
            (row, words[row], place, choice)
            for row, place, choice in zip(rows.tolist(), places, choices.tolist(), strict=True)
            if choice != NO_PLACE
        ]

    def _choose_words(self) -> tuple[list[tuple[str, ...]], dict[int, str]]:
        """Return the words of each label, fewer where all of them would fill the frame, and the classes for a legend.

        A legend tells the colours of classes whose names are on no label.
        """
        found, options = self._found, self._options
        ids = found.track_ids.tolist() if found.track_ids is not None else [0] * len(found)
        numbers: list[tuple[str, ...]] = [(f"{identity}",) if identity > 0 else () for identity in ids]
        named = [(*number, name) for number, name in zip(numbers, found.class_names, strict=True)]
        kinds: list[list[tuple[str, ...]]] = [named]
        if options.conf:
            kinds.insert(0, [(*words, f"{score:.2f}") for words, score in zip(named, found.scores, strict=True)])
        room = _LABEL_SHARE * self._canvas.shape[0] * self._canvas.shape[1] / text_height(self._text)
        for words in kinds:
            if sum(text_width(entry, self._text) for entry in words) <= room:
                return words, {}
        if not any(numbers):
            return named, {}
        return numbers, dict(zip(found.classes.tolist(), found.class_names, strict=True))

    def _place_legend(self, occupancy: Occupancy, names: dict[int, str]) -> None:
        """Find a corner for the legend that has no object; without one there is none."""
        height, width = self._canvas.shape[:2]
        line = text_height(self._text)
        sides = max(text_width((name,), self._text) for name in names.values()), line * len(names)
        low, high = (line // 2, line // 2), (width - line // 2 - sides[0], height - line // 2 - sides[1])
        for left, top in ((low[0], low[1]), (high[0], low[1]), (low[0], high[1]), (high[0], high[1])):
            place = np.array([left, top, left + sides[0], top + sides[1]], dtype=float)
            cells = occupancy.cells(place)
            if occupancy.free_of_objects(place, cells) and occupancy.take(cells.tolist()):
                self._legend = [(names[c], (left, top + row * line, c)) for row, c in enumerate(sorted(names))]
                return

    def _draw_trails(self) -> None:
        for trail, colour in zip(self._trails, self._colours, strict=True):
            if len(trail.points) < 2:
                continue
            points = np.array(trail.points, dtype=np.int32)
            half = len(points) // 2
            faded = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
            cv2.polylines(self._canvas, [points[: half + 1]], False, faded, self._line)
            cv2.polylines(self._canvas, [points[half:]], False, colour, self._line)

    def _draw_leader(self, row: int, place: np.ndarray) -> None:
        """Draw a line from the outline to the nearest point of the label."""
        box = self._outlines[row]
        middle = (box[:2] + box[2:]) / 2
        end = np.clip(middle, place[:2], place[2:])
        start = np.clip(end, box[:2], box[2:])
        ends = [tuple(int(v) for v in np.rint(point)) for point in (start, end)]
        cv2.line(self._canvas, ends[0], ends[1], self._colours[row], self._line, cv2.LINE_AA)

    def _draw_outlines(self) -> None:
        """Draw boxes with a dark edge outside, the best ones on top."""
        for row in range(len(self._outlines) - 1, -1, -1):
            x1, y1, x2, y2 = self._outlines[row].tolist()
            for step in range(self._line + 1):
                colour = _DARK if not step else self._colours[row]
                inset = step - 1
                cv2.rectangle(self._canvas, (x1 + inset, y1 + inset), (x2 - inset, y2 - inset), colour, 1)

    def _restore(self, rows: Iterable[int], kept: list[np.ndarray]) -> None:
        """Put back the objects of some rows."""
        for row in rows:
            x1, y1, x2, y2 = self._inner[row].tolist()
            self._canvas[y1:y2, x1:x2] = kept[row]


def fit_canvas(canvas: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture scaled into (height, width), its proportions kept, on black; itself where it has that size."""
    if canvas.shape[:2] == size:
        return canvas
    scale = min(size[0] / canvas.shape[0], size[1] / canvas.shape[1])
    height, width = (max(1, round(side * scale)) for side in canvas.shape[:2])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    fitted = np.zeros((*size, 3), dtype=canvas.dtype)
    fitted[top : top + height, left : left + width] = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return fitted
