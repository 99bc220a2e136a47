"""The painted ground: a canvas in metres with textured fills, ribbons, patterns and shadows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.camera import Camera, FloatArray
from uavdet.data.scenes.materials import Material, grow_noise
from uavdet.data.scenes.shapes import SHIFT

Mask = npt.NDArray[np.uint8]
Window = tuple[slice, slice]


class Canvas:
    """A painting of the ground, and masks of what stands where.

    Attributes:
        value: (H, W, C) float32 in 0..255; C is 3 (BGR) in colour and 1 in a thermal scene.
        shade: (H, W) float32, 1 in the open and less in a cast shadow.
        masks: (H, W) uint8 by name: "reserved" (roads and stalls, which nothing tall may hide), "covered" (hidden by
            something tall), "walk" (where people go), "water", "taken" (where something stands).
    """

    def __init__(
        self, camera: Camera, area: FloatArray, resolution: float, materials: dict[str, Material],
        rng: np.random.Generator
    ) -> None:  # fmt: skip
        """Make a canvas of the ground metres `area` (x1, y1, x2, y2) with `resolution` pixels a metre."""
        self.origin, self.resolution, self.materials, self.rng = area[:2], resolution, materials, rng
        width, height = (max(8, math.ceil(float(side) * resolution)) for side in area[2:] - area[:2])
        self.area, self.bounds = area, area.tolist()
        shape = (height, width)
        channels = len(next(iter(materials.values())).value)
        self.value = np.zeros((*shape, channels), np.float32)
        self.shade = np.ones(shape, np.float32)
        self.masks = {name: np.zeros(shape, np.uint8) for name in ("reserved", "covered", "walk", "water", "taken")}
        self.coarse = grow_noise(shape, (18 * resolution, 7 * resolution), rng)
        self.medium = grow_noise(shape, (2.2 * resolution, 0.8 * resolution, 3.0), rng, 0.8)
        self.fine = grow_noise(shape, (1.0, 2.0), rng, 0.8)
        self.relief = self._flatten(camera.position)

    def _flatten(self, eye: FloatArray) -> FloatArray:
        """Return the (3, 4) matrix from metres to canvas pixels of where `eye` sees a point cover the ground."""
        x, y, z = eye
        flat = np.array([[z, 0, -x, 0], [0, z, -y, 0], [0, 0, -1, z]]) / z
        scale = self.resolution
        shift = np.array([[scale, 0, -scale * self.origin[0]], [0, scale, -scale * self.origin[1]], [0, 0, 1]])
        return shift @ flat

    def to_pixels(self, points: FloatArray) -> FloatArray:
        """Convert (N, 2) ground metres to continuous canvas pixels."""
        return (points - self.origin) * self.resolution

    def inside(self, points: FloatArray, margin: float = 0.0) -> bool:
        """Whether the bounding box of (N, 2) metres meets the canvas grown by `margin` metres."""
        (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
        x1, y1, x2, y2 = self.bounds
        return right + margin > x1 and bottom + margin > y1 and left - margin < x2 and top - margin < y2

    def fill(self, polygon: FloatArray, material: str | Material, opacity: float = 1.0, soft: float = 0.0) -> None:
        """Paint a polygon (N, 2) in metres with a material; `soft` blurs its edge, in metres."""
        self.fill_pixels(self.to_pixels(polygon), material, opacity, soft * self.resolution)

    def fill_pixels(
        self, polygon: FloatArray, material: str | Material, opacity: float = 1.0, soft: float = 0.0
    ) -> None:
        """Paint a polygon (N, 2) in canvas pixels."""
        found = self._rasterise(polygon, math.ceil(3 * soft))
        if found is not None:
            window, mask = found
            if soft > 0.3:
                mask = _soften(mask, soft)
            self.blend(window, mask, material, opacity)

    def _rasterise(self, polygon: FloatArray, margin: int = 0) -> tuple[Window, Mask] | None:
        """Return the window that a polygon in pixels covers and its anti-aliased mask there."""
        height, width = self.shade.shape
        (x1, y1), (x2, y2) = polygon.min(0).tolist(), polygon.max(0).tolist()
        left, top = max(math.floor(x1) - 1 - margin, 0), max(math.floor(y1) - 1 - margin, 0)
        right, bottom = min(math.ceil(x2) + 2 + margin, width), min(math.ceil(y2) + 2 + margin, height)
        if left >= right or top >= bottom:
            return None
        mask = np.zeros((bottom - top, right - left), np.uint8)
        points = np.rint((polygon - np.array([left + 0.5, top + 0.5])) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, SHIFT)
        return (slice(top, bottom), slice(left, right)), mask

    def blend(self, window: Window, mask: Mask, material: str | Material, opacity: float = 1.0) -> None:
        """Paint a window of the canvas through a mask (h, w) of 0..255."""
        surface = self.materials[material] if isinstance(material, str) else material
        texture = surface.coarse * self.coarse[window] + surface.medium * self.medium[window]
        texture += surface.fine * self.fine[window] + 1
        weight = mask.astype(np.float32) * (opacity / 255)
        region = self.value[window]
        for channel, level in enumerate(surface.value):
            region[:, :, channel] += (texture * np.float32(level) - region[:, :, channel]) * weight

    def ribbon(self, path: FloatArray, width: float, material: str | Material, opacity: float = 1.0) -> None:
        """Paint a band along a path (N, 2), `width` metres across; a band thinner than a pixel grows fainter."""
        pixels = width * self.resolution
        if pixels < 0.25 or not self.inside(path, width):
            return
        if len(path) > 4 and float(np.prod(np.ptp(path, axis=0))) * self.resolution**2 > 30_000:
            # A slanting band fills little of its window: two short bands paint faster than one long one.
            half = len(path) // 2
            self.ribbon(path[: half + 1], width, material, opacity)
            self.ribbon(path[half:], width, material, opacity)
            return
        if pixels >= 1.5:
            self.fill(band(path, width), material, opacity)
            return
        points = self.to_pixels(path)
        low, high = points.min(0), points.max(0)
        found = self._rasterise(np.array([low, [high[0], low[1]], high, [low[0], high[1]]]))
        if found is None:
            return
        window, mask = found
        mask[:] = 0
        local = points - np.array([window[1].start + 0.5, window[0].start + 0.5])
        cv2.polylines(mask, [np.rint(local * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, SHIFT)
        self.blend(window, mask, material, opacity * min(1.0, pixels / 1.3))

    def stripe(self, polygon: FloatArray, angle: float, spacing: float, strength: float, wobble: float = 0.0) -> None:
        """Darken rows across a polygon: crop rows, planks, roof sheets.

        Args:
            polygon: (N, 2) metres.
            angle: Radians along the rows.
            spacing: Metres between rows; rows closer than 2.5 pixels are left out, they would alias.
            strength: Relative depth of the rows in colour; their heat differs less.
            wobble: How far rows stray, in rows.
        """
        found = self._rasterise(self.to_pixels(polygon))
        if found is None or spacing * self.resolution < 2.5:
            return
        window, mask = found
        strength *= 1.0 if self.value.shape[2] == 3 else 0.35
        y, x = np.ogrid[window]
        phase = (x * -math.sin(angle) + y * math.cos(angle)).astype(np.float32) * (2 * math.pi / self.resolution)
        wave = np.sin(phase / spacing + wobble * self.coarse[window]) * (mask / np.float32(255))
        self.value[window] *= (1 - strength * wave)[:, :, None]

    def mark(self, name: str, polygon: FloatArray, value: int = 255) -> None:
        """Set a mask inside a polygon (N, 2) in metres."""
        points = np.rint(self.to_pixels(polygon) - 0.5).astype(np.int32)
        cv2.fillPoly(self.masks[name], [points], value)

    def free(self, polygon: FloatArray, names: Sequence[str]) -> bool:
        """Whether none of the named masks is set inside a polygon (N, 2) in metres."""
        return self.free_pixels(self.to_pixels(polygon), names)

    def free_pixels(self, polygon: FloatArray, names: Sequence[str]) -> bool:
        """Whether none of the named masks is set inside a polygon (N, 2) in canvas pixels."""
        found = self._rasterise(polygon)
        return found is None or not any((self.masks[name][found[0]] & found[1]).any() for name in names)

    def within(self, polygon: FloatArray, name: str) -> bool:
        """Whether a polygon (N, 2) in metres lies on the canvas, wholly inside a mask."""
        pixels = self.to_pixels(polygon)
        height, width = self.shade.shape
        if pixels.min() < 0 or pixels[:, 0].max() >= width or pixels[:, 1].max() >= height:
            return False
        found = self._rasterise(pixels)
        return found is not None and not ((self.masks[name][found[0]] == 0) & (found[1] > 128)).any()

    def sample(self, x: float, y: float) -> tuple[FloatArray, float]:
        """Return the mean value (C,) and the shade of the ground near a point in metres."""
        column, row = (int(v) for v in self.to_pixels(np.array([x, y])))
        reach = max(1, int(self.resolution * 0.7))
        height, width = self.shade.shape
        column, row = min(max(column, 0), width - 1), min(max(row, 0), height - 1)
        rows, columns = slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1)
        return self.value[rows, columns].mean((0, 1)), float(self.shade[row, column])

    def cast(self, outlines: Sequence[FloatArray], strength: float, soft: float) -> None:
        """Deepen the shade inside outlines (N, 2) in metres; shadows that overlap do not add up."""
        for outline in outlines:
            found = self._rasterise(self.to_pixels(outline), math.ceil(2 * soft * self.resolution) + 1)
            if found is None:
                continue
            window, mask = found
            mask = _soften(mask, max(0.5, soft * self.resolution))
            np.minimum(self.shade[window], 1 - strength * (mask / np.float32(255)), out=self.shade[window])

    def apply_shade(self, tint: FloatArray) -> None:
        """Darken the painting by its shade; `tint` (C,) is the exponent a channel, as skylight is blue."""
        for channel, power in enumerate(tint):
            self.value[:, :, channel] *= self.shade if power == 1 else cv2.pow(self.shade, float(power))


def _soften(mask: Mask, deviation: float) -> Mask:
    """Blur a mask; wide blurs are two box filters, whose cost does not grow with their width."""
    if deviation < 3:
        return cv2.GaussianBlur(mask, (0, 0), deviation)
    side = int(2 * deviation) | 1
    return cv2.blur(cv2.blur(mask, (side, side)), (side, side))


def band(path: FloatArray, width: float) -> FloatArray:
    """Return the polygon (2N, 2) of a band along a path (N, 2)."""
    return np.concatenate([offset_path(path, -width / 2), offset_path(path, width / 2)[::-1]])


def offset_path(path: FloatArray, distance: float) -> FloatArray:
    """Return a path (N, 2) moved `distance` to its right (for y down)."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return path + distance * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def blob(x: float, y: float, radius: float, rng: np.random.Generator, rough: float = 0.25) -> FloatArray:
    """Return an irregular closed outline (20, 2) about a point."""
    angle = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    waves = sum(rng.normal() / k * np.sin(k * angle + rng.uniform(0, 6.3)) for k in (1, 2, 3, 4))
    reach = radius * np.clip(1 + rough * waves, 0.3, 2.0)
    return np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)
