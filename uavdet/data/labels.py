"""Reads and checks images and YOLO label files, and says exactly what is wrong with them.

Ultralytics drops an image with a bad label row from the dataset with a warning, repairs truncated JPEGs by writing
over them, and unpickles label caches that lie beside the images. Here nothing of the user's is written, nothing is
unpickled, and every problem is reported with its file and line.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from uavdet.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_TOLERANCE = 0.01  # rounding of converters; anything further outside is a mistake
MIN_SIDE = 10
"""Pixels that an image must have each way."""
_TRAILERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TRANSPOSED_ORIENTATIONS = {5, 6, 7, 8}
_ORIENTATION_TAG = 274


@dataclass
class ImageLabels:
    """One image and its boxes.

    Attributes:
        image: The image file.
        shape: (height, width) in pixels, after EXIF rotation.
        rows: (N, 5) float32: class, cx, cy, w, h, normalised.
        found: Whether a label file exists; an image without one is background.
    """

    image: Path
    shape: tuple[int, int]
    rows: np.ndarray
    found: bool = True


@dataclass
class SplitLabels:
    """All images of a split.

    Attributes:
        images: Those that can be used.
        problems: A line each for those that cannot, naming file and line.
        duplicates: Label rows removed because they stand twice.
    """

    images: list[ImageLabels] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    duplicates: int = 0


def list_images(sources: Iterable[Path]) -> list[Path]:
    """Return the image files of folders (with subfolders), text files of paths, and single images, sorted.

    Raises:
        DataError: There is none.
    """
    sources = list(sources)
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += [p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            found.append(source)
        else:
            lines = source.read_text(encoding="utf-8-sig").split("\n")
            found += [(source.parent / line.strip()) for line in lines if line.strip()]
    if not found:
        places = ", ".join(str(s) for s in sources)
        raise DataError(f"{places} holds no images. Supported are {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return sorted(found)


def label_file(image: Path) -> Path:
    """Return the label file of an image: the last 'images' folder of its path becomes 'labels'."""
    parts = list(image.parts)
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_image_shape(image: Path) -> tuple[int, int]:
    """Return (height, width) of an image after EXIF rotation, without decoding it.

    Raises:
        ValueError: The file is missing, no image, truncated, or smaller than 10 pixels.
    """
    try:
        with Image.open(image) as opened:
            width, height, kind = *opened.size, opened.format
            orientation = _png_orientation(image) if kind == "PNG" else opened.getexif().get(_ORIENTATION_TAG)
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except (OSError, SyntaxError, ValueError, ImportError, struct.error, Image.DecompressionBombError) as error:
        # ImportError: Ultralytics' opener imports readers of HEIF
        raise ValueError(f"is not a readable image ({type(error).__name__})") from error
    if kind in _TRAILERS and _TRAILERS[kind] not in _tail(image):
        raise ValueError("is truncated")
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"is {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed")
    return (width, height) if orientation in _TRANSPOSED_ORIENTATIONS else (height, width)


def _png_orientation(file: Path) -> int | None:
    """Return the EXIF orientation of a PNG from its chunks; Pillow decodes the pixels to look for it behind them."""
    with file.open("rb") as stream:
        stream.seek(8)  # the signature
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                exif = Image.Exif()
                exif.load(stream.read(length))
                return exif.get(_ORIENTATION_TAG)
            stream.seek(length + 4, os.SEEK_CUR)  # and the checksum
    return None


def _tail(file: Path, size: int = 4096) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - size))
        return stream.read()


def parse_label_rows(text: str, nc: int) -> tuple[np.ndarray, int]:
    """Parse a YOLO label file.

    Args:
        text: Rows `class cx cy w h`, normalised; a row of a class and a polygon (x y, ...) gives the polygon's box.
        nc: Number of classes.

    Returns:
        (N, 5) float32 rows, boxes clipped to the image, and how many repeated rows were removed.

    Raises:
        ValueError: A row is malformed; the message begins with its line number.
    """
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_parse_row(line.split(), nc))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    unique = list(dict.fromkeys(rows))
    return np.array(unique, dtype=np.float32).reshape(-1, 5), len(rows) - len(unique)


def _parse_row(fields: list[str], nc: int) -> tuple[float, ...]:
    category, corners = parse_label_row(fields, nc)
    left, top, right, bottom = np.clip(corners, 0, 1)
    if right <= left or bottom <= top:
        raise ValueError("the box has no area inside the image")
    return category, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def parse_label_row(fields: list[str], nc: int) -> tuple[int, tuple[float, float, float, float]]:
    """Parse a row of a YOLO label file.

    Args:
        fields: `class cx cy w h`, normalised, or a class and a polygon (x y, ...), of which the box is taken.
        nc: Number of classes.

    Returns:
        The class, and the box's left, top, right and bottom as they stand there, which may lie beyond the image.

    Raises:
        ValueError: The row is malformed.
    """
    try:
        values = np.array([read_number(value) for value in fields])
    except ValueError:
        raise ValueError(f"'{' '.join(fields)}' has a field that is no number") from None
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise ValueError(f"{len(values)} fields; a row is class cx cy w h")
    category, coordinates = values[0], values[1:]
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    if category != int(category) or not 0 <= category < nc:
        raise ValueError(f"class {category:g}; the dataset YAML has classes 0 to {nc - 1}")
    if coordinates.min() < -_TOLERANCE or coordinates.max() > 1 + _TOLERANCE:
        worst = coordinates[np.argmax(np.abs(coordinates - 0.5))]
        raise ValueError(f"coordinate {worst:g} outside [0, 1]; coordinates are divided by the image size")
    left, top, right, bottom = map(float, _corners(coordinates))
    return int(category), (left, top, right, bottom)


def read_number(text: str) -> float:
    """Return the number that a text is; unlike in Python's source, `1_0` is none.

    Raises:
        ValueError: It is none.
    """
    if "_" in text:
        raise ValueError(f"'{text}' is no number")
    return float(text)


def _corners(coordinates: np.ndarray) -> tuple[float, float, float, float]:
    if len(coordinates) == 4:
        cx, cy, w, h = coordinates
        return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    x, y = coordinates[::2], coordinates[1::2]
    return x.min(), y.min(), x.max(), y.max()


def _read_one(image: Path, nc: int) -> tuple[ImageLabels | None, str, int]:
    """Return an image's labels, or the problem with it, and the number of repeated rows."""
    file = label_file(image)
    try:
        shape = read_image_shape(image)
    except ValueError as error:
        return None, f"{image} {error}", 0
    if not file.is_file():
        return ImageLabels(image, shape, np.zeros((0, 5), np.float32), found=False), "", 0
    try:
        rows, repeated = parse_label_rows(file.read_text(encoding="utf-8-sig"), nc)
    except (ValueError, UnicodeDecodeError) as error:
        return None, f"{file} {error}", 0
    return ImageLabels(image, shape, rows), "", repeated


