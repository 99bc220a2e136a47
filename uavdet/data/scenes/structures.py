"""What stands on the ground and never moves: trees, buildings and clutter, painted as the reference camera sees them.

A structure is painted into the ground where it hides the ground from the reference camera. That is exact while the
camera only turns, and close enough while it travels a fraction of its altitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.camera import FloatArray, project
from uavdet.data.scenes.ground import Canvas
from uavdet.data.scenes.materials import Material
from uavdet.data.scenes.shapes import (
    Light,
    Model,
    Pose,
    Prism,
    blend_patch,
    build_model,
    crop_window,
    draw_patch,
    draw_shadow,
    ellipse,
    rectangle,
    shadow_matrix,
    shadow_outlines,
)


class Structure(Protocol):
    """Something tall in the painted ground."""

    @property
    def x(self) -> float:
        """Metres."""

    @property
    def y(self) -> float:
        """Metres."""

    def cover(self, canvas: Canvas) -> FloatArray:
        """Return the polygon (N, 2), in canvas pixels, that it hides."""

    def shadow(self, sun: FloatArray) -> FloatArray:
        """Return the polygon (N, 2), in metres, of its shadow."""

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint it."""


def _lift(canvas: Canvas, outline: FloatArray, height: float) -> FloatArray:
    """Return where an outline (N, 2) in metres at `height` appears, in canvas pixels."""
    return project(canvas.relief, np.hstack([outline, np.full((len(outline), 1), height)]))[:, :2]


def _hull(points: FloatArray) -> FloatArray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]


