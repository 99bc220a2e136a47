"""Who is in the scene: objects are placed until frames show the wanted number, and clusters that stay unlabelled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from uavdet.data.scenes.camera import Camera, Flight, FloatArray, project
from uavdet.data.scenes.config import CLASS_NAMES, SceneConfig
from uavdet.data.scenes.finishes import Climate, colour_finish, thermal_finish
from uavdet.data.scenes.ground import Canvas
from uavdet.data.scenes.models import KINDS, build_object
from uavdet.data.scenes.motion import Actor, Motion, Route, Still, Travel, Wander
from uavdet.data.scenes.shapes import Model, Pose, place_vertices, rectangle
from uavdet.data.scenes.site import Site
from uavdet.data.scenes.structures import Fixture

SHARES: dict[str, dict[str, float]] = {
    "urban": {"person": 0.42, "car": 0.36, "bicycle": 0.14, "truck": 0.08, "boat": 0.0},
    "field": {"person": 0.30, "car": 0.36, "bicycle": 0.12, "truck": 0.22, "boat": 0.0},
    "harbour": {"person": 0.22, "car": 0.14, "bicycle": 0.06, "truck": 0.04, "boat": 0.54},
}
"""How often each class is drawn on each ground, before a scene's own preferences."""

LANES = {"person": "foot", "car": "vehicle", "bicycle": "cycle", "truck": "vehicle", "boat": "boat"}
TRAVEL = {"person": 0.3, "car": 0.4, "bicycle": 0.45, "truck": 0.65, "boat": 0.25}
"""Share of each class that travels; the others park or stand."""


class Cluster(NamedTuple):
    """An unlabelled crowd: the (4, 2) ground rectangle in metres around it, and its height in metres."""

    outline: FloatArray
    height: float

    def box(self, matrix: FloatArray) -> FloatArray:
        """Return the (4,) xyxy box of its volume in an image, not clipped."""
        low, high = (np.hstack([self.outline, np.full((4, 1), z)]) for z in (0.0, self.height))
        image = project(matrix, np.concatenate([low, high]))[:, :2]
        return np.concatenate([image.min(0), image.max(0)])


class Wardrobe:
    """Makes objects in the paints of a scene."""

    def __init__(self, canvas: Canvas, climate: Climate | None, scale: float, rng: np.random.Generator) -> None:
        """Take the painted ground, the climate (None in colour) and the scale in pixels a metre."""
        self.canvas, self.climate, self.scale, self.rng = canvas, climate, scale, rng

    def make(self, name: str, pose: Pose, active: bool) -> Model:
        """Build an object of a class, painted to differ from the ground where it is."""
        kinds = KINDS[name]
        shares = np.array(list(kinds.values()))
        kind = list(kinds)[int(self.rng.choice(len(kinds), p=shares / shares.sum()))]
        background, _ = self.canvas.sample(pose.x, pose.y)
        ridden = active and (name == "bicycle" or kind == "jetski")
        if self.climate is None:
            finish = colour_finish(name, background, self.rng, ridden, min(35 + 120 / self.scale, 80))
        else:
            finish = thermal_finish(name, self.climate, float(background[0]), self.rng, active, ridden)
        return build_object(name, kind, finish, self.rng, 0.7 / self.scale)


