"""Places image files in a converted dataset: as links, as copies, or as parts that are cut out and written anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from uavdet.data.annotations import AnnotatedImage
from uavdet.errors import DataError

_ORIENTATION_TAG = 274
_DEPTHS = (np.uint8, np.uint16)  # OpenCV would write others as 8 bits, cut off at 255
_WRITING = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 98],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 98],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 is lossless
}


class ImageWriter:
    """Writes images; parts of one file follow one another, so the last decoded file is kept.

    Attributes:
        link: Whether whole images are linked; False from the first time that the file system refuses.
        refused: Whether it refused.
    """

    def __init__(self, link: bool) -> None:
        self.link = link
        self.refused = False
        self._decoded: tuple[Path, np.ndarray] | None = None

    def write(self, image: AnnotatedImage, target: Path) -> None:
        """Write an image to a new file.

        Raises:
            DataError: It cannot be read or written, the file is there already, its crop is no part of it, or it is to
                be cut and has neither 8 nor 16 bits.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if image.crop is not None:
                self._write_crop(image, target)
            elif not self.link or not self._try_link(image.file, target):
                _copy_new(image.file, target)
        except FileExistsError:
            raise DataError(
                f"{image.file} cannot be written: this file system takes {target.name} for a name that is there "
                "already, which mostly differs in capital letters alone. Rename one of the two images, or write "
                "elsewhere: out=DIR."
            ) from None
        except OSError as error:
            raise DataError(
                f"{image.file} cannot be written to {target} ({error.strerror}). Make room for it."
            ) from None

    def _try_link(self, file: Path, target: Path) -> bool:
        try:
            target.symlink_to(file.resolve())
        except FileExistsError:
            raise
        except OSError:  # a file system without links, or Windows without the right to make them
            self.link, self.refused = False, True
        return self.link

    def _write_crop(self, image: AnnotatedImage, target: Path) -> None:
        pixels = self._decode(image.file)
        left, top, width, height = image.crop or (0, 0, *image.size)
        if left < 0 or top < 0 or left + width > pixels.shape[1] or top + height > pixels.shape[0]:
            raise DataError(
                f"{image.file}: the part {list(image.crop or ())} reaches over its border. Correct its entry."
            )
        if pixels.dtype not in _DEPTHS:
            raise DataError(
                f"{image.file} has {pixels.dtype} pixels; a part of it can have 8 or 16 bits. Convert the image."
            )
        part = pixels[top : top + height, left : left + width]
        done, encoded = cv2.imencode(target.suffix, part, _WRITING.get(target.suffix.lower(), []))
        if not done:
            raise DataError(f"{image.file}: a part of it cannot be written as {target.suffix}. Convert it to PNG.")
        with target.open("xb") as stream:
            stream.write(encoded.tobytes())

    def _decode(self, file: Path) -> np.ndarray:
        if self._decoded is None or self._decoded[0] != file:
            self._decoded = None  # before the next one is decoded: two of DOTA's largest are 5 GB
            self._decoded = (file, decode_upright(file))
        return self._decoded[1]


def _copy_new(file: Path, target: Path) -> None:
    """Copy a file to a new one; what is there already is never written over, nor what a link there leads to."""
    with file.open("rb") as source, target.open("xb") as stream:
        shutil.copyfileobj(source, stream)


def decode_upright(file: Path) -> np.ndarray:
    """Return the pixels of an image, (H, W) or (H, W, C) in OpenCV's order, in its own depth, after EXIF rotation.

    Raises:
        DataError: It cannot be decoded.
    """
    damaged = DataError(f"{file} cannot be decoded. Replace the file, or take it out of the dataset.")
    try:
        with Image.open(file) as opened:
            orientation = opened.getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, ImportError):  # the last is of Ultralytics' Image.open, without pi-heif
        raise damaged from None
    # Of OpenCV's ways to read, the one that keeps an alpha channel does not turn the image.
    how = cv2.IMREAD_UNCHANGED if orientation == 1 else cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    pixels = cv2.imdecode(np.fromfile(file, dtype=np.uint8), how)
    if pixels is None:
        raise damaged
    return pixels
