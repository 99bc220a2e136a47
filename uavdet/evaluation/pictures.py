"""Images with their found, missed and false objects drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from uavdet.evaluation.confusion import ImageErrors, missed_objects
from uavdet.evaluation.truth import ImageTruth

Colour = tuple[int, int, int]
FOUND: Colour = (90, 210, 60)
MISSED: Colour = (0, 190, 255)
FALSE: Colour = (70, 70, 255)
CONFUSED: Colour = (255, 90, 230)
IGNORED: Colour = (240, 190, 70)
_PLATE: Colour = (30, 30, 30)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALL_SIDE = 1280
_MOST_ENLARGED = 8
_SMALLEST_UNIT = 0.6
_MOST_LABELS = 60
_QUALITY = 92


def draw_errors(
    image: np.ndarray, truth: ImageTruth, errors: ImageErrors, names: Mapping[int, str], confidence: float
) -> np.ndarray:
    """Return a copy of an image with a box for everything found, missed or false, and a legend below it.

    Small images are enlarged so that boxes of few pixels stay visible; boxes stand just outside of what they hold.
    Names are written where there are few enough errors to read them.

    Args:
        image: (H, W, 3) uint8 BGR; may be of another size than annotated.
        truth: The annotations.
        errors: What `find_errors` says of the detections.
        names: Class id to class name.
        confidence: The lowest score of the detections, for the legend.
    """
    enlarged = int(np.clip(_SMALL_SIDE // max(image.shape[:2]), 1, _MOST_ENLARGED))
    canvas = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    scale = np.tile([canvas.shape[1] / truth.size[0], canvas.shape[0] / truth.size[1]], 2)
    unit = max(max(canvas.shape[:2]) / _SMALL_SIDE, _SMALLEST_UNIT)
    for region in [*truth.ignore_regions, *truth.boxes[truth.crowd]]:
        _hatch(canvas, region * scale, unit)
    marks = [mark for part in _marks(truth, errors, names) for mark in part]
    labelled = sum(bool(text) for *_, text in marks) <= _MOST_LABELS
    for box, colour, text in marks:
        _draw_box(canvas, box * scale, colour, text if labelled else "", unit)
    return np.concatenate([canvas, _legend(canvas.shape[1], truth, errors, confidence, unit)])


def _marks(
    truth: ImageTruth, errors: ImageErrors, names: Mapping[int, str]
) -> Iterator[list[tuple[np.ndarray, Colour, str]]]:
    """Yield boxes, colours and texts, the ones to be drawn on top last."""
    right = (errors.partner >= 0) & errors.same_class
    yield [(box, IGNORED, "") for box in errors.boxes[errors.ignored]]
    yield [(box, FOUND, "") for box in errors.boxes[right]]
    missed = missed_objects(truth, errors)
    yield [(box, MISSED, names[int(c)]) for box, c in zip(truth.boxes[missed], truth.classes[missed], strict=True)]
    for kind, colour in ((errors.is_false, FALSE), (errors.is_confused, CONFUSED)):
        rows = zip(errors.boxes[kind], errors.classes[kind], errors.scores[kind], strict=True)
        yield [(box, colour, f"{names[int(c)]} {score:.2f}") for box, c, score in rows]


def _corners(box: np.ndarray, margin: float) -> tuple[tuple[int, int], tuple[int, int]]:
    low, high = np.floor(box[:2] - margin).astype(int), np.ceil(box[2:] + margin).astype(int)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


def _hatch(canvas: np.ndarray, box: np.ndarray, unit: float) -> None:
    """Outline a region and fill it with slanted lines."""
    limit = [canvas.shape[1], canvas.shape[0]] * 2
    left, top, right, bottom = (int(v) for v in np.clip(box, 0, limit))
    if right <= left or bottom <= top:
        return
    part = canvas[top:bottom, left:right]
    height, width = part.shape[:2]
    for offset in range(0, height + width, max(6, round(10 * unit))):
        cv2.line(part, (offset, 0), (offset - height, height), IGNORED, max(1, round(0.7 * unit)), cv2.LINE_AA)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), IGNORED, max(1, round(1.5 * unit)), cv2.LINE_AA)


def _draw_box(canvas: np.ndarray, box: np.ndarray, colour: Colour, text: str, unit: float) -> None:
    thickness = max(1, round(1.5 * unit))
    low, high = _corners(box, thickness)
    cv2.rectangle(canvas, low, high, colour, thickness, cv2.LINE_AA)
    if text:
        _label(canvas, text, low, high, colour, 0.5 * unit)


def _label(
    canvas: np.ndarray, text: str, low: tuple[int, int], high: tuple[int, int], colour: Colour, size: float
) -> None:
    """Write a text on a dark plate above a box, or below it where the image ends."""
    (width, height), _ = cv2.getTextSize(text, _FONT, size, _stroke(size))
    margin = max(1, height // 4)
    left = int(np.clip(low[0], 0, max(0, canvas.shape[1] - width - 2 * margin)))
    bottom = low[1] - margin if low[1] >= height + 3 * margin else high[1] + height + 3 * margin
    plate = (left, bottom - height - 2 * margin), (left + width + 2 * margin, bottom)
    cv2.rectangle(canvas, *plate, _PLATE, -1)
    _write(canvas, text, (left + margin, bottom - margin), colour, size)


def _stroke(size: float) -> int:
    return max(1, round(1.5 * size))


def _write(canvas: np.ndarray, text: str, origin: tuple[int, int], colour: Colour, size: float) -> None:
    cv2.putText(canvas, text, origin, _FONT, size, colour, _stroke(size), cv2.LINE_AA)


def _legend(width: int, truth: ImageTruth, errors: ImageErrors, confidence: float, unit: float) -> np.ndarray:
    """Return a dark strip of the given width that says what the colours mean and how many boxes have each."""
    found = int(((errors.partner >= 0) & errors.same_class).sum())
    entries = [
        (FOUND, f"found {found}"),
        (MISSED, f"missed {int(missed_objects(truth, errors).sum())}"),
        (FALSE, f"false {int(errors.is_false.sum())}"),
        (CONFUSED, f"wrong class {int(errors.is_confused.sum())}"),
        (IGNORED, f"ignored {int(errors.ignored.sum())}"),
    ]
    size, line = 0.55 * unit, round(26 * unit)
    strip = np.full((2 * line + round(8 * unit), width, 3), _PLATE, dtype=np.uint8)
    left = line // 2
    for colour, text in entries:
        cv2.rectangle(strip, (left, line // 3), (left + line // 2, line // 3 + line // 2), colour, -1)
        _write(strip, text, (left + round(0.8 * line), round(0.8 * line)), colour, size)
        left += round(1.6 * line) + cv2.getTextSize(text, _FONT, size, _stroke(size))[0][0]
    text = f"{Path(truth.name).name}   confidence >= {confidence:.2f}, IoU >= .50"
    _write(strip, text, (line // 2, round(1.8 * line)), (235, 235, 235), size)
    return strip


def read_picture(file: Path) -> np.ndarray | None:
    """Return an image as (H, W, 3) uint8 BGR, upright; one of more bits is stretched to its own range.

    None where the file is no readable image.
    """
    try:
        data = np.fromfile(file, dtype=np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    if image is None or image.dtype == np.uint8:
        return image
    low, high = np.percentile(image, (0.5, 99.5))
    stretched = (image.astype(np.float64) - low) * (255 / max(high - low, 1e-9))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def write_picture(file: Path, image: np.ndarray) -> None:
    """Write a JPEG; unlike OpenCV's own writer, on paths of any characters."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    file.write_bytes(data.tobytes())