class Populace:
    """Places the labelled objects of a scene."""

    def __init__(
        self, site: Site, wardrobe: Wardrobe, flight: Flight, config: SceneConfig, ground: str, rng: np.random.Generator
    ) -> None:
        """Take the site, the maker of objects, the camera's flight and the name of the ground."""
        self.site, self.canvas, self.wardrobe, self.config, self.rng = site, site.canvas, wardrobe, config, rng
        last = 4 * float(flight.periods.max()) if flight.moving else 60.0
        times = np.linspace(0, last, 16 if flight.moving else 6)
        self.moments = [(float(time), flight.at(float(time))) for time in times]
        self.routes = [Route(lane) for lane in site.lanes]
        self.weights = self._prefer(ground)
        self.stalls = {name: self._list_stalls(name) for name in CLASS_NAMES}
        self.last_person: Pose | None = None

    def _prefer(self, ground: str) -> FloatArray:
        """Return the shares of classes (5,): a court has players alone, a car park hardly any."""
        shares = np.array([SHARES[ground][name] * (name in self.config.classes) for name in CLASS_NAMES])
        shares = shares * self.rng.gamma(1.5, 1.0, len(CLASS_NAMES))
        return shares / max(float(shares.sum()), 1e-12)

    def _list_stalls(self, name: str) -> list[Pose]:
        """Return the stalls for a class that the camera ever sees, shuffled."""
        stalls = [Pose(stall.x, stall.y, stall.heading) for stall in self.site.stalls if stall.kind == name]
        points = np.array([(pose.x, pose.y, 0.0) for pose in stalls]).reshape(-1, 3)
        seen = np.zeros(len(stalls), bool)
        for _, camera in self.moments:
            image = project(camera.matrix, points)
            seen |= (image[:, 2] > 0) & ((image[:, :2] >= 0) & (image[:, :2] < camera.size)).all(1)
        return [stalls[i] for i in self.rng.permutation(np.flatnonzero(seen))]

    def _count_views(self, motion: Motion) -> float:
        """Return the share of sampled moments at which the camera sees an object."""
        views = 0
        for time, camera in self.moments:
            pose, _ = motion.at(time)
            x, y, depth = project(camera.matrix, np.array([[pose.x, pose.y, 0.0]]))[0]
            views += bool(depth > 0 and 0 <= x < camera.size[0] and 0 <= y < camera.size[1])
        return views / len(self.moments)

    def fill(self) -> list[Actor]:
        """Place objects until a frame shows `config.objects` of them on average."""
        actors: list[Actor] = []
        shown, wanted = 0.0, float(self.config.objects)
        attempts = 12 * self.config.objects + 150 if wanted and self.weights.sum() > 0 else 0
        for _ in range(attempts):
            if shown >= wanted:
                break
            name = CLASS_NAMES[int(self.rng.choice(len(CLASS_NAMES), p=self.weights))]
            actor = self._place(name)
            if actor is not None:
                actors.append(actor)
                shown += self._count_views(actor.motion)
        return actors

    def _place(self, name: str) -> Actor | None:
        """Make one object and find it a place; None when it does not fit."""
        travels = self.rng.random() < TRAVEL[name]
        motion = self._travel(name) if travels else self._stay(name)
        if motion is None:
            motion = self._stay(name) if travels else self._travel(name)
        if motion is None:
            return None
        pose, _ = motion.at(0.0)
        model = self.wardrobe.make(name, pose, isinstance(motion, Travel))
        if not self._fits(model, motion) or not self._claim(model, motion):
            return None
        if name == "person" and not isinstance(motion, Travel):
            self.last_person = pose
        return Actor(model, motion, CLASS_NAMES.index(name))

    def _fits(self, model: Model, motion: Motion) -> bool:
        """Whether its natural long side is near enough to the wanted sizes to be drawn without visible resizing."""
        pose, _ = motion.at(0.0)
        camera = self.moments[0][1]
        image = project(camera.matrix, place_vertices(model, pose))
        if isinstance(motion, Travel) or image[:, 2].min() <= 0:
            centre = project(camera.matrix, np.zeros((1, 3)))[0]
            extent = model.length * camera.focal / centre[2]
        else:
            extent = float(np.ptp(image[:, :2], axis=0).max())
        return 0.85 * self.config.min_size < extent < 1.18 * self.config.max_size

    def _claim(self, model: Model, motion: Motion) -> bool:
        """Take the ground that the object needs; False when another has it."""
        if isinstance(motion, Travel):
            gap = 3.0 if motion.route.kind in ("vehicle", "boat") else 0.8
            return motion.route.claim(motion.start, model.length + gap)
        pose, _ = motion.at(0.0)
        outline = _turned(rectangle(model.length * 0.96, model.width * 0.96), pose)
        if isinstance(motion, Wander):
            reach = motion.reach.sum(1)
            outline = rectangle(2 * reach[0] + 0.5, 2 * reach[1] + 0.5, motion.home.x, motion.home.y)
        if not self.canvas.free(outline, ("taken", "covered")):
            return False
        self.canvas.mark("taken", outline)
        return True

    def _travel(self, name: str) -> Travel | None:
        routes = [route for route in self.routes if route.kind == LANES[name]]
        if not routes:
            return None
        route = routes[int(self.rng.integers(len(routes)))]
        # Those who share a road keep one pace, or they would drive through each other.
        spread = 0.3 if route.kind == "foot" else 0.0
        return Travel(route, self.rng.uniform(0, route.length), route.speed * self.rng.uniform(1 - spread, 1 + spread))

    def _stay(self, name: str) -> Still | Wander | None:
        stalls = self.stalls[name]
        if stalls and name != "person":
            return Still(stalls.pop())
        spot = self._find_spot("water" if name == "boat" else "walk")
        if spot is None or name in ("car", "truck"):
            return None
        if name == "bicycle" or (name == "person" and self.rng.random() < 0.4):
            return Still(spot)
        return self._wander(spot, name)

    def _wander(self, spot: Pose, name: str) -> Still | Wander:
        """Return a stroll about a spot that stays on open ground, or stand there when there is no room."""
        mask, pace = ("water", 2.0) if name == "boat" else ("walk", self.rng.uniform(0.6, 1.6))
        reach = self.rng.uniform(0.3, 3.0, (2, 2)) * (3.0 if name == "boat" else 1.0)
        width, depth = (2 * reach.sum(1) + 1).tolist()
        ground = rectangle(width, depth, spot.x, spot.y)
        if not self.canvas.within(ground, mask) or not self.canvas.free(ground, ("taken", "covered")):
            return Still(spot)
        periods = 2 * math.pi * reach / pace * self.rng.uniform(1.4, 2.6, (2, 2))
        return Wander(spot, reach, periods, self.rng.uniform(0, 2 * math.pi, (2, 2)))

    def _find_spot(self, mask: str) -> Pose | None:
        """Return a random open place in sight, near another person in every second case."""
        for attempt in range(25):
            if mask == "walk" and self.last_person is not None and attempt < 4 and self.rng.random() < 0.5:
                near: FloatArray = self.rng.normal((self.last_person.x, self.last_person.y), 2.0)
            else:
                near = sample_ground(self.moments[int(self.rng.integers(len(self.moments)))][1], self.rng)
            pose = Pose(float(near[0]), float(near[1]), self.rng.uniform(-math.pi, math.pi))
            outline = rectangle(0.9, 0.9, pose.x, pose.y)
            if self.canvas.within(outline, mask) and self.canvas.free(outline, ("taken", "covered")):
                return pose
        return None


