"""Draws tracked objects so that small ones stay visible."""

from __future__ import annotations

import cv2
import numpy as np

_COLOURS = ((80, 220, 80), (60, 170, 255), (255, 190, 60), (230, 100, 230), (90, 90, 255), (220, 220, 60))
_ENLARGE_BELOW = 900
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def class_colour(category: int) -> tuple[int, int, int]:
    """Return a class's BGR colour."""
    return _COLOURS[category % len(_COLOURS)]


def draw_tracks(
    frame: np.ndarray, boxes: np.ndarray, classes: np.ndarray, identities: np.ndarray, names: dict[int, str]
) -> np.ndarray:
    """Return a copy of a frame with boxes, identities and a legend; small frames are enlarged twice.

    Boxes are one pixel thick and stand a pixel off the object; an object below 16 pixels gets its number only, beside
    the box.

    Args:
        frame: (H, W, 3) uint8 BGR.
        boxes: (N, 4) xyxy in pixels.
        classes: (N,).
        identities: (N,), from 1; 0 for an object without a track.
        names: Class id to class name.
    """
    scale = 2 if max(frame.shape[:2]) < _ENLARGE_BELOW else 1
    canvas = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else frame.copy()
    for index, (box, category) in enumerate(zip(boxes * scale, classes, strict=True)):
        left, top, right, bottom = (int(v) for v in (box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2))
        colour = class_colour(int(category))
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1, cv2.LINE_AA)
        if identities[index]:
            write_text(canvas, str(int(identities[index])), (left, top - 3), colour, 0.35)
    for row, category in enumerate(sorted(names)):
        write_text(canvas, names[category], (8, 18 + 18 * row), class_colour(category), 0.5)
    return canvas


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


def write_text(
    canvas: np.ndarray, text: str, origin: tuple[int, int], colour: tuple[int, int, int], size: float
) -> None:
    """Write text with a dark outline, readable on any ground.

    The outline is the text itself, moved by a pixel: a thicker stroke is wider in OpenCV 5 and would not lie beneath.
    """
    for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        cv2.putText(canvas, text, (origin[0] + right, origin[1] + down), _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, text, origin, _FONT, size, colour, 1, cv2.LINE_AA)
