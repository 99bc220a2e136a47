"""From images to the network's input, pixel by pixel as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from uavdet.errors import DataError
from uavdet.runtime.metadata import ImageInput

_FULL = np.float32(255)


class InputBuffer:
    """The network's input, written in place from images.

    Its memory is made once and used again. An image is stretched into a picture of the network's size and from there
    written into the input, or, where the input is such a picture, stretched right into it. Values are divided by 255 as
    in training, not multiplied by the inverse, which differs in the last bit.

    Args:
        form: What the network takes.
    """

    def __init__(self, form: ImageInput) -> None:
        self._form = form
        self._images = np.empty(form.shape(0), form.dtype)
        self._stretched = np.empty((*form.imgsz, form.channels), np.uint8)

    def fill(self, images: Sequence[np.ndarray], count: int) -> np.ndarray:
        """Write images into the input.

        Args:
            images: (H, W, 3) uint8 BGR, or (H, W) grey; sizes may differ.
            count: Images of the input, at least those given; those that are missing are black.

        Returns:
            The input of `count` images, which holds until the next call.

        Raises:
            DataError: An image has another shape or type.
        """
        if len(self._images) != count:
            self._images = np.empty(self._form.shape(count), self._form.dtype)
        for index, image in enumerate(images):
            check_picture(image, index)
            self._write(with_channels(image, self._form.channels), self._images[index])
        self._images[len(images) :] = 0
        return self._images

    def _write(self, image: np.ndarray, target: np.ndarray) -> None:
        size, form = self._form.imgsz, self._form
        if form.dtype == np.uint8 and form.channels_last and form.color in {"BGR", "grey"}:
            _stretch(image, size, target)
            return
        if image.shape[:2] != size:
            image = _stretch(image, size, self._stretched)
        image = image.reshape(*size, form.channels)
        for channel in range(form.channels):
            source = image[..., -1 - channel if form.color == "RGB" else channel]
            into = target[..., channel] if form.channels_last else target[channel]
            if form.dtype == np.uint8:
                np.copyto(into, source)
            else:
                np.divide(source, _FULL, out=into, dtype=np.float32, casting="same_kind")


def stretch_images(images: Sequence[np.ndarray], size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Stretch images to the network's size and scale them to [0, 1].

    Args:
        images: (H, W, 3) uint8 BGR, or (H, W) grey; sizes may differ.
        size: (height, width) of the network input.
        channels: 3, or 1 for a network that reads grey images.

    Returns:
        (B, 3, height, width) float32 RGB, or (B, 1, height, width) grey.

    Raises:
        DataError: An image has another shape or type.
    """
    form = ImageInput("images", size, channels, color="grey" if channels == 1 else "RGB")
    return InputBuffer(form).fill(images, len(images))


def _stretch(image: np.ndarray, size: tuple[int, int], target: np.ndarray) -> np.ndarray:
    """Stretch an image into an array of (height, width, channels), and return that."""
    if image.shape[:2] == size:
        np.copyto(target, image.reshape(target.shape))
    else:
        cv2.resize(image, size[::-1], dst=target, interpolation=cv2.INTER_LINEAR)
    return target


def check_picture(image: Any, index: int = 0) -> None:
    """Refuse what is no picture.

    Raises:
        DataError: It is no uint8 array of (H, W, 3) or (H, W), or has no pixels.
    """
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size > 0
    if not good or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"Image {index} is {given}. Give uint8 (H, W, 3) BGR or (H, W) grey.")


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Return a picture as (H, W, 3) BGR, or as (H, W) grey where the network has one channel."""
    if channels == 1:
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