def sample_ground(camera: Camera, rng: np.random.Generator) -> FloatArray:
    """Return (2,) ground metres of a random pixel."""
    pixel = np.array([*rng.uniform((0, 0), camera.size), 1.0])
    point = np.linalg.inv(camera.ground) @ pixel
    return point[:2] / point[2]


def _turned(outline: FloatArray, pose: Pose) -> FloatArray:
    """Return an outline (N, 2) of local metres at a pose."""
    cos, sin = math.cos(pose.heading), math.sin(pose.heading)
    return outline @ np.array([[cos, sin], [-sin, cos]]) + np.array([pose.x, pose.y])


CROWDS: dict[str, tuple[float, float, int, int, float]] = {
    # spacing along and across in metres, columns and rows at most, height in metres
    "person": (0.95, 0.95, 8, 7, 1.75),
    "bicycle": (0.75, 2.1, 16, 2, 1.0),
    "car": (2.45, 5.1, 9, 3, 1.5),
    "boat": (3.2, 8.0, 7, 1, 1.2),
}
"""The unlabelled clusters by class."""


ATTEMPTS = 220
"""Random places tried for a cluster, each smaller than the one before; a town seen from near has little open ground."""


class Crowd(NamedTuple):
    """A cluster whose ground is taken but whose objects are not made yet."""

    cluster: Cluster
    name: str
    poses: list[Pose]


def reserve_crowds(site: Site, camera: Camera, config: SceneConfig, rng: np.random.Generator) -> list[Crowd]:
    """Find ground in sight for `config.ignore_regions` clusters, and keep it free of everything else."""
    crowds: list[Crowd] = []
    names = [name for name in CROWDS if name in config.classes]
    for attempt in range(ATTEMPTS * config.ignore_regions):
        if len(crowds) >= config.ignore_regions or not names:
            break
        crowd = _try_crowd(site, camera, str(rng.choice(names)), 1.0 - 0.8 * (attempt % ATTEMPTS) / ATTEMPTS, rng)
        if crowd is not None:
            crowds.append(crowd)
    return crowds


def _try_crowd(site: Site, camera: Camera, name: str, share: float, rng: np.random.Generator) -> Crowd | None:
    along, across, columns, rows, height = CROWDS[name]
    limit = 0.4 * min(camera.size) / camera.focal * float(np.linalg.norm(camera.position)) * share
    columns = max(2, min(int(rng.integers(columns // 2, columns + 1)), int(limit / along)))
    rows = max(1, min(int(rng.integers(1, rows + 1)), int(limit / across)))
    x, y = sample_ground(camera, rng)
    heading = site.angle + rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.03)
    frame = Pose(float(x), float(y), float(heading))
    outline = _turned(rectangle(columns * along + 0.4, rows * across + 0.4), frame)
    ground = "water" if name == "boat" else "walk"
    if not site.canvas.within(outline, ground) or not site.canvas.free(outline, ("taken",)):
        return None
    for mask in ("reserved", "taken"):
        site.canvas.mark(mask, outline)
    site.canvas.mark("walk", outline, 0)
    return Crowd(Cluster(outline, height), name, _crowd_poses(name, columns, rows, frame, rng))


def _crowd_poses(name: str, columns: int, rows: int, frame: Pose, rng: np.random.Generator) -> list[Pose]:
    along, across, *_ = CROWDS[name]
    u, v = np.meshgrid(np.arange(columns) - (columns - 1) / 2, np.arange(rows) - (rows - 1) / 2)
    local = np.stack([u.ravel() * along, v.ravel() * across], axis=1)
    loose = 0.2 if name == "person" else 0.04
    local += rng.normal(0, loose, local.shape) * [along, along]
    local = local[rng.random(len(local)) < (0.85 if name == "person" else 0.95)]
    facing = frame.heading + math.pi / 2
    return [
        Pose(float(x), float(y), facing + (rng.uniform(-3, 3) if name == "person" else rng.normal(0, 0.05)))
        for x, y in _turned(local, frame)
    ]


def make_crowd(crowd: Crowd, wardrobe: Wardrobe, camera: Camera) -> list[Fixture]:
    """Return the cluster's objects, from far to near, to be painted into the ground."""
    eye = camera.position[:2]
    poses = sorted(crowd.poses, key=lambda pose: -math.hypot(pose.x - eye[0], pose.y - eye[1]))
    return [Fixture(wardrobe.make(crowd.name, pose, False), pose) for pose in poses]
