"""Reads image files to their end, and says which cannot be used and what kind of picture each holds."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from uavdet.data.labels import read_image_shape

THUMBNAIL = 32
"""Side of the grey thumbnails by which images are compared."""
_SMALL = 2 * THUMBNAIL
_ORIENTATION_TAG, _BITS_TAG = 274, 258
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg"},
    "MPO": {".jpg", ".jpeg"},  # JPEG with a preview behind it, as DJI's cameras write
    "PNG": {".png"},
    "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}
_READ_ALIKE = frozenset({"JPEG", "MPO", "PNG", "BMP", "WEBP"})
"""Formats that OpenCV, which reads images in training, decodes wherever Pillow does."""
_GREY_MODES = frozenset({"1", "L", "I", "F", "I;16", "I;16B", "I;16L"})
_SAME_CHANNELS = 2  # largest difference of the channels, in grey levels of 255, of a grey picture stored in colour


@dataclass(slots=True)
class ImageFacts:
    """What is known of one image file.

    Attributes:
        file: The file.
        problem: Why it cannot be used, or "".
        size: (width, height) in pixels after EXIF rotation.
        format: Its format by content, as Pillow names it.
        mode: 'colour', 'grey', 'palette', 'alpha' or 'cmyk'.
        bits: Bits a channel.
        peak: The brightest value of a grey image of more than 8 bits, else None.
        orientation: EXIF orientation; 1 is upright.
        grey_in_colour: Whether all channels of a colour image are the same.
        wrong_suffix: Whether the suffix is that of another format.
        digest: Hash of the file's bytes.
        thumbnail: (32, 32) uint8, grey and upright; None where the file cannot be read.
    """

    file: Path
    problem: str = ""
    size: tuple[int, int] = (0, 0)
    format: str = ""
    mode: str = ""
    bits: int = 8
    peak: int | None = None
    orientation: int = 1
    grey_in_colour: bool = False
    wrong_suffix: bool = False
    digest: str = ""
    thumbnail: np.ndarray | None = None


def examine_image(file: Path) -> ImageFacts:
    """Read an image file to its end.

    What training refuses is a problem here too. A JPEG is decoded at an eighth of its size: every byte of it passes
    the entropy decoder, while the costly inverse transform is mostly spared. That finds a missing end, as of a copy
    that broke off; where data is missing or damaged inside and the file still ends in its end marker, the decoder
    fills the gap without an error, here and in training, and nothing is found. PNGs have checksums, which find that.
    """
    facts = ImageFacts(file)
    try:
        height, width = read_image_shape(file)
        data = file.read_bytes()
    except (ValueError, OSError, Image.DecompressionBombError) as error:
        facts.problem = str(error) if type(error) is ValueError else f"is not readable ({type(error).__name__})"
        return facts
    facts.size, facts.digest = (width, height), hashlib.blake2b(data, digest_size=16).hexdigest()
    try:
        with Image.open(io.BytesIO(data)) as image:
            _describe(facts, image, data)
            image.draft(None, (_SMALL, _SMALL))
            image.load()
            _take_thumbnail(facts, image)
    except Exception as error:  # a damaged file can raise nearly anything in Pillow's readers
        facts.problem = f"cannot be decoded: it is truncated or damaged ({type(error).__name__})"
        return facts
    if facts.format not in _READ_ALIKE and not _opencv_reads(data):
        facts.problem = f"holds {facts.format}, which OpenCV does not decode; training reads images by OpenCV"
    return facts


def _opencv_reads(data: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None
    except cv2.error:
        return False


def _describe(facts: ImageFacts, image: Image.Image, data: bytes) -> None:
    facts.format = image.format or ""
    facts.mode = _mode(image)
    facts.bits = _bits(image, data)
    facts.orientation = int(image.getexif().get(_ORIENTATION_TAG) or 1)
    facts.wrong_suffix = facts.file.suffix.lower() not in _SUFFIXES.get(facts.format, set())


def _mode(image: Image.Image) -> str:
    if image.mode in _GREY_MODES:
        return "grey"
    if image.mode in {"P", "PA"}:
        return "palette"
    if image.mode in {"LA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        return "alpha"
    return "cmyk" if image.mode == "CMYK" else "colour"


def _bits(image: Image.Image, data: bytes) -> int:
    """Return bits a channel, from the file: Pillow turns 16-bit colour PNGs into 8 bits without a word."""
    if image.format == "PNG" and data[12:16] == b"IHDR":
        return data[24]
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS_TAG, 8)
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    return 8


def _take_thumbnail(facts: ImageFacts, image: Image.Image) -> None:
    if facts.mode == "grey" and image.mode not in {"1", "L"}:
        values = np.asarray(image).astype(np.float32)
        facts.peak = int(values.max())
        small = cv2.resize(values, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        span = max(float(small.max() - small.min()), 1.0)
        grey = (small - small.min()) * (255 / span)
    else:
        colours = cv2.resize(np.asarray(image.convert("RGB")), (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
        spread = colours.max(2).astype(np.int16) - colours.min(2)
        facts.grey_in_colour = facts.mode in {"colour", "alpha", "palette"} and int(spread.max()) <= _SAME_CHANNELS
        full = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(full, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    facts.thumbnail = np.ascontiguousarray(_upright(grey.astype(np.uint8), facts.orientation))


def _upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation."""
    if orientation in {5, 6, 7, 8}:
        picture = picture.T
    if orientation in {2, 3, 6, 7}:
        picture = picture[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        picture = picture[::-1]
    return picture
