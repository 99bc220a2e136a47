"""The COCO sink: results as pycocotools reads them, in files that are whole JSON after every frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from uavdet.video.frames import VideoFrame
from uavdet.video.sinks.base import SequenceNames, Sink, SinkOptions, slot_file

_PAGE = 4096


class JsonList:
    """A JSON file that ends with a list, and is whole after every entry.

    Each write replaces the end of the file by more entries and the end. It is one call of the system of at most a page,
    unless an entry is longer: what a kill of the process leaves is the file before it or after it.

    Args:
        file: The file.
        head: What stands before the first entry, such as `[`.
        tail: What stands behind the last one, such as `]`.
    """

    def __init__(self, file: Path, head: str = "[", tail: str = "]") -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = file.open("wb", buffering=0)
        self._tail = f"\n{tail}\n".encode()
        self._end = self._put(0, head.encode())
        self._empty = True

    def extend(self, entries: list[Any]) -> None:
        """Write entries."""
        block = b""
        for entry in entries:
            line = (b"\n" if self._empty else b",\n") + json.dumps(entry, ensure_ascii=False).encode()
            self._empty = False
            if block and len(block) + len(line) + len(self._tail) > _PAGE:
                self._end, block = self._put(self._end, block), b""
            block += line
        if block:
            self._end = self._put(self._end, block)

    def _put(self, place: int, text: bytes) -> int:
        """Write text and the tail from a place on, and return where the tail begins."""
        self._file.seek(place)
        data = text + self._tail
        while data:
            data = data[self._file.write(data) or 0 :]
        return place + len(text)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CocoSink(Sink):
    """Writes `coco_results.json`, the detections, and `coco_images.json`, the frames and classes they refer to.

    Images count from 1; category ids are class ids. pycocotools reads them with
    `COCO("coco_images.json").loadRes("coco_results.json")`. Rows of tracks have a `track_id` too.
    """

    name = "coco"

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        super().__init__(folder, names, options)
        self._files: dict[Path, JsonList] = {}
        self._sequences = SequenceNames()
        self._counts: dict[Path, int] = {}

    def write(self, frame: VideoFrame) -> None:
        """Write an image, and a row a detection."""
        images_file = slot_file(self.folder, "coco_images.json", frame, self.options)
        categories = [{"id": index, "name": name} for index, name in self.names.items()]
        head = json.dumps({"categories": categories, "annotations": []}, ensure_ascii=False)
        images = self._open(images_file, f'{head[:-1]}, "images": [', "]}")
        results = self._open(slot_file(self.folder, "coco_results.json", frame, self.options), "[", "]")
        number = self._counts[images_file] = self._counts.get(images_file, 0) + 1
        images.extend([self._describe(frame, number)])
        results.extend(_rows(frame, number))

    def _open(self, file: Path, head: str, tail: str) -> JsonList:
        if file not in self._files:
            self._files[file] = JsonList(file, head, tail)
        return self._files[file]

    def _describe(self, frame: VideoFrame, number: int) -> dict[str, Any]:
        height, width = frame.image.shape[:2]
        name = f"{self._sequences.of(frame)}/{frame.index:06d}"
        if frame.pts is None and frame.path is not None:
            name = frame.path.name
        return {"id": number, "file_name": name, "width": width, "height": height, "frame": frame.index}

    def close(self) -> None:
        """Close the files."""
        files, self._files = self._files, {}
        for file in files.values():
            file.close()


def _rows(frame: VideoFrame, number: int) -> list[dict[str, Any]]:
    """Return the rows of a COCO results file."""
    found = frame.detections
    if found is None:
        return []
    rows = found.to_coco(number)
    for row in rows:
        row["bbox"] = [round(side, 2) for side in row["bbox"]]
        row["score"] = round(row["score"], 5)
    if found.track_ids is not None:
        for row, identity in zip(rows, found.track_ids.tolist(), strict=True):
            row["track_id"] = identity
    return rows
