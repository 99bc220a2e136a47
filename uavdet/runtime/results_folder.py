"""Writes pictures, videos and label files of detections into the folder of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uavdet.errors import DataError, MissingDependencyError
from uavdet.runtime.detections import Detections
from uavdet.runtime.sources import Frame
from uavdet.video.drawing import class_colour, write_text

_TEXT_SIZE = 0.4


@dataclass(frozen=True)
class DrawingOptions:
    """What pictures of detections show.

    Attributes:
        boxes: Draw boxes.
        labels: Write class names.
        conf: Write scores.
        line_width: Of boxes in pixels, or None for one that suits the picture.
    """

    boxes: bool = True
    labels: bool = True
    conf: bool = True
    line_width: int | None = None


def draw_detections(image: np.ndarray, found: Detections, options: DrawingOptions) -> np.ndarray:
    """Return a copy of an image, (H, W, 3) BGR or (H, W) grey, with its detections drawn on it."""
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    if not options.boxes:
        return canvas
    width = options.line_width or max(1, round(sum(image.shape[:2]) / 1500))
    for index in reversed(range(len(found))):  # the best ones on top
        left, top, right, bottom = (round(float(side)) for side in found.boxes[index])
        colour = class_colour(int(found.classes[index]))
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, width, cv2.LINE_AA)
        words = [found.class_names[index]] if options.labels else []
        words += [f"{found.scores[index]:.2f}"] if options.conf and options.labels else []
        if words:
            write_text(canvas, " ".join(words), (left, max(top - 3, 9)), colour, _TEXT_SIZE)
    return canvas


class ResultsFolder:
    """Writes the results of a run; the folder is made with the first file.

    Pictures are `NAME.jpg`, videos `NAME.mp4`, labels `labels/NAME.txt`, of a video `labels/NAME_FRAME.txt`. Of files
    with one name the later ones are `NAME-2`, `NAME-3`.

    Args:
        folder: Where to write.
        drawing: What pictures show; None writes none.
        labels: Write labels in YOLO's form: class, then cx, cy, width and height as shares of the image.
        label_scores: With `labels`: the score as well, behind them.
    """

    def __init__(
        self, folder: Path, drawing: DrawingOptions | None, labels: bool = False, label_scores: bool = False
    ) -> None:
        self.folder, self._drawing = folder, drawing
        self._labels, self._label_scores = labels, label_scores
        self._names: dict[Path, str] = {}
        self._video: tuple[Path, Any] | None = None

    def write(self, frame: Frame, found: Detections) -> None:
        """Write what there is to write of a picture or a frame.

        Raises:
            DataError: It cannot be written.
        """
        name = self._name(frame.path)
        if self._labels:
            number = "" if frame.number is None else f"_{frame.number}"
            self._write_labels(self.folder / "labels" / f"{name}{number}.txt", frame.image.shape[:2], found)
        if self._drawing is None:
            return
        canvas = draw_detections(frame.image, found, self._drawing)
        if frame.number is None:
            self._write_picture(self.folder / f"{name}.jpg", canvas)
        else:
            self._writer(self.folder / f"{name}.mp4", frame).write(canvas)

    def close(self) -> None:
        """End the video that is being written."""
        if self._video is not None:
            self._video[1].close()
        self._video = None

    def _name(self, path: Path) -> str:
        """Return a file's name in the folder."""
        if path not in self._names:
            name, number, taken = path.stem, 1, set(self._names.values())
            while name in taken:
                number += 1
                name = f"{path.stem}-{number}"
            self._names[path] = name
        return self._names[path]

    def _write_labels(self, file: Path, size: tuple[int, int], found: Detections) -> None:
        """Write a label file, an empty one where nothing was found: a run before may have left another there."""
        height, width = size
        sides = found.boxes / np.array([width, height, width, height], dtype=np.float32)
        lines = []
        for (x1, y1, x2, y2), score, category in zip(sides, found.scores, found.classes, strict=True):
            row = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *([score] if self._label_scores else [])]
            lines.append(f"{category} " + " ".join(f"{value:.6g}" for value in row))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _write_picture(self, file: Path, canvas: np.ndarray) -> None:
        done, encoded = cv2.imencode(".jpg", canvas)
        if not done:
            raise DataError(f"{file} cannot be written: a JPEG has at most 65,535 pixels a side. Use save=False.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded.tobytes())

    def _writer(self, file: Path, frame: Frame) -> Any:
        """Return the writer of a video; frames of one video follow one another."""
        if self._video is None or self._video[0] != file:
            self.close()
            file.parent.mkdir(parents=True, exist_ok=True)
            self._video = (file, open_video(file, frame.rate, frame.image.shape[:2]))
        return self._video[1]


def open_video(file: Path, rate: float, size: tuple[int, int]) -> Any:
    """Return a writer of an MP4, with `write(frame)` and `close()`: H.264 by PyAV where that is installed."""
    try:
        from uavdet.video.writer import VideoWriter

        return VideoWriter(file, rate)
    except MissingDependencyError:
        return _OpenCVWriter(file, rate, size)


class _OpenCVWriter:
    """Writes MPEG-4 by OpenCV, which browsers do not play but players do."""

    def __init__(self, file: Path, rate: float, size: tuple[int, int]) -> None:
        self._writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, size[::-1])
        if not self._writer.isOpened():
            raise DataError(
                f"{file} cannot be written: this OpenCV writes no MP4. Use save=False, or pip install 'uavdet[video]'."
            )

    def write(self, frame: np.ndarray) -> None:
        """Encode a frame, (H, W, 3) uint8 BGR."""
        self._writer.write(frame)

    def close(self) -> None:
        """Close the file."""
        self._writer.release()
