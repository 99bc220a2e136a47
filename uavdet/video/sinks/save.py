"""What `save=True` and `save_txt=True` write, as Ultralytics does: annotated pictures and videos, and label files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from uavdet.errors import DataError
from uavdet.runtime.detections import Detections
from uavdet.video.drawing import DrawingOptions, Painter, draw_detections
from uavdet.video.frames import VideoFrame
from uavdet.video.sinks.base import SequenceNames, Sink, SinkOptions
from uavdet.video.sinks.video import SequenceVideo


class SaveSink(Sink):
    """Writes pictures `NAME.jpg`, videos `NAME.mp4`, and labels `labels/NAME.txt`, of a video `labels/NAME_FRAME.txt`.

    Of files with one name the later ones are `NAME-2`, `NAME-3`. Frames count from 1.

    Args:
        folder: Where to write; it is made with the first file.
        names: Class id to class name.
        options: Settings of sinks.
        drawing: What pictures show; None writes none.
        labels: Write labels in YOLO's form: class, then cx, cy, width and height as shares of the image, and the
            identity of a track behind them.
        label_scores: With `labels`: the score as well, before the identity.
    """

    name = "save"

    def __init__(
        self,
        folder: Path,
        names: Mapping[int, str],
        options: SinkOptions,
        *,
        drawing: DrawingOptions | None,
        labels: bool = False,
        label_scores: bool = False,
    ) -> None:
        super().__init__(folder, names, options)
        self._drawing, self._labels, self._label_scores = drawing, labels, label_scores
        self._sequences = SequenceNames()
        self._videos: dict[int, tuple[str, SequenceVideo]] = {}

    def write(self, frame: VideoFrame) -> None:
        """Write what there is to write of a picture or a frame.

        Raises:
            DataError: It cannot be written.
        """
        name, found = self._sequences.of(frame), frame.detections
        if self._labels and found is not None:
            number = "" if frame.pts is None else f"_{frame.number}"
            self._write_labels(self.folder / "labels" / f"{name}{number}.txt", frame.image.shape[:2], found)
        if self._drawing is None:
            return
        if frame.pts is not None:
            self._video(name, frame.slot, self._drawing).write(frame)
        elif found is not None:
            _write_picture(self.folder / f"{name}.jpg", draw_detections(frame.image, found, self._drawing))

    def close(self) -> None:
        """End the videos that are being written."""
        videos, self._videos = self._videos, {}
        for _, video in videos.values():
            video.close()

    def _video(self, name: str, slot: int, drawing: DrawingOptions) -> SequenceVideo:
        """Return a sequence's video; a source's videos follow one another, so the one before is ended."""
        known = self._videos.get(slot)
        if known is None or known[0] != name:
            if known is not None:
                known[1].close()
            known = self._videos[slot] = (name, SequenceVideo(self.folder / f"{name}.mp4", Painter(drawing)))
        return known[1]

    def _write_labels(self, file: Path, size: tuple[int, ...], found: Detections) -> None:
        """Write a label file, an empty one where nothing was found: a run before may have left another there."""
        height, width = size
        sides = found.boxes / np.array([width, height, width, height], dtype=np.float32)
        ids = [[]] * len(found) if found.track_ids is None else [[identity] for identity in found.track_ids.tolist()]
        lines = []
        for (x1, y1, x2, y2), score, category, identity in zip(sides, found.scores, found.classes, ids, strict=True):
            row = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, *([score] if self._label_scores else [])]
            lines.append(" ".join([str(category), *(f"{value:.6g}" for value in row), *map(str, identity)]))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_picture(file: Path, canvas: np.ndarray) -> None:
    done, encoded = cv2.imencode(".jpg", canvas) if max(canvas.shape) <= 65_535 else (False, canvas)
    if not done:
        raise DataError(f"{file} cannot be written: a JPEG has at most 65,535 pixels a side. Use save=False.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded.tobytes())
