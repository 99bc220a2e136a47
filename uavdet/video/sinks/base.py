"""What a sink is, and what sinks share: their options, a frame's record, and the names of sequences."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from uavdet.json_output import as_plain
from uavdet.video.drawing import DrawingOptions
from uavdet.video.frames import VideoFrame

_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')
_LONGEST_NAME = 80


@dataclass(frozen=True)
class SinkOptions:
    """Settings of sinks.

    Attributes:
        drawing: What annotated videos show.
        sources: Number of sources; where there are several, each has files of its own.
        webhook: Address that the webhook sink posts to.
        live: Whether the webhook sink drops its oldest record where the server is slow, instead of waiting.
        webhook_timeout: Seconds that the server has for an answer.
    """

    drawing: DrawingOptions = field(default_factory=DrawingOptions)
    sources: int = 1
    webhook: str | None = None
    live: bool = False
    webhook_timeout: float = 5.0


class Sink(ABC):
    """Takes the frames of all sources, those of one source in order, from one thread at a time.

    Files are opened with the first frame that goes into them.

    Args:
        folder: Of the run.
        names: Class id to class name.
        options: Settings of sinks.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, names: Mapping[int, str], options: SinkOptions) -> None:
        self.folder, self.names, self.options = folder, names, options

    @abstractmethod
    def write(self, frame: VideoFrame) -> None:
        """Take a frame, which is not changed and not kept.

        Raises:
            OSError: Its file cannot be written; `Sinks` says which sink it was.
            UAVDetError: It cannot be written for another reason.
        """

    @abstractmethod
    def close(self) -> None:
        """End the files. No frame follows; a second call does nothing."""


class CallbackSink(Sink):
    """Calls a function with every frame; what it raises ends the run.

    Args:
        callback: The function.
    """

    name = "callback"

    def __init__(self, callback: Callable[[VideoFrame], object]) -> None:
        super().__init__(Path(), {}, SinkOptions())
        self._callback = callback

    def write(self, frame: VideoFrame) -> None:
        """Call the function."""
        self._callback(frame)

    def close(self) -> None:
        """Do nothing."""


def describe_frame(frame: VideoFrame) -> dict[str, Any]:
    """Return a frame and its detections as JSON can hold them, its picture left out.

    Returns:
        `source`, `slot`, `index`, `pts` and `captured` (seconds), `path`, `shape` (height, width), `detections` as of
        `Detections.to_json`, `fields` and `timings` (milliseconds).
    """
    found = frame.detections
    record: dict[str, Any] = as_plain({
        "source": frame.source,
        "slot": frame.slot,
        "index": frame.index,
        "pts": frame.pts,
        "captured": frame.captured,
        "path": frame.path,
        "shape": list(frame.image.shape[:2]),
        "detections": [] if found is None else found.to_json(),
        "fields": _as_known(frame.fields),
        "timings": {stage: round(value, 3) for stage, value in frame.timings.items()},
    })  # fmt: skip
    return record


def _as_known(value: Any) -> Any:
    """Return a value in which what JSON has no form for is text."""
    if isinstance(value, Mapping):
        return {str(key): _as_known(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_known(entry) for entry in value]
    plain = value is None or isinstance(value, bool | int | float | str) or type(value).__module__ == "numpy"
    return value if plain else str(value)


def slot_file(folder: Path, name: str, frame: VideoFrame, options: SinkOptions) -> Path:
    """Return a sink's file for the source of a frame: with several sources, the number of its slot is in its name."""
    file = folder / name
    return file if options.sources == 1 else file.with_stem(f"{file.stem}-{frame.slot}")


class SequenceNames:
    """Names of files for sequences: pictures and videos by their file, streams by their address; each name once."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, str], str] = {}
        self._taken: set[str] = set()

    def of(self, frame: VideoFrame) -> str:
        """Return the name of the sequence, or picture, that a frame belongs to."""
        key = (frame.slot, str(frame.path or frame.source))
        if key not in self._names:
            stem = frame.path.stem if frame.path is not None else _as_name(frame.source)
            name, number = stem, 1
            while name in self._taken:
                number += 1
                name = f"{stem}-{number}"
            self._names[key] = name
            self._taken.add(name)
        return self._names[key]


def _as_name(source: str) -> str:
    """Return a source's name as a file can have it: `rtsp://host/a` is rtsp_host_a."""
    return _UNSAFE.sub("_", source).strip("_. ")[:_LONGEST_NAME] or "stream"
