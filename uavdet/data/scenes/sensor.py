"""From light or heat to an image: exposure, lens and noise, in colour and in thermal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.camera import FloatArray


@dataclass(frozen=True)
class Sensor:
    """How one drone's camera renders a scene; constant over a clip but for the noise.

    Attributes:
        gain: (C,) or (1,) exposure and white balance.
        haze: Grey level and share of the light that air adds.
        vignette: (H, W, 1) brightness across the frame.
        blur: Standard deviation of the lens blur in pixels.
        sharpen: Strength of the camera's own sharpening, which leaves the rims seen in real thermal images.
        noise: Standard deviation of the noise in grey levels.
        pattern: (H, W, 1) fixed noise of rows and columns in grey levels.
        smooth: Whether the camera's denoiser flattens texture.
    """

    gain: FloatArray
    haze: tuple[float, float]
    vignette: FloatArray
    blur: float
    sharpen: float
    noise: float
    pattern: FloatArray
    smooth: bool

    def develop(self, scene: FloatArray, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Turn a scene (H, W, C), float32 in 0..255, into an image (H, W, 3) uint8."""
        image = scene.reshape(*scene.shape[:2], -1)
        image = cv2.GaussianBlur(image, (0, 0), self.blur) if self.blur > 0.3 else image.copy()
        image = image.reshape(scene.shape)
        if self.sharpen > 0:
            wide = cv2.GaussianBlur(image, (0, 0), 2.2).reshape(scene.shape)
            image += self.sharpen * (image - wide)
        image = image * (self.vignette * self.gain)
        image += self.haze[1] * (self.haze[0] - image)
        image += self.pattern
        image += _noise(image.shape, self.noise, rng)
        return _finish(image, self.smooth)


def _noise(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> FloatArray:
    """Return noise (H, W, C): fine in brightness, coarser in colour, as debayering leaves it."""
    fine = rng.standard_normal((*shape[:2], 1), dtype=np.float32) * np.float32(deviation)
    if shape[2] == 1:
        return fine
    coarse = rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1, 3), dtype=np.float32)
    tint = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    tint *= np.float32(0.7 * deviation)
    tint += fine
    return tint


def _finish(image: FloatArray, smooth: bool) -> npt.NDArray[np.uint8]:
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    if smooth:
        # Bilateral, because a median would erase objects that are one pixel wide.
        pixels = cv2.bilateralFilter(pixels, 5, 14.0, 1.6).reshape(image.shape)
    return pixels if pixels.shape[2] == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)


def sample_sensor(size: tuple[int, int], thermal: bool, light: float, rng: np.random.Generator) -> Sensor:
    """Choose a camera.

    Args:
        size: (width, height) of a frame in pixels.
        thermal: Whether it sees heat.
        light: Brightness of the scene's light, 1 at noon; unused for heat.
        rng: Source of its properties.
    """
    vignette = _vignette(size, rng.uniform(0.0, 0.16))
    if thermal:
        pattern = _fixed_pattern(size, rng.uniform(0.2, 1.2), rng)
        return Sensor(np.ones(1, np.float32), (128.0, 0.0), vignette, rng.uniform(0.65, 1.3), rng.uniform(0.3, 1.5),
                      rng.uniform(0.6, 2.6), pattern, bool(rng.random() < 0.75))  # fmt: skip
    warmth = rng.normal(0, 0.05)
    gain = np.array([1 - warmth, 1.0, 1 + warmth], np.float32) * np.float32(light * rng.uniform(0.88, 1.12))
    haze = (rng.uniform(150, 210), rng.uniform(0.0, 0.16))
    return Sensor(gain, haze, vignette, rng.uniform(0.3, 0.75), rng.uniform(0.0, 0.5), rng.uniform(1.0, 5.0),
                  np.zeros((1, 1, 1), np.float32), False)  # fmt: skip


def _vignette(size: tuple[int, int], strength: float) -> FloatArray:
    x = np.linspace(-1, 1, size[0], dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, size[1], dtype=np.float32)[:, None]
    return (1 - np.float32(strength) * (x * x + y * y) / 2)[:, :, None]


def _fixed_pattern(size: tuple[int, int], deviation: float, rng: np.random.Generator) -> FloatArray:
    columns = rng.normal(0, deviation, (1, size[0], 1))
    rows = rng.normal(0, 0.6 * deviation, (size[1], 1, 1))
    drift = cv2.resize(rng.normal(0, 2.5 * deviation, (4, 5)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    pattern: npt.NDArray[Any] = columns + rows + drift[:, :, None]
    return pattern.astype(np.float32)
