"""Frames that carry their number in their pixels, so that it is known which ones came through, and whole."""

from __future__ import annotations

import cv2
import numpy as np

_BITS = 24
_CHECK = 8
_COLUMNS = 8
_ROWS = (_BITS + _CHECK) // _COLUMNS
_NOISE = np.random.default_rng(0).integers(0, 256, (1080, 1920), dtype=np.uint8)


def _check_bits(number: int) -> int:
    """Return 8 bits that change with every bit of the number."""
    return (number * 0x9E3779B1 >> 17) & 0xFF


def paint(number: int, size: tuple[int, int]) -> np.ndarray:
    """Return a frame, (height, width, 3) BGR, whose upper half shows its number as black and white blocks.

    The lower half is noise that changes, so that a codec has as much to do as with a real picture.
    """
    height, width = size
    code = number << _CHECK | _check_bits(number)
    bits = np.array([code >> place & 1 for place in range(_BITS + _CHECK)], np.uint8).reshape(_ROWS, _COLUMNS)
    image = np.empty((height, width, 3), np.uint8)
    blocks = cv2.resize(bits * 200 + 28, (width, height // 2), interpolation=cv2.INTER_NEAREST)
    image[: height // 2] = blocks[..., None]
    noise = _NOISE[: height - height // 2, :width]
    image[height // 2 :] = (noise + np.uint8(number * 37 % 256))[..., None]
    return image


def read_number(image: np.ndarray) -> int | None:
    """Return the number that a frame shows, or None where its blocks are damaged."""
    height, width = image.shape[:2]
    grey = image if image.ndim == 2 else image[..., 1]
    rows = ((np.arange(_ROWS) + 0.5) * (height // 2) / _ROWS).astype(int)
    columns = ((np.arange(_COLUMNS) + 0.5) * width / _COLUMNS).astype(int)
    levels = np.array([[grey[row - 2 : row + 3, column - 2 : column + 3].mean() for column in columns] for row in rows])
    if ((levels > 90) & (levels < 165)).any():
        return None
    code = sum(1 << place for place, level in enumerate(levels.ravel()) if level > 128)
    number = code >> _CHECK
    return number if code & 0xFF == _check_bits(number) else None
