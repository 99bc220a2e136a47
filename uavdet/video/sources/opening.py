"""Turns what `source=` was given into sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from uavdet.errors import DataError, UsageError
from uavdet.video.events import EventCallback
from uavdet.video.sources.addresses import camera_number, is_address, is_pipeline, split_addresses
from uavdet.video.sources.base import Source
from uavdet.video.sources.files import FileSource, find_files
from uavdet.video.sources.pictures import PICTURES
from uavdet.video.sources.reconnection import Reconnection
from uavdet.video.sources.streams import StreamSource

Given = str | Path | int


def open_sources(
    source: Given | Sequence[Given],
    *,
    reconnection: Reconnection | None = None,
    on_event: EventCallback | None = None,
    grey: bool = False,
    stride: int = 1,
) -> list[Source]:
    """Return the sources that are meant; nothing is connected to before their frames are read.

    One source each: a picture, a video, a folder, a glob, a list of files (`.txt`, `.csv`), the address of a stream, a
    camera's number, a pipeline of GStreamer (known by ` ! `). Several: a Python list or tuple of such, whose pictures
    are one source together; addresses, numbers or files with commas between them; a `.streams` file with one a line.

    Args:
        source: What to read.
        reconnection: When streams are tried again.
        on_event: Is called with what happens to the sources, each in the thread that reads it.
        grey: Give (H, W) grey in the place of (H, W, 3) BGR.
        stride: Every how many frames of a video or stream one is read.

    Raises:
        DataError: A file does not exist, matches nothing, or holds neither pictures nor videos.
        MissingDependencyError: A package is needed that is not installed.
        UsageError: It is no source, or an option is not allowed.
    """
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise UsageError(f"vid_stride={stride} is not allowed. Give a whole number of at least 1.")
    options: dict[str, Any] = {"on_event": on_event, "grey": grey, "stride": stride}
    opened: list[Source] = []
    for entry in _gather_pictures(_flatten(source)):
        slot = len(opened)
        if isinstance(entry, list):
            files = [file for path in entry for file in find_files(path)]
            name = str(entry[0]) if len(entry) == 1 else f"{len(entry)} pictures"
            opened.append(FileSource(files, name, slot, **options))
        elif isinstance(entry, int) or is_pipeline(entry) or is_address(entry):
            opened.append(StreamSource(entry, slot, reconnection=reconnection, **options))
        else:
            opened.append(FileSource(find_files(entry), entry, slot, **options))
    return opened


def _flatten(source: Any) -> Iterator[str | int]:
    """Yield every single source: a camera's number, or the text of an address, a pipeline or a path."""
    if isinstance(source, bool) or not isinstance(source, str | Path | int | list | tuple):
        raise UsageError(
            f"source= was given a {type(source).__name__}. Give a path, an address, a camera's number, or a list."
        )
    if isinstance(source, list | tuple):
        if not source:
            raise UsageError("source=[] is empty. Give at least one path or address.")
        for entry in source:
            yield from _flatten(entry)
    elif isinstance(source, int):
        yield source
    elif isinstance(source, Path):
        yield from _read_streams(source) if _is_streams(source) else [str(source)]
    else:
        yield from _split(source)


def _split(text: str) -> Iterator[str | int]:
    """Yield the sources of a text."""
    if not text.strip():
        raise UsageError("No source was given. Give an image, a folder, a glob, a video or an address: source=X.")
    if not is_pipeline(text) and not is_address(text) and Path(text).expanduser().is_file():
        path = Path(text).expanduser()
        yield from _read_streams(path) if _is_streams(path) else [text]
        return
    files = [part.strip() for part in text.split(",")]
    if len(files) > 1 and any(Path(file).expanduser().is_file() for file in files):
        yield from files  # one that is missing is named when it is opened
        return
    for part in split_addresses(text):
        number = camera_number(part)
        if number is not None:
            yield number
        else:
            yield part.removeprefix("file://") if part.lower().startswith("file://") else part


def _is_streams(path: Path) -> bool:
    return path.suffix.lower() == ".streams"


def _read_streams(file: Path) -> Iterator[str | int]:
    """Yield the sources of a `.streams` file, one a line; empty lines and those that begin with # are left out."""
    try:
        lines = file.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text: {error}. Give one address a line.") from None
    found = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.lower().endswith(".streams"):
            raise DataError(f"{file}:{number} names another list, {text}. Give addresses, cameras or files.")
        found += 1
        yield from _split(text)
    if not found:
        raise DataError(f"{file} names no source. Give one address a line.")


def _gather_pictures(entries: Iterator[str | int]) -> list[str | int | list[str]]:
    """Put all single pictures into one source, in the place of the first."""
    gathered: list[str | int | list[str]] = []
    pictures: list[str] | None = None
    for entry in entries:
        if isinstance(entry, int) or is_address(entry) or Path(entry).suffix.lower() not in PICTURES:
            gathered.append(entry)
        elif pictures is None:
            pictures = [entry]
            gathered.append(pictures)
        else:
            pictures.append(entry)
    return gathered
