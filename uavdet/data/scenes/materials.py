"""Surfaces of the ground world: their colours by day, their heat by day and night, and their texture."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from uavdet.data.scenes.camera import FloatArray


class Material(NamedTuple):
    """A textured surface: its value (C,) in 0..255 and the relative strength of coarse, medium and fine texture."""

    value: FloatArray
    coarse: float
    medium: float
    fine: float

    def tinted(self, factor: float) -> Material:
        """Return the same surface, lighter or darker."""
        return self._replace(value=self.value * factor)


class Surface(NamedTuple):
    """A row of the table: BGR by day, heat (0 cold, 1 hot) by day and by night, texture strengths."""

    colour: tuple[float, float, float]
    day: float
    night: float
    coarse: float
    medium: float
    fine: float


SURFACES: dict[str, Surface] = {
    "asphalt": Surface((104, 103, 102), 0.70, 0.66, 0.05, 0.035, 0.05),
    "concrete": Surface((158, 163, 166), 0.64, 0.60, 0.05, 0.05, 0.05),
    "paving": Surface((148, 155, 162), 0.62, 0.58, 0.04, 0.04, 0.05),
    "kerb": Surface((186, 190, 192), 0.72, 0.72, 0.02, 0.06, 0.05),
    "marking": Surface((222, 226, 228), 0.60, 0.62, 0.03, 0.06, 0.05),
    "lawn": Surface((62, 118, 98), 0.44, 0.42, 0.13, 0.11, 0.09),
    "meadow": Surface((74, 128, 120), 0.46, 0.44, 0.18, 0.15, 0.10),
    "dry grass": Surface((104, 156, 168), 0.54, 0.43, 0.14, 0.12, 0.09),
    "crop": Surface((58, 128, 84), 0.38, 0.42, 0.12, 0.10, 0.09),
    "wheat": Surface((112, 176, 198), 0.50, 0.42, 0.09, 0.08, 0.08),
    "soil": Surface((82, 108, 138), 0.60, 0.48, 0.12, 0.09, 0.08),
    "dirt": Surface((128, 152, 172), 0.64, 0.52, 0.09, 0.09, 0.07),
    "gravel": Surface((146, 152, 156), 0.64, 0.55, 0.06, 0.07, 0.11),
    "sand": Surface((150, 188, 208), 0.66, 0.50, 0.06, 0.05, 0.06),
    "rock": Surface((138, 146, 152), 0.58, 0.56, 0.05, 0.16, 0.14),
    "court green": Surface((92, 122, 62), 0.66, 0.62, 0.03, 0.03, 0.03),
    "court red": Surface((78, 86, 152), 0.66, 0.62, 0.03, 0.03, 0.03),
    "court blue": Surface((150, 104, 62), 0.66, 0.62, 0.03, 0.03, 0.03),
    "water": Surface((92, 88, 58), 0.34, 0.56, 0.06, 0.03, 0.03),
    "shallow": Surface((112, 128, 104), 0.38, 0.55, 0.07, 0.05, 0.04),
    "planks": Surface((118, 142, 160), 0.62, 0.44, 0.04, 0.06, 0.07),
    "roof grey": Surface((128, 130, 132), 0.62, 0.24, 0.07, 0.06, 0.05),
    "roof white": Surface((212, 214, 214), 0.40, 0.20, 0.05, 0.05, 0.04),
    "roof tile": Surface((76, 94, 148), 0.74, 0.34, 0.05, 0.07, 0.08),
    "roof blue": Surface((168, 120, 72), 0.50, 0.16, 0.03, 0.04, 0.04),
    "roof dark": Surface((76, 76, 78), 0.80, 0.30, 0.06, 0.06, 0.05),
    "wall": Surface((162, 172, 180), 0.62, 0.70, 0.03, 0.04, 0.04),
    "window": Surface((78, 66, 58), 0.40, 0.80, 0.03, 0.05, 0.03),
    "canopy": Surface((46, 92, 68), 0.24, 0.42, 0.16, 0.16, 0.17),
    "needles": Surface((52, 78, 58), 0.20, 0.38, 0.12, 0.14, 0.17),
    "hedge": Surface((48, 98, 72), 0.30, 0.40, 0.10, 0.14, 0.16),
    "branch": Surface((96, 108, 118), 0.50, 0.64, 0.05, 0.05, 0.05),
    "stain": Surface((70, 70, 70), 0.55, 0.55, 0.05, 0.10, 0.08),
    "warm": Surface((120, 122, 124), 0.95, 0.95, 0.02, 0.03, 0.03),
    "bright": Surface((205, 208, 208), 0.80, 0.20, 0.03, 0.05, 0.03),
}

PAVED = ("asphalt", "concrete", "paving", "gravel", "court green", "court red", "court blue")
PLANTS = ("lawn", "meadow", "crop", "canopy", "hedge", "needles")


def sample_materials(thermal: bool, night: bool, rng: np.random.Generator) -> dict[str, Material]:
    """Return every surface as it looks in one scene: its season, its paint, its heat."""
    season = np.array([rng.normal(0, 0.06), rng.normal(-0.06, 0.05), rng.normal(0.04, 0.12)])
    # Leaves follow the air: by season and hour they are the coldest surface in sight, or warmer than the grass.
    trees_warm = rng.uniform(0.0, 0.25)
    materials = {}
    for name, surface in SURFACES.items():
        if thermal:
            heat = (surface.night if night else surface.day) + rng.normal(0, 0.05)
            heat += rng.normal(0.04, 0.05) if name == "marking" else 0.0
            heat += trees_warm if name in ("canopy", "hedge", "needles") else 0.0
            value, grain, drift = np.array([max(heat, 0.05) * 200]), 0.3, 1.25 if name in PAVED else 0.6
        else:
            tone = 1 + (season if name in PLANTS else rng.normal(0, 0.03, 3)) + rng.normal(0, 0.10)
            value, grain, drift = np.clip(np.array(surface.colour) * tone, 12, 235), 1.0, 1.0
        materials[name] = Material(value, surface.coarse * drift, surface.medium * grain, surface.fine * grain)
    if not thermal:
        _choose_water(materials, rng)
    return materials


def _choose_water(materials: dict[str, Material], rng: np.random.Generator) -> None:
    """Make the water a brown lake, a green harbour or a blue sea."""
    deep = np.array([(72, 92, 92), (88, 98, 62), (122, 96, 48), (84, 72, 56)][int(rng.integers(4))], float)
    deep *= rng.uniform(0.75, 1.15)
    materials["water"] = materials["water"]._replace(value=deep)
    materials["shallow"] = materials["shallow"]._replace(value=0.6 * deep + 0.4 * np.array([120.0, 150.0, 150.0]))


def grow_noise(
    shape: tuple[int, int], wavelengths: tuple[float, ...], rng: np.random.Generator, fade: float = 0.7
) -> FloatArray:
    """Return smooth noise (H, W) of unit deviation, a sum of octaves.

    Args:
        shape: (H, W).
        wavelengths: Pixels a cell of each octave.
        rng: Source of the noise.
        fade: Strength of each octave relative to the one before.
    """
    total = np.zeros(shape, np.float32)
    for octave, wavelength in enumerate(wavelengths):
        rows, columns = (int(np.ceil(side / max(wavelength, 1.0))) + 3 for side in shape)
        cells = rng.standard_normal((rows, columns), dtype=np.float32)
        if wavelength > 1:
            size = (int(columns * wavelength) + 1, int(rows * wavelength) + 1)
            method = cv2.INTER_CUBIC if wavelength < 6 else cv2.INTER_LINEAR
            cells = _enlarge(cells, size, method)
        total += fade**octave * cells[: shape[0], : shape[1]]
    return total / max(float(total.std()), 1e-6)


def _enlarge(cells: FloatArray, size: tuple[int, int], method: int) -> FloatArray:
    """Enlarge noise; wide cells go by way of a middle size, because linear cells alone show their corners."""
    if method == cv2.INTER_LINEAR:
        middle = (cells.shape[1] * 4, cells.shape[0] * 4)
        cells = cv2.resize(cells, middle, interpolation=cv2.INTER_CUBIC)
    return cv2.resize(cells, size, interpolation=method)
