"""A site under construction: local axes, roads, stalls, and what is to be built on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from uavdet.data.scenes.camera import Camera, FloatArray
from uavdet.data.scenes.ground import Canvas, blob, offset_path
from uavdet.data.scenes.shapes import Light, Pose
from uavdet.data.scenes.structures import Building, Fixture, Structure, Tree, build_clutter


class Lane(NamedTuple):
    """A path that traffic follows: (N, 2) metres, metres a second, and "vehicle", "cycle", "foot" or "boat"."""

    path: FloatArray
    speed: float
    kind: str


class Stall(NamedTuple):
    """A place to park: metres, heading in radians, and the class that parks there."""

    x: float
    y: float
    heading: float
    kind: str


class Cell(NamedTuple):
    """A rectangle of the site in local metres."""

    u1: float
    v1: float
    u2: float
    v2: float

    def inset(self, margin: float) -> Cell:
        """Return the rectangle shrunk by `margin` metres on every side."""
        return Cell(self.u1 + margin, self.v1 + margin, self.u2 - margin, self.v2 - margin)

    def corners(self) -> FloatArray:
        """Return the (4, 2) corners, turning from u to v."""
        return np.array([[self.u1, self.v1], [self.u2, self.v1], [self.u2, self.v2], [self.u1, self.v2]])

    @property
    def size(self) -> tuple[float, float]:
        """Extent along u and v in metres."""
        return self.u2 - self.u1, self.v2 - self.v1


class Site:
    """Paints a place and gathers what traffic needs: lanes, stalls and structures.

    Local axes u and v are turned against the world's and bent a little, so that roads curve and blocks follow them.

    Attributes:
        canvas: The painting.
        rng: Source of every choice.
        thermal: Whether the canvas is one of heat.
        reach: Local metres from the centre that cover the canvas.
        lanes: Paths of traffic.
        stalls: Places to park.
        structures: What has been proposed, then what stands.
        fixtures: Clutter.
    """

    def __init__(self, canvas: Canvas, thermal: bool, rng: np.random.Generator) -> None:
        self.canvas, self.thermal, self.rng = canvas, thermal, rng
        self.centre = (canvas.area[:2] + canvas.area[2:]) / 2
        self.reach = float(np.linalg.norm(canvas.area[2:] - canvas.area[:2])) / 2 + 12
        self.angle = rng.uniform(-math.pi, math.pi)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        self.axes = np.array([[cos, sin], [-sin, cos]])
        self.wave = max(140.0, self.reach * rng.uniform(1.5, 3.0))
        self.bend = self.wave * rng.uniform(0.01, 0.05) if rng.random() < 0.5 else 0.0
        self.phase = rng.uniform(0, 2 * math.pi, 2)
        self.lanes: list[Lane] = []
        self.stalls: list[Stall] = []
        self.structures: list[Structure] = []
        self.fixtures: list[Fixture] = []
        self._clutter: list[tuple[str, float, float, float]] = []

    def place(self, local: FloatArray) -> FloatArray:
        """Convert (N, 2) local metres to world metres."""
        if self.bend:
            local = local + self.bend * np.sin(local[:, ::-1] * (2 * math.pi / self.wave) + self.phase)
        return local @ self.axes + self.centre

    def pose(self, u: float, v: float, heading: float) -> Pose:
        """Return the world pose of a local point with a local heading."""
        ahead = np.array([[u, v], [u + math.cos(heading), v + math.sin(heading)]])
        start, end = self.place(ahead)
        return Pose(float(start[0]), float(start[1]), math.atan2(end[1] - start[1], end[0] - start[0]))

    def area(self, cell: Cell, step: float = 8.0) -> FloatArray:
        """Return the world outline of a local rectangle, with points often enough to follow the bend."""
        corners = cell.corners()
        if self.bend == 0 or max(cell.size) < step:
            return self.place(corners)
        sides = [line(corners[i], corners[(i + 1) % 4], step)[:-1] for i in range(4)]
        return self.place(np.concatenate(sides))

    def visible(self, cell: Cell, margin: float = 6.0) -> bool:
        """Whether any of a local rectangle is on the canvas."""
        return self.canvas.inside(self.place(cell.corners()), margin)

    @property
    def detail(self) -> float:
        """Share of small details worth painting: those below a few pixels would cost most and show least."""
        return min(1.0, (self.canvas.resolution / 5) ** 2)

    def path(self, start: Sequence[float], end: Sequence[float]) -> FloatArray:
        """Return the world path of a local straight line."""
        return self.place(line(np.array(start, float), np.array(end, float), 4.0))

    def park(self, u: float, v: float, heading: float, kind: str) -> None:
        """Add a stall at a local point."""
        pose = self.pose(u, v, heading)
        self.stalls.append(Stall(pose.x, pose.y, pose.heading, kind))

    def plant(self, u: float, v: float, radius: float, kind: str = "broad", squat: float = 1.0) -> None:
        """Propose a tree at a local point; `squat` scales its height."""
        x, y = self.place(np.array([[u, v]]))[0]
        hidden = not self.canvas.inside(np.array([[x, y]]), 4 * radius)
        if hidden or self.rng.random() > max(0.4, self.canvas.resolution / 4):
            return
        height = radius * self.rng.uniform(1.3, 2.2) * squat * (1.6 if kind == "conifer" else 1.0)
        material = {"conifer": "needles", "bush": "hedge"}.get(kind, "canopy")
        self.structures.append(Tree(float(x), float(y), radius, height, kind, material, self.new_seed()))

    def plant_clump(self, cell: Cell, count: int, radius: tuple[float, float]) -> None:
        """Propose trees of one kind scattered over a local rectangle."""
        kinds = ("broad", "broad", "conifer", "bush", "bare")
        kind = kinds[int(self.rng.integers(5 if self.thermal else 4))]
        for _ in range(min(count, 60)):
            u, v = self.rng.uniform(cell.u1, cell.u2), self.rng.uniform(cell.v1, cell.v2)
            size = self.rng.uniform(*radius) * (0.4 if kind == "bush" else 1.0)
            self.plant(u, v, size, kind)

    def build(self, cell: Cell, height: float, roof: str, style: str) -> None:
        """Propose a building over a local rectangle."""
        self.structures.append(Building(self.place(cell.corners()), height, roof, style, self.new_seed()))

    def drop(self, kind: str, u: float, v: float, heading: float = 0.0) -> None:
        """Propose a piece of clutter at a local point."""
        if self.rng.random() > self.detail:
            return
        pose = self.pose(u, v, heading)
        self._clutter.append((kind, pose.x, pose.y, pose.heading))

    def stain(self, cell: Cell, count: int) -> None:
        """Paint patches, oil spots, manholes and warm spots over a local rectangle."""
        for _ in range(round(count * self.detail)):
            u, v = self.rng.uniform(cell.u1, cell.u2), self.rng.uniform(cell.v1, cell.v2)
            x, y = self.place(np.array([[u, v]]))[0]
            kind = self.rng.random()
            if kind < 0.55:
                self.canvas.fill(blob(x, y, self.rng.uniform(0.3, 2.5), self.rng), "stain", 0.18, 0.25)
            elif kind < 0.75:
                patch = Cell(u, v, u + self.rng.uniform(1, 6), v + self.rng.uniform(0.8, 3))
                self.canvas.fill(self.area(patch), "stain" if self.rng.random() < 0.6 else "concrete", 0.3)
            elif kind < 0.9 or not self.thermal:
                self.canvas.fill(blob(x, y, 0.35, self.rng, 0.0), "stain", 0.6)
            else:
                self.canvas.fill(blob(x, y, self.rng.uniform(0.2, 0.8), self.rng), "warm", 0.8, 0.1)

    def new_seed(self) -> int:
        """Return a seed for a structure's details."""
        return int(self.rng.integers(1 << 31))

    def settle(self, camera: Camera) -> None:
        """Keep the proposed structures and clutter that hide neither roads nor stalls nor one another's ground."""
        buildings = [item for item in self.structures if isinstance(item, Building)]
        trees = [item for item in self.structures if isinstance(item, Tree)]
        kept: list[Structure] = []
        for building in buildings:
            # A tall building that would lean over a road in a tilted view is built lower.
            for height in (building.height, 0.5 * building.height, 3.0):
                lower = replace(building, height=min(height, building.height))
                if self._settle_one(lower, ("reserved", "taken", "covered"), ("covered", "taken")):
                    kept.append(lower)
                    break
        kept += [tree for tree in trees if self._settle_one(tree, ("reserved", "taken"), ("covered",))]
        eye = camera.position[:2]
        kept.sort(key=lambda item: -math.hypot(item.x - eye[0], item.y - eye[1]))
        self.structures = kept

    def _settle_one(self, structure: Structure, avoided: Sequence[str], marked: Sequence[str]) -> bool:
        """Take the ground that a structure hides; False when it is out of sight or the ground is needed."""
        cover = structure.cover(self.canvas)
        outline = cover / self.canvas.resolution + self.canvas.origin
        if not self.canvas.inside(outline) or not self.canvas.free_pixels(cover, avoided):
            return False
        for mask in marked:
            self.canvas.mark(mask, outline)
        return True

    def settle_clutter(self, dark: FloatArray, bright: FloatArray) -> None:
        """Turn the proposed clutter into fixtures painted between two paints (3,), where the ground is open."""
        for kind, x, y, heading in self._clutter:
            spot = blob(x, y, 0.9, self.rng, 0.0)
            if self.canvas.inside(spot) and self.canvas.free(spot, ("covered", "taken")):
                model = build_clutter(kind, dark, bright, self.rng)
                self.fixtures.append(Fixture(model, Pose(x, y, heading)))
                self.canvas.mark("taken", spot)

    def paint_structures(self, light: Light) -> None:
        """Cast every shadow, then paint the structures from far to near."""
        if light.shadow > 0:
            outlines = [structure.shadow(light.sun) for structure in self.structures]
            self.canvas.cast(outlines, light.shadow, 0.12 if light.shadow > 0.3 else 0.8)
        channels = self.canvas.value.shape[2]
        self.canvas.apply_shade(np.array([0.8, 0.95, 1.05]) if channels == 3 else np.ones(1))
        for structure in self.structures:
            structure.paint(self.canvas, light)


def line(start: FloatArray, end: FloatArray, step: float) -> FloatArray:
    """Return points (N, 2) from start to end, at most about `step` apart, three or more."""
    count = max(3, math.ceil(math.dist(start, end) / step) + 1)
    return start + (np.arange(count) / (count - 1))[:, None] * (end - start)


def lane_along(path: FloatArray, offset: float, speed: float, kind: str, forward: bool) -> Lane:
    """Return a lane `offset` metres to the right of a path, along it or against it."""
    shifted = offset_path(path, offset)
    return Lane(shifted if forward else shifted[::-1], speed, kind)