@dataclass(frozen=True)
class Tree:
    """A tree or a bush.

    Attributes:
        x: Metres.
        y: Metres.
        radius: Crown radius in metres.
        height: Metres.
        kind: "broad", "conifer", "bush" or "bare".
        material: The material of its crown.
        seed: Seed of its shape.
    """

    x: float
    y: float
    radius: float
    height: float
    kind: str
    material: str
    seed: int

    def cover(self, canvas: Canvas) -> FloatArray:
        """Return the polygon (N, 2), in canvas pixels, that it hides."""
        crown = ellipse(2 * self.radius, 2 * self.radius, self.x, self.y)
        return _hull(np.concatenate([_lift(canvas, crown, self.height * s) for s in (0.25, 0.95)]))

    def shadow(self, sun: FloatArray) -> FloatArray:
        """Return the polygon (N, 2), in metres, of its shadow."""
        crown = ellipse(1.9 * self.radius, 1.9 * self.radius, self.x, self.y, 14)
        if self.kind == "bare":
            crown = ellipse(0.4 * self.radius, 0.4 * self.radius, self.x, self.y)
        crown = crown + np.random.default_rng(self.seed).normal(0, 0.09 * self.radius, crown.shape)
        drop = -np.array(sun[:2]) / sun[2] * self.height
        return _hull(np.concatenate([crown + 0.25 * drop, (crown - [self.x, self.y]) * 0.7 + [self.x, self.y] + drop]))

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint the trunk or branches, then the crown as clumps of leaves lit from the sun's side."""
        rng = np.random.default_rng(self.seed)
        if self.kind == "bare":
            self._paint_branches(canvas, rng)
            return
        clumps = self._clumps(canvas, rng, light)
        left, top = (int(v) for v in np.floor((clumps[:, :2] - clumps[:, 2:3]).min(0)) - 2)
        right, bottom = (int(v) for v in np.ceil((clumps[:, :2] + clumps[:, 2:3]).max(0)) + 3)
        window = crop_window(canvas.shade.shape, left, top, (bottom - top, right - left))
        if window is None:
            return
        tone = np.zeros((bottom - top, right - left, 2), np.uint8)
        for x, y, radius, brightness in clumps:
            centre = (round((x - left - 0.5) * 16), round((y - top - 0.5) * 16))
            cv2.circle(tone, centre, round(radius * 16), (brightness, 255, 0), cv2.FILLED, cv2.LINE_AA, 4)
        rows, columns, inner = window
        self._blend_crown(canvas, (rows, columns), tone[inner])

    def _blend_crown(self, canvas: Canvas, window: tuple[slice, slice], tone: npt.NDArray[np.uint8]) -> None:
        surface = canvas.materials[self.material]
        leaves = 1 + surface.fine * canvas.fine[window] * 1.3 + surface.medium * 0.5 * canvas.medium[window]
        weight = tone[:, :, 1] / np.float32(255)
        lit = leaves * tone[:, :, 0] * np.float32(1 / 128)
        region = canvas.value[window]
        for channel, level in enumerate(surface.value):
            region[:, :, channel] += (lit * np.float32(level) - region[:, :, channel]) * weight

    def _clumps(self, canvas: Canvas, rng: np.random.Generator, light: Light) -> FloatArray:
        """Return (K, 4) discs of the crown from low to high: x, y and radius in pixels, brightness around 128."""
        pixels = self.radius * canvas.resolution
        count = int(np.clip(pixels * 2.2, 6, 90))
        share = np.sort(rng.random(count))
        if self.kind == "conifer":
            reach, rise = 1.0 - share, 0.15 + 0.85 * share
            size = self.radius * (0.14 + 0.22 * (1 - share))
        else:
            reach, rise = np.sqrt(1 - share**2 * rng.uniform(0.6, 1.0)), 0.4 + 0.55 * share
            size = self.radius * rng.uniform(0.2, 0.42, count) * (1 if count < 30 else 0.72)
        angle = rng.uniform(0, 2 * math.pi, count)
        out = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (reach * np.sqrt(rng.random(count)))[:, None]
        points = np.hstack([out * self.radius * 0.82 + [self.x, self.y], (rise * self.height)[:, None]])
        image = project(canvas.relief, points)
        lift = 0.62 + 0.5 * share + (1 - light.ambient) * 0.75 * (out @ light.sun[:2]) + rng.normal(0, 0.07, count)
        flat = 1.0 if canvas.value.shape[2] == 3 else 0.25
        brightness = np.clip(128 * (1 + (lift - 0.95) * flat), 40, 250)
        return np.column_stack([image[:, :2], size * canvas.resolution, brightness])

    def _paint_branches(self, canvas: Canvas, rng: np.random.Generator) -> None:
        trunk = np.array([self.x, self.y, 0.0])
        tip = np.array([self.x, self.y, self.height])
        limbs = [(trunk, tip, 0.2)]
        for share in np.linspace(0.3, 0.95, 9):
            start = trunk + (tip - trunk) * share
            angle = rng.uniform(0, 2 * math.pi)
            out = np.array([math.cos(angle), math.sin(angle), 0.5]) * self.radius * (1.15 - share)
            limbs += [(start, start + out, 0.1)]
            twist = rng.normal(0, 0.4, (2, 3)) * self.radius * (1.15 - share)
            limbs += [(start + 0.5 * out, start + out + turn, 0.05) for turn in twist]
        for start, end, width in limbs:
            line = project(canvas.relief, np.stack([start, end]))[:, :2] / canvas.resolution + canvas.origin
            canvas.ribbon(line, width, "branch", 0.9)


