"""Pictures and video files to detect in, read with OpenCV."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uavdet.errors import DataError, UsageError

PICTURES = frozenset({".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
VIDEOS = frozenset({".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
_OTHER_PICTURES = frozenset({".dng", ".heic", ".heif"})
_TIFF = frozenset({".tif", ".tiff"})
_LISTS = frozenset({".txt", ".csv", ".streams"})
_FRAME_RATE = 30.0


@dataclass(frozen=True)
class Frame:
    """A picture, or a frame of a video.

    Attributes:
        path: Its file.
        image: (H, W, 3) uint8 BGR, or (H, W) grey.
        number: Number of the frame in its video, from 1; None for a picture.
        rate: Frames a second of what is read of the video.
    """

    path: Path
    image: np.ndarray
    number: int | None = None
    rate: float = _FRAME_RATE


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be read, and why."""

    path: Path
    reason: str


def beyond_files(source: Any) -> str | None:
    """Return what a source is that is no picture, video file, folder or glob of them; None where it is one."""
    text = str(source)
    if not isinstance(source, str | Path):
        return "a camera" if isinstance(source, int) else f"a source of type {type(source).__name__}"
    if text.isnumeric():
        return "a camera"
    if "://" in text:
        return "a stream or an address"
    if text.lower() == "screen" or (text.lower().startswith("screen ") and not Path(text).exists()):
        return "the screen"
    if Path(text).suffix.lower() in _LISTS:
        return "a list of sources"
    found = [path for path in _list(Path(text).expanduser()) if path.suffix.lower() in _OTHER_PICTURES]
    return f"a {found[0].suffix} picture" if found else None


def find_files(source: str | Path) -> list[Path]:
    """Return the pictures and videos that a source means, pictures first.

    Args:
        source: A file, a folder or a glob.

    Raises:
        DataError: It does not exist, matches nothing, or holds neither pictures nor videos.
        UsageError: None was given.
    """
    if not str(source):
        raise UsageError("No source was given. Give an image, a folder, a glob or a video: uavdet predict source=X.")
    path = Path(source).expanduser()
    listed = _list(path)
    pictures = [found for found in listed if found.suffix.lower() in PICTURES]
    videos = [found for found in listed if found.suffix.lower() in VIDEOS]
    if pictures or videos:
        return [found.absolute() for found in (*pictures, *videos)]
    raise DataError(f"source={source} {_nothing(path, listed)} Give an image, a folder of them, a glob or a video.")


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
        return f"is no picture and no video that OpenCV reads ({path.suffix or 'no suffix'})."
    if glob.has_magic(str(path)):
        return "matches no pictures and no videos." if listed else "matches no file."
    return "does not exist."


def read_picture(path: str | Path, grey: bool = False) -> np.ndarray:
    """Read a picture as training does: turned as its EXIF says, in 8 bits.

    Args:
        path: The file; its name may hold any letters.
        grey: Read (H, W) grey in the place of (H, W, 3) BGR.

    Raises:
        DataError: It is empty, damaged or no picture.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Give a picture.") from None
    if not encoded.size:
        raise DataError(f"{path} is empty. Give a picture.")
    try:
        image = None if grey or Path(path).suffix.lower() not in _TIFF else _decode_deep_colour(encoded)
        if image is None:
            image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{path} is damaged or no picture: it cannot be decoded. Replace it.")
    return image


def _decode_deep_colour(encoded: np.ndarray) -> np.ndarray | None:
    """Return a TIFF's picture of 16 bits a colour in 8, or None for any other.

    As in training they are the upper 8; OpenCV rounds, for TIFF alone.
    """
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        return None
    return np.ascontiguousarray((image[..., :3] >> 8).astype(np.uint8))


def read_frames(files: list[Path], grey: bool = False, stride: int = 1) -> Iterator[Frame | Unreadable]:
    """Read pictures and videos, one picture or frame at a time; a file that cannot be read is told of and left.

    Args:
        files: Pictures and videos, as of `find_files`.
        grey: Read them as grey.
        stride: Every how many frames of a video one is read.
    """
    for path in files:
        try:
            if path.suffix.lower() in VIDEOS:
                yield from _read_video(path, grey, stride)
            else:
                yield Frame(path, read_picture(path, grey))
        except DataError as error:
            yield Unreadable(path, str(error))


def _read_video(path: Path, grey: bool, stride: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path))
    try:
        told = capture.get(cv2.CAP_PROP_FPS)
        rate = (told if 0 < told < 1000 else _FRAME_RATE) / stride
        number = 0
        while all(capture.grab() for _ in range(stride)):
            done, image = capture.retrieve()
            if not done or image is None:
                break
            number += 1
            yield Frame(path, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if grey else image, number, rate)
    finally:
        capture.release()
    if not number:
        state = "is empty" if path.is_file() and not path.stat().st_size else "is damaged or no video"
        raise DataError(f"{path} {state}: no frame of it can be read. Replace it.")
