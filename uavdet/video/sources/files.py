"""Pictures and videos in files: which ones a source means, and their frames."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uavdet.errors import DataError, UsageError
from uavdet.video.events import EventCallback
from uavdet.video.frames import DEFAULT_RATE, VideoFrame
from uavdet.video.sources.base import LostError, Reader, Source
from uavdet.video.sources.capture import CaptureReader
from uavdet.video.sources.container import ContainerReader, has_pyav
from uavdet.video.sources.pictures import PICTURES, read_picture
from uavdet.video.sources.timeline import FileTimeline

VIDEOS = frozenset({".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
LISTS = frozenset({".csv", ".txt"})


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read, and why."""

    path: Path
    reason: str


def find_files(source: str | Path) -> list[Path]:
    """Return the pictures and videos that a source means, pictures first.

    Args:
        source: A file, a folder or a glob, or a list of such in a `.txt` (one a line) or a `.csv` (between commas).

    Raises:
        DataError: It does not exist, matches nothing, or holds neither pictures nor videos.
        UsageError: None was given.
    """
    if not str(source):
        raise UsageError("No source was given. Give an image, a folder, a glob or a video: uavdet predict source=X.")
    path = Path(source).expanduser()
    if path.suffix.lower() in LISTS and path.is_file():
        return _read_list(path)
    listed = _list(path)
    pictures = [found for found in listed if found.suffix.lower() in PICTURES]
    videos = [found for found in listed if found.suffix.lower() in VIDEOS]
    if pictures or videos:
        return [found.absolute() for found in (*pictures, *videos)]
    raise DataError(f"source={source} {_nothing(path, listed)} Give an image, a folder of them, a glob or a video.")


