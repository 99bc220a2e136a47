"""From images to the network's input, pixel by pixel as in training."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def stretch_images(images: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Stretch images to the network's size and scale them to [0, 1].

    Args:
        images: (H, W, 3) uint8 BGR, or (H, W) grey; sizes may differ.
        size: (height, width) of the network input.

    Returns:
        (B, 3, height, width) float32 RGB.

    Raises:
        ValueError: An image has another shape or type.
    """
    batch = np.empty((len(images), 3, *size), dtype=np.float32)
    for index, image in enumerate(images):
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"Image {index} is {image.dtype} {image.shape}. Give uint8 (H, W, 3) BGR or (H, W) grey.")
        if image.shape[:2] != size:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        for channel in range(3):
            np.divide(image[:, :, 2 - channel], np.float32(255), out=batch[index, channel], dtype=np.float32)
    return batch
