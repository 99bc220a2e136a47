"""From images to the network's input, pixel by pixel as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np


def stretch_images(images: Sequence[np.ndarray], size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Stretch images to the network's size and scale them to [0, 1].

    Args:
        images: (H, W, 3) uint8 BGR, or (H, W) grey; sizes may differ.
        size: (height, width) of the network input.
        channels: 3, or 1 for a network that reads grey images.

    Returns:
        (B, 3, height, width) float32 RGB, or (B, 1, height, width) grey.

    Raises:
        ValueError: An image has another shape or type.
    """
    batch = np.empty((len(images), channels, *size), dtype=np.float32)
    for index, image in enumerate(images):
        if not _is_picture(image):
            given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"Image {index} is {given}. Give uint8 (H, W, 3) BGR or (H, W) grey.")
        image = _with_channels(image, channels)
        if image.shape[:2] != size:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        image = image.reshape(*size, channels)
        for channel in range(channels):
            np.divide(image[:, :, -1 - channel], np.float32(255), out=batch[index, channel], dtype=np.float32)
    return batch


def _is_picture(image: Any) -> bool:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.size == 0:
        return False
    return image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)


def _with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Return a picture as (H, W, 3) BGR, or as (H, W) grey where the network has one channel."""
    if channels == 1:
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
