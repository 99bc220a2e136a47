"""How objects move: they stand, wander about a spot, or travel along a lane. Every pose is a function of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uavdet.data.scenes.camera import FloatArray
from uavdet.data.scenes.shapes import Model, Pose
from uavdet.data.scenes.site import Lane


class Motion(Protocol):
    """Where an object is."""

    def at(self, seconds: float) -> tuple[Pose, int]:
        """Return the pose and the lap: how often a traveller has left and a new one has entered in its place."""


@dataclass(frozen=True)
class Still:
    """It stands."""

    pose: Pose

    def at(self, seconds: float) -> tuple[Pose, int]:
        """Return the pose; the lap is always 0."""
        return self.pose, 0


@dataclass(frozen=True)
class Wander:
    """It strolls about a spot on a sum of two slow sines a coordinate.

    Attributes:
        home: The middle of its ground.
        reach: (2, 2) metres of each sine of x and of y.
        periods: (2, 2) seconds.
        phases: (2, 2) radians.
    """

    home: Pose
    reach: FloatArray
    periods: FloatArray
    phases: FloatArray

    def at(self, seconds: float) -> tuple[Pose, int]:
        """Return the pose, which faces where it goes; the lap is always 0."""
        angle = 2 * math.pi * seconds / self.periods + self.phases
        x, y = (self.reach * np.sin(angle)).sum(1)
        vx, vy = (self.reach / self.periods * np.cos(angle)).sum(1)
        return Pose(self.home.x + float(x), self.home.y + float(y), math.atan2(vy, vx)), 0


class Route:
    """A lane measured along its length, shared by all who travel on it."""

    def __init__(self, lane: Lane) -> None:
        steps = np.linalg.norm(np.diff(lane.path, axis=0), axis=1)
        self.kind, self.speed, self.path = lane.kind, lane.speed, lane.path
        self.marks = np.concatenate([[0.0], np.cumsum(steps)])
        self.length = float(self.marks[-1])
        self.claims: list[tuple[float, float]] = []

    def locate(self, distance: float) -> Pose:
        """Return the pose `distance` metres from the start."""
        at = np.array([distance, min(distance + 0.6, self.length)])
        at[0] = min(at[0], self.length - 0.6)
        x, y = np.interp(at, self.marks, self.path[:, 0]), np.interp(at, self.marks, self.path[:, 1])
        return Pose(float(x[0]), float(y[0]), math.atan2(y[1] - y[0], x[1] - x[0]))

    def claim(self, distance: float, length: float) -> bool:
        """Take `length` metres about a place, unless another has it; False when it is taken."""
        for other, size in self.claims:
            gap = abs(distance - other)
            if min(gap, self.length - gap) < 0.5 * (length + size):
                return False
        self.claims.append((distance, length))
        return True


@dataclass(frozen=True)
class Travel:
    """It follows a route at a steady pace; past the end a new one starts, both ends being out of sight."""

    route: Route
    start: float
    speed: float

    def at(self, seconds: float) -> tuple[Pose, int]:
        """Return the pose and the lap."""
        lap, distance = divmod(self.start + self.speed * seconds, self.route.length)
        return self.route.locate(distance), int(lap)


@dataclass(frozen=True)
class Actor:
    """An object of the scene.

    Attributes:
        model: Its solid.
        motion: Its whereabouts.
        class_id: Index into CLASS_NAMES.
    """

    model: Model
    motion: Motion
    class_id: int
