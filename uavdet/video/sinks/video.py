"""The video sink: annotated videos, one a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from uavdet.runtime.detections import Detections
from uavdet.video.drawing import Painter, fit_canvas
from uavdet.video.frames import VideoFrame
from uavdet.video.sinks.base import SequenceNames, Sink, SinkOptions
from uavdet.video.writer import FrameWriter, open_video

_PICTURES_RATE = 2.0


class SequenceVideo:
    """The annotated video of one sequence.

    A frame of another size begins another part, `NAME-part2.mp4`. Pictures of another size are fitted into the first,
    on black, and shown at a slow rate.

    Args:
        file: The first part.
        painter: What draws on the frames.
    """

    def __init__(self, file: Path, painter: Painter) -> None:
        self._file, self._painter = file, painter
        self._writer: FrameWriter | None = None
        self._size = (0, 0)
        self._part = 0

    def write(self, frame: VideoFrame) -> None:
        """Draw and encode a frame."""
        canvas = self._painter.draw(frame.image, frame.detections or _nothing())
        height, width = canvas.shape[:2]
        if self._writer is not None and frame.pts is None:
            canvas = fit_canvas(canvas, self._size)
        elif self._writer is None or (height, width) != self._size:
            self.close()
            self._part += 1
            file = self._file if self._part == 1 else self._file.with_stem(f"{self._file.stem}-part{self._part}")
            rate = frame.rate if frame.pts is not None else _PICTURES_RATE
            self._writer, self._size = open_video(file, rate, (height, width)), (height, width)
        self._writer.write(canvas, frame.pts)

    def close(self) -> None:
        """End the part that is being written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _nothing() -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), {})


class VideoSink(Sink):
    """Writes `video/<sequence>.mp4` with boxes, labels and trails drawn in; see `SequenceVideo`."""

    name = "video"

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        super().__init__(folder, names, options)
        self._sequences = SequenceNames()
        self._videos: dict[int, tuple[str, SequenceVideo]] = {}

    def write(self, frame: VideoFrame) -> None:
        """Draw and encode a frame. A source's videos follow one another, so the one before is ended."""
        known = self._videos.get(frame.slot)
        name = known[0] if known is not None and frame.pts is None else self._sequences.of(frame)
        if known is None or known[0] != name:
            if known is not None:
                known[1].close()
            video = SequenceVideo(self.folder / "video" / f"{name}.mp4", Painter(self.options.drawing))
            known = self._videos[frame.slot] = (name, video)
        known[1].write(frame)

    def close(self) -> None:
        """End all videos."""
        videos, self._videos = self._videos, {}
        for _, video in videos.values():
            video.close()