@dataclass(frozen=True)
class Building:
    """A house, a hall or a shed.

    Attributes:
        corners: (4, 2) footprint in metres, turning from x to y.
        height: Metres to the eaves.
        roof: Material of the roof.
        style: "flat", "gable" or "metal".
        seed: Seed of its details.
    """

    corners: FloatArray
    height: float
    roof: str
    style: str
    seed: int

    @property
    def x(self) -> float:
        """Metres."""
        return float(self.corners[:, 0].mean())

    @property
    def y(self) -> float:
        """Metres."""
        return float(self.corners[:, 1].mean())

    def cover(self, canvas: Canvas) -> FloatArray:
        """Return the polygon (N, 2), in canvas pixels, that it hides."""
        return _hull(np.concatenate([canvas.to_pixels(self.corners), _lift(canvas, self.corners, self.height)]))

    def shadow(self, sun: FloatArray) -> FloatArray:
        """Return the polygon (N, 2), in metres, of its shadow."""
        drop = -np.array(sun[:2]) / sun[2] * self.height
        return _hull(np.concatenate([self.corners, self.corners + drop]))

    def paint(self, canvas: Canvas, light: Light) -> None:
        """Paint the walls that face the camera, then the roof with what lies on it."""
        rng = np.random.default_rng(self.seed)
        base, top = canvas.to_pixels(self.corners), _lift(canvas, self.corners, self.height)
        wall = canvas.materials["wall"].tinted(rng.uniform(0.75, 1.15))
        for i in range(4):
            quad = np.stack([base[i], base[(i + 1) % 4], top[(i + 1) % 4], top[i]])
            if _turn(quad) > 2:
                edge = self.corners[(i + 1) % 4] - self.corners[i]
                shade = light.shade(np.array([[edge[1], -edge[0], 0.0]]) / np.linalg.norm(edge))[0]
                self._paint_wall(canvas, quad, wall.tinted(float(shade)), float(np.linalg.norm(edge)))
        self._paint_roof(canvas, top, light, rng)

    def _paint_wall(self, canvas: Canvas, quad: FloatArray, wall: Material, length: float) -> None:
        canvas.fill_pixels(quad, wall)
        storeys, bays = max(1, round(self.height / 3.2)), max(1, round(length / 3.0))
        if np.linalg.norm(quad[3] - quad[0]) / storeys < 3 or length * canvas.resolution / bays < 4:
            return
        for storey in range(storeys):
            for bay in range(bays):
                low, high = (storey + 0.3) / storeys, (storey + 0.78) / storeys
                left, right = (bay + 0.25) / bays, (bay + 0.72) / bays
                canvas.fill_pixels(_inner_quad(quad, left, right, low, high), "window", 0.85)

    def _paint_roof(self, canvas: Canvas, top: FloatArray, light: Light, rng: np.random.Generator) -> None:
        roof = canvas.materials[self.roof].tinted(rng.uniform(0.85, 1.12))
        canvas.fill_pixels(top, roof)
        metres = top / canvas.resolution + canvas.origin
        long_side = metres[1] - metres[0]
        angle = math.atan2(long_side[1], long_side[0])
        if self.style == "gable":
            self._paint_gable(canvas, top, roof, light)
            canvas.stripe(metres, angle, 0.5, 0.05)
        elif self.style == "metal":
            canvas.stripe(metres, angle + math.pi / 2, rng.uniform(0.8, 1.6), 0.07)
        else:
            self._paint_parapet(canvas, metres, roof, rng)

    def _paint_gable(self, canvas: Canvas, top: FloatArray, roof: Material, light: Light) -> None:
        edge = self.corners[1] - self.corners[0]
        out = np.array([edge[1], -edge[0], 0.0]) / np.linalg.norm(edge) * 0.5
        ridge = np.stack([(top[0] + top[3]) / 2, (top[1] + top[2]) / 2])
        near, far = light.shade(np.stack([out, -out]) + np.array([0.0, 0.0, 0.87]))
        canvas.fill_pixels(np.stack([top[0], top[1], ridge[1], ridge[0]]), roof.tinted(float(near)))
        canvas.fill_pixels(np.stack([ridge[0], ridge[1], top[2], top[3]]), roof.tinted(float(far)))
        canvas.ribbon(ridge / canvas.resolution + canvas.origin, 0.3, roof.tinted(1.2))

    def _paint_parapet(self, canvas: Canvas, metres: FloatArray, roof: Material, rng: np.random.Generator) -> None:
        loop = np.concatenate([metres, metres[:1]])
        for i in range(4):
            canvas.ribbon(loop[i : i + 2], 0.45, roof.tinted(1.25))
        for _ in range(int(rng.integers(2, 7))):
            u, v = rng.uniform(0.12, 0.75, 2)
            quad = _inner_quad(metres, u, u + rng.uniform(0.05, 0.16), v, v + rng.uniform(0.05, 0.16))
            material = ("roof white", "roof dark", "window", "warm")[int(rng.choice(4, p=(0.4, 0.3, 0.2, 0.1)))]
            canvas.fill(quad + 0.25, "stain", 0.5)
            canvas.fill(quad, material, 0.9)


