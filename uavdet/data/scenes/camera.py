"""The drone's camera: a pinhole over the ground plane, and its flight over time.

World axes are metres: x right, y down (as in an image seen from above with heading 0), z up; z = 0 is the ground.
Image coordinates are continuous: pixel column i covers [i, i + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.config import SceneConfig

FloatArray = npt.NDArray[np.floating[Any]]

CAR_LENGTH = 4.7
"""Metres; with the person's, the yardstick that ties the scale to the wanted object sizes."""
WIDEST_VIEW = 450.0
"""Metres along the long side of a frame, unless the wanted sizes ask for more: a drone flies no higher."""


@dataclass(frozen=True)
class Camera:
    """A pose of the camera.

    Attributes:
        size: (width, height) in pixels.
        focal: Focal length in pixels.
        position: (3,) metres.
        heading: Radians, clockwise from up.
        pitch: Radians below the horizon; pi / 2 looks straight down.
    """

    size: tuple[int, int]
    focal: float
    position: FloatArray
    heading: float
    pitch: float

    @cached_property
    def matrix(self) -> FloatArray:
        """(3, 4) projection from homogeneous metres to homogeneous pixels; the third row is the depth in metres."""
        level = np.array([math.sin(self.heading), -math.cos(self.heading), 0.0])
        right = np.array([math.cos(self.heading), math.sin(self.heading), 0.0])
        axis = math.cos(self.pitch) * level - np.array([0.0, 0.0, math.sin(self.pitch)])
        down = -math.sin(self.pitch) * level - np.array([0.0, 0.0, math.cos(self.pitch)])
        centre = (self.size[0] / 2, self.size[1] / 2)
        rows = np.stack([self.focal * right + centre[0] * axis, self.focal * down + centre[1] * axis, axis])
        return np.hstack([rows, -rows @ self.position[:, None]])

    @cached_property
    def ground(self) -> FloatArray:
        """(3, 3) homography from ground metres to pixels."""
        return self.matrix[:, [0, 1, 3]]

    def footprint(self) -> FloatArray:
        """(4, 2) ground metres at the four corners of the frame."""
        width, height = self.size
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
        points = corners @ np.linalg.inv(self.ground).T
        return points[:, :2] / points[:, 2:]


def project(matrix: FloatArray, points: FloatArray) -> FloatArray:
    """Project (N, 3) metres with a (3, 4) matrix to (N, 3): x and y in pixels, and the depth."""
    image = points @ matrix[:, :3].T + matrix[:, 3]
    image[:, :2] /= image[:, 2:]
    return image


@dataclass(frozen=True)
class Flight:
    """How the camera moves: slow sines about a reference pose, so that every time has a pose inside a known area.

    Attributes:
        reference: The pose at rest.
        sway: (2,) metres of travel along x and y.
        turn: Radians of turn to either side.
        climb: Relative change of the distance to the ground.
        periods: (4,) seconds of the sines of x, y, turn and climb.
        phases: (4,) radians.
    """

    reference: Camera
    sway: FloatArray
    turn: float
    climb: float
    periods: FloatArray
    phases: FloatArray

    @property
    def moving(self) -> bool:
        """Whether any two frames can differ in pose."""
        return bool(self.sway.any() or self.turn or self.climb)

    def at(self, seconds: float) -> Camera:
        """Return the pose at a time."""
        if not self.moving:
            return self.reference
        wave = np.sin(2 * math.pi * seconds / self.periods + self.phases)
        base = self.reference
        rise = 1 + self.climb * float(wave[3])
        aim = _aim(base) + self.sway * wave[:2]
        heading = base.heading + self.turn * float(wave[2])
        return _pose(base.size, base.focal, aim, base.position[2] * rise, heading, base.pitch)

    def area(self) -> FloatArray:
        """Return (4,) ground metres x1, y1, x2, y2 that hold every frame's footprint."""
        times = np.linspace(0, 4 * float(self.periods.max()), 80) if self.moving else [0.0]
        corners = np.concatenate([self.at(float(time)).footprint() for time in times])
        return np.concatenate([corners.min(0), corners.max(0)])


def plan_flight(config: SceneConfig, rng: np.random.Generator) -> Flight:
    """Choose altitude, field of view, tilt and motion for a scene."""
    focal = max(config.size) / (2 * math.tan(math.radians(rng.uniform(13, 24))))
    # The upper border stays well below the horizon, or the frame would see kilometres.
    lowest = max(42.0, 22 + math.degrees(math.atan(config.size[1] / (2 * focal))))
    pitch = math.radians(rng.uniform(84, 90) if rng.random() < 0.35 else rng.uniform(lowest, 84))
    scale = _choose_scale(config, pitch, rng)
    height = focal / scale * math.sin(pitch)
    camera = _pose(config.size, focal, np.zeros(2), height, rng.uniform(-math.pi, math.pi), pitch)
    reach = config.size[0] / scale if config.moving_camera else 0.0
    return Flight(
        camera,
        reach * rng.uniform(0.1, 0.22, 2),
        math.radians(rng.uniform(6, 15)) if config.moving_camera else 0.0,
        rng.uniform(0.03, 0.08) if config.moving_camera else 0.0,
        rng.uniform(35, 60, 4),
        rng.uniform(0, 2 * math.pi, 4),
    )


def _pose(size: tuple[int, int], focal: float, aim: FloatArray, height: float, heading: float, pitch: float) -> Camera:
    """Return the camera at `height` metres whose axis meets the ground at `aim`."""
    back = height / math.tan(pitch)
    position = np.array([aim[0] - back * math.sin(heading), aim[1] + back * math.cos(heading), height])
    return Camera(size, focal, position, heading, pitch)


def _aim(camera: Camera) -> FloatArray:
    back = camera.position[2] / math.tan(camera.pitch)
    return camera.position[:2] + back * np.array([math.sin(camera.heading), -math.cos(camera.heading)])


def _choose_scale(config: SceneConfig, pitch: float, rng: np.random.Generator) -> float:
    """Return pixels per metre at the image centre such that the wanted sizes hold the wanted classes."""
    person = 0.6 + 1.1 * math.cos(pitch)
    vehicles = bool({"car", "truck", "boat"} & set(config.classes))
    cycles = "bicycle" in config.classes
    smallest = person if "person" in config.classes else (1.8 if cycles else CAR_LENGTH)
    largest = 1.1 * CAR_LENGTH if vehicles else (2.1 if cycles else 1.2 * person)
    low, high = 1.15 * config.min_size / smallest, config.max_size / largest
    # A quarter of the scenes is flown high, where a person would be smaller than the smallest object.
    if vehicles and (low > 0.8 * high or rng.random() < 0.25):
        low = min(low, 2.0 * config.min_size / CAR_LENGTH)
    low = min(max(low, max(config.size) / WIDEST_VIEW), 0.8 * high)
    return math.exp(rng.uniform(math.log(low), math.log(high)))