def read_split(images: list[Path], nc: int) -> SplitLabels:
    """Read and check the labels of a split; unchanged splits come from a cache in the user's cache folder."""
    cache = _cache_file(images, nc)
    if (cached := _load_cache(cache, images)) is not None:
        return cached
    split = SplitLabels()
    with ThreadPoolExecutor(min(16, (os.cpu_count() or 1) * 4)) as pool:
        for labels, problem, repeated in pool.map(lambda image: _read_one(image, nc), images):
            split.duplicates += repeated
            if labels is None:
                split.problems.append(problem)
            else:
                split.images.append(labels)
    if not split.problems:
        _save_cache(cache, split)
    return split


def _cache_file(images: list[Path], nc: int) -> Path:
    """Return the cache file of a split; its name depends on every file's path, size and time of change."""
    digest = hashlib.sha256(f"1 {nc}".encode())
    for path in images:
        for file in (path, label_file(path)):
            try:
                state = file.stat()
                digest.update(os.fsencode(file) + f" {state.st_size} {state.st_mtime_ns}\n".encode())
            except OSError:
                digest.update(os.fsencode(file) + b" -\n")
    folder = (
        os.environ.get("UAVDET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "uavdet"
    )
    return Path(folder) / "labels" / f"{digest.hexdigest()[:32]}.npz"


def _save_cache(file: Path, split: SplitLabels) -> None:
    rows = [labels.rows for labels in split.images]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.stem}-{os.getpid()}.npz")
        np.savez(
            temporary,
            rows=np.concatenate([*rows, np.zeros((0, 5), np.float32)]),
            counts=np.array([len(r) for r in rows]),
            shapes=np.array([labels.shape for labels in split.images]),
            found=np.array([labels.found for labels in split.images]),
            duplicates=np.array(split.duplicates),
        )
        temporary.replace(file)
    except OSError:
        return  # a cache that cannot be written costs time, nothing else


def _load_cache(file: Path, images: list[Path]) -> SplitLabels | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            rows = np.split(stored["rows"], np.cumsum(stored["counts"])[:-1])
            shapes, found, duplicates = stored["shapes"], stored["found"], int(stored["duplicates"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # a damaged cache is made anew
    labels = [
        ImageLabels(image, (int(h), int(w)), row, bool(f))
        for image, (h, w), row, f in zip(images, shapes, rows, found, strict=True)
    ]
    return SplitLabels(labels, duplicates=duplicates)