def _read_list(file: Path) -> list[Path]:
    """Return the files that a list means; what is not there may lie beside the list."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text: {error}. Give one path a line.") from None
    found: list[Path] = []
    for number, line in enumerate(lines, 1):
        entries = line.split(",") if file.suffix.lower() == ".csv" else [line]
        for entry in filter(None, (entry.strip() for entry in entries)):
            found += _find_entry(file, number, entry)
    if not found:
        raise DataError(f"{file} names no file. Give one path a line.")
    return found


def _find_entry(file: Path, number: int, entry: str) -> list[Path]:
    for path in (Path(entry).expanduser(), file.parent / entry):
        if path.suffix.lower() in LISTS:
            raise DataError(f"{file}:{number} names another list, {entry}. Give pictures, folders, globs or videos.")
        if _list(path):
            try:
                return find_files(path)
            except DataError as error:
                raise DataError(f"{file}:{number} {error}") from None
    raise DataError(f"{file}:{number} names {entry}, which does not exist. Mend or remove the line.")


def _list(path: Path) -> list[Path]:
    """Return the files of a file, a folder or a glob, in order."""
    if path.is_dir():
        found = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    elif path.exists() or not glob.has_magic(str(path)):
        found = [path]
    else:
        found = [Path(entry) for entry in glob.iglob(str(path), recursive=True)]  # noqa: PTH207 (absolute patterns too)
    return sorted(entry for entry in found if entry.is_file())


def _nothing(path: Path, listed: list[Path]) -> str:
    """Say why a source gives no pictures and no videos."""
    if path.is_dir():
        return "holds no pictures and no videos."
    if path.exists():
        return f"is no picture and no video that is known ({path.suffix or 'no suffix'})."
    if glob.has_magic(str(path)):
        return "matches no pictures and no videos." if listed else "matches no file."
    return "does not exist."


class FileSource(Source):
    """Pictures and videos in files, one after another.

    A frame's index counts over all files, its time is of its own video: seconds since the first frame, as the container
    tells them. Videos are read by PyAV, or by OpenCV where PyAV is not installed.

    Args:
        files: Pictures and videos, as of `find_files`.
        name: What was given; the file itself where there is one.
        slot: Which of several sources, from 0.
        on_event: Is called with what happens, in the thread that reads.
        grey: Give (H, W) grey in the place of (H, W, 3) BGR.
        stride: Every how many frames of a video one is read.

    Attributes:
        files: The files.
        unreadable: Those of them that could not be read.
    """

    def __init__(
        self,
        files: Sequence[Path],
        name: str | None = None,
        slot: int = 0,
        *,
        on_event: EventCallback | None = None,
        grey: bool = False,
        stride: int = 1,
    ) -> None:
        super().__init__(name or str(files[0]), slot, False, on_event)
        self.files = list(files)
        self.unreadable: list[Unreadable] = []
        self._grey, self._stride = grey, stride
        if not any(_is_video(path) for path in self.files):
            self.length = len(self.files)

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the pictures and the frames of all files.

        Raises:
            DataError: Files could not be read; it is raised at the end, after the frames of the others.
        """
        for path in self.files:
            if self.closed:
                return
            try:
                yield from self._video(path) if _is_video(path) else self._picture(path)
            except DataError as error:
                self._leave(path, str(error))
        self._tell_end()

    def _leave(self, path: Path, reason: str) -> None:
        self.unreadable.append(Unreadable(path, reason))
        self.statistics.unreadable += 1
        self._reporter.report("failed", f"skipped: {reason}", path=str(path))

    def _tell_end(self) -> None:
        if self.closed:
            return
        self._reporter.report("ended", f"ended after {self.statistics.frames} frames", frames=self.statistics.frames)
        if not self.unreadable:
            return
        first = self.unreadable[0].reason
        if len(self.files) == 1:
            raise DataError(first)
        others = "the others have been" if len(self.unreadable) < len(self.files) else "no other is there"
        raise DataError(f"{len(self.unreadable)} of {len(self.files)} files could not be read, {others}: {first}")

    def _picture(self, path: Path) -> Iterator[VideoFrame]:
        start = time.perf_counter()
        image = read_picture(path, self._grey)
        yield self._frame(image, path, None, DEFAULT_RATE, (time.perf_counter() - start) * 1e3)

    def _video(self, path: Path) -> Iterator[VideoFrame]:
        reader = self._open(path)
        timeline, before = FileTimeline(reader.rate), self.statistics.frames
        self.rate = reader.rate
        if len(self.files) == 1:
            self.length = reader.length
        try:
            for decoded in reader.frames():
                if self.closed:
                    return
                moment = timeline.place(decoded.pts)
                yield self._frame(decoded.image, path, moment, reader.rate, decoded.milliseconds, before)
        except LostError as error:
            self._reporter.report("corrupt", f"{path} {error.reason}: what follows is not read", path=str(path))
            self.statistics.corrupt += 1
        finally:
            reader.close()
        # A video that is shorter than the stride has no frame to give, and nothing is wrong with it.
        if self.statistics.frames == before and reader.length != 0 and not self.closed:
            raise DataError(f"{path} is damaged or no video: no frame of it can be read. Replace it.")

    def _open(self, path: Path) -> Reader:
        if path.is_file() and not path.stat().st_size:
            raise DataError(f"{path} is empty: no frame of it can be read. Replace it.")
        try:
            if has_pyav():
                return ContainerReader(
                    str(path), live=False, grey=self._grey, stride=self._stride, on_corrupt=self._count_corrupt
                )
            return CaptureReader(str(path), live=False, grey=self._grey, stride=self._stride)
        except LostError as error:
            raise DataError(f"{path} {error.reason}. Give another file, or convert it to H.264 in MP4.") from None

    def _count_corrupt(self, reason: str) -> None:
        self.statistics.corrupt += 1

    def _frame(
        self, image: np.ndarray, path: Path, pts: float | None, rate: float, milliseconds: float, begin: int = 0
    ) -> VideoFrame:
        index = self.statistics.frames
        self.statistics.frames += 1
        return VideoFrame(
            image=image,
            source=self.name,
            slot=self.slot,
            index=index,
            captured=time.monotonic(),
            pts=pts,
            rate=rate,
            path=path,
            timings={"decode": milliseconds},
            begin=begin,
        )


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS
