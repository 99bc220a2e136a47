"""Sinks of text: JSON Lines, CSV and MOTChallenge. A line is in its file as soon as it was written."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from uavdet.errors import UsageError
from uavdet.video.frames import VideoFrame
from uavdet.video.sinks.base import SequenceNames, Sink, SinkOptions, describe_frame, slot_file

_COLUMNS = (
    "source", "slot", "index", "pts", "captured", "track_id", "class", "name", "confidence", "x1", "y1", "x2", "y2",
)  # fmt: skip
_EXTRA = "extra"


class _TextFiles:
    """Text files that are opened when they are asked for, and flushed line by line."""

    def __init__(self) -> None:
        self._files: dict[Path, TextIO] = {}

    def get(self, file: Path) -> tuple[TextIO, bool]:
        """Return a file, and whether it was opened just now."""
        new = file not in self._files
        if new:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._files[file] = file.open("w", encoding="utf-8", newline="", buffering=1)
        return self._files[file], new

    def close(self) -> None:
        """Close all files, also where one cannot be."""
        files, self._files = list(self._files.values()), {}
        errors = []
        for file in files:
            try:
                file.close()
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]


class JsonLinesSink(Sink):
    """Writes `detections.jsonl`: a line a frame, with its detections and everything else that is known of it."""

    name = "jsonl"

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        super().__init__(folder, names, options)
        self._files = _TextFiles()

    def write(self, frame: VideoFrame) -> None:
        """Write a line."""
        file, _ = self._files.get(slot_file(self.folder, "detections.jsonl", frame, self.options))
        file.write(json.dumps(describe_frame(frame), ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Close the files."""
        self._files.close()


class CsvSink(Sink):
    """Writes `detections.csv`: a row a detection.

    The fields of a source's first frame are columns of their own. Fields that come later go into the last column,
    `extra`, as JSON: a header cannot grow.
    """

    name = "csv"

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        super().__init__(folder, names, options)
        self._files = _TextFiles()
        self._fields: dict[TextIO, list[str]] = {}

    def write(self, frame: VideoFrame) -> None:
        """Write a row a detection, and before the first frame the header."""
        record = describe_frame(frame)
        file, new = self._files.get(slot_file(self.folder, "detections.csv", frame, self.options))
        writer = csv.writer(file, lineterminator="\n")
        if new:
            self._fields[file] = [name for name in record["fields"] if name not in {*_COLUMNS, _EXTRA}]
            writer.writerow([*_COLUMNS, *self._fields[file], _EXTRA])
        known = self._fields[file]
        more = {name: value for name, value in record["fields"].items() if name not in known}
        last = [*(_as_cell(record["fields"].get(name)) for name in known), _as_cell(more or None)]
        first = [record[name] for name in _COLUMNS[:5]]
        for row in record["detections"]:
            box = [row["box"][side] for side in _COLUMNS[9:]]
            writer.writerow([*first, row.get("track_id"), row["class"], row["name"], row["confidence"], *box, *last])

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def _as_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


class MotSink(Sink):
    """Writes tracks as MOTChallenge has results: `mot/<sequence>.txt`, a file a video or stream.

    A line is frame, identity, left, top, width, height, score, -1, -1, -1: frames count from 1, sides are in pixels,
    and classes have no place.
    """

    name = "mot"

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        super().__init__(folder, names, options)
        self._files = _TextFiles()
        self._sequences = SequenceNames()
        self._pictures: dict[int, str] = {}

    def write(self, frame: VideoFrame) -> None:
        """Write a line a track; a file is there also where none was seen.

        Raises:
            UsageError: Nothing was tracked.
        """
        found = frame.detections
        if found is None or found.track_ids is None:
            raise UsageError(
                "sinks=mot writes tracks, but nothing is tracked. "
                "Run 'uavdet track', in Python set tracker=botsort, or take sinks=jsonl."
            )
        file, _ = self._files.get(self.folder / "mot" / f"{self._sequence(frame)}.txt")
        for box, score, identity in zip(
            found.boxes.astype(float).tolist(), found.scores.tolist(), found.track_ids.tolist(), strict=True
        ):
            x1, y1, x2, y2 = box
            sides = ",".join(f"{value:.2f}" for value in (x1, y1, x2 - x1, y2 - y1))
            file.write(f"{frame.number},{identity},{sides},{score:.4f},-1,-1,-1\n")

    def _sequence(self, frame: VideoFrame) -> str:
        """Return the name of a frame's sequence; the pictures of a source are one, named after the first."""
        name = self._sequences.of(frame)
        return name if frame.pts is not None else self._pictures.setdefault(frame.slot, name)

    def close(self) -> None:
        """Close the files."""
        self._files.close()
