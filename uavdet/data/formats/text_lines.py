"""Reads the text files of datasets: their lines, and lists of image names."""

from __future__ import annotations

from pathlib import Path

from uavdet.data.labels import IMAGE_SUFFIXES
from uavdet.errors import DataError


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: It cannot be read, or is no UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig").split("\n")  # str.splitlines breaks lines where editors do not
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Add it, or correct source=.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no text in UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def read_image_list(file: Path) -> dict[str, int]:
    """Return the image names, without suffix, that a list holds, each with its line.

    Raises:
        DataError: It cannot be read, holds no name, or holds one twice.
    """
    names: dict[str, int] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        path = Path(line.strip())
        stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else str(path)
        if (first := names.setdefault(stem, number)) != number:
            raise DataError(f"{file} line {number}: {stem} stands on line {first}, too. Remove one of them.")
    if not names:
        raise DataError(f"{file} is empty. It has the name of an image on each line. Correct the file.")
    return names