def _turn(quad: FloatArray) -> float:
    """Return the signed area of a polygon (N, 2); positive when it faces the viewer."""
    x, y = quad[:, 0], quad[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _inner_quad(quad: FloatArray, left: float, right: float, low: float, high: float) -> FloatArray:
    """Return the part (4, 2) of a quad between shares of its sides, by bilinear interpolation."""

    def at(u: float, v: float) -> FloatArray:
        return (1 - v) * ((1 - u) * quad[0] + u * quad[1]) + v * ((1 - u) * quad[3] + u * quad[2])

    return np.stack([at(left, low), at(right, low), at(right, high), at(left, high)])


class Fixture(NamedTuple):
    """A small solid in the painted ground: clutter, or an object of an unlabelled cluster."""

    model: Model
    pose: Pose

    def paint(self, canvas: Canvas, light: Light, tint: FloatArray) -> None:
        """Paint its shadow (darker by `tint` (C,)), then itself."""
        relief = canvas.relief
        if light.shadow > 0:
            ground = shadow_outlines(self.model, self.pose, shadow_matrix(relief, light.sun))
            draw_shadow(canvas.value, ground, tint)
        patch = draw_patch(self.model, self.pose, relief, light, (0.0, math.inf))
        if patch is not None:
            blend_patch(canvas.value, patch)


CLUTTER: dict[str, tuple[float, float, float]] = {
    "bin": (0.7, 0.6, 1.0),
    "box": (1.1, 0.8, 0.7),
    "bench": (1.7, 0.45, 0.5),
    "cone": (0.35, 0.35, 0.7),
    "crate": (1.6, 1.2, 1.0),
    "container": (6.1, 2.44, 2.6),
    "cabinet": (1.4, 0.6, 1.5),
    "pole": (0.16, 0.16, 3.0),
    "slab": (2.2, 1.1, 0.15),
    "buoy": (0.6, 0.6, 0.6),
}
"""Length, width and height in metres of things that are no objects."""


def build_clutter(kind: str, dark: FloatArray, bright: FloatArray, rng: np.random.Generator) -> Model:
    """Build something that is no object: a lamp post, a box, a bin, ...; `dark` and `bright` (3,) bound its paints."""
    paint = dark + (bright - dark) * rng.uniform(0.0, 1.0)
    other = dark + (bright - dark) * rng.uniform(0.0, 1.0)
    if kind == "lamp":
        return _lamp(dark, bright, rng)
    if kind == "bale":
        outline = ellipse(1.5, 1.3)
        return build_model([Prism(outline, outline, 0, 1.2, paint, other)])
    length, width, height = np.array(CLUTTER[kind]) * rng.uniform(0.8, 1.25, 3)
    base = ellipse(length, length) if kind in ("cone", "buoy", "bin") else rectangle(length, width)
    crown = base * 0.2 if kind == "cone" else base
    return build_model([Prism(base, crown, 0, height, paint, other)])


def _lamp(dark: FloatArray, bright: FloatArray, rng: np.random.Generator) -> Model:
    height, reach = rng.uniform(6, 9), rng.uniform(0.8, 2.0)
    pole, arm, head = ellipse(0.18, 0.18), rectangle(reach, 0.1, reach / 2), rectangle(0.7, 0.32, reach)
    paint = dark if rng.random() < 0.6 else bright
    return build_model([
        Prism(pole, pole, 0, height, paint, paint),
        Prism(arm, arm, height, height, paint, paint, 1),
        Prism(head, head, height, height + 0.1, dark, dark, 2),
    ])  # fmt: skip
