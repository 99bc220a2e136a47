"""Reads pictures as training does."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from uavdet.errors import DataError

PICTURES = frozenset({".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
_TIFF = frozenset({".tif", ".tiff"})


def read_picture(path: str | Path, grey: bool = False) -> np.ndarray:
    """Read a picture as training does: turned as its EXIF says, in 8 bits, without its alpha.

    Args:
        path: The file; its name may hold any letters.
        grey: Read (H, W) grey in the place of (H, W, 3) BGR.

    Raises:
        DataError: It is empty, damaged, no picture, or too large to be decoded.
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
    except cv2.error as error:
        _refuse_size(path, error)
        image = None
    if image is None:
        raise DataError(f"{path} is damaged or no picture: it cannot be decoded. Replace it.")
    return image


def _refuse_size(path: str | Path, error: cv2.error) -> None:
    """Raise DataError where OpenCV stopped at a picture's size."""
    if "MAX_IMAGE" in str(error) or error.code == cv2.Error.StsNoMem:
        raise DataError(
            f"{path} is too large: OpenCV decodes up to 2^30 pixels, where they fit into memory. Cut it into parts."
        ) from None


def _decode_deep_colour(encoded: np.ndarray) -> np.ndarray | None:
    """Return a TIFF's picture of 16 bits a colour in 8, or None for any other.

    As in training they are the upper 8; OpenCV rounds, for TIFF alone.
    """
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        return None
    return np.ascontiguousarray((image[..., :3] >> 8).astype(np.uint8))
