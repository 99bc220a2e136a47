"""A whole world for one scene: flight, ground, light, structures and everyone in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.camera import Flight, FloatArray, plan_flight
from uavdet.data.scenes.config import SceneConfig
from uavdet.data.scenes.field import plan_field
from uavdet.data.scenes.finishes import Climate
from uavdet.data.scenes.ground import Canvas
from uavdet.data.scenes.harbour import plan_harbour
from uavdet.data.scenes.materials import sample_materials
from uavdet.data.scenes.motion import Actor
from uavdet.data.scenes.sensor import Sensor, sample_sensor
from uavdet.data.scenes.shapes import Light
from uavdet.data.scenes.site import Site
from uavdet.data.scenes.traffic import Cluster, Crowd, Populace, Wardrobe, make_crowd, reserve_crowds
from uavdet.data.scenes.urban import plan_urban

PLANS: dict[str, Callable[[Site], None]] = {"urban": plan_urban, "field": plan_field, "harbour": plan_harbour}


@dataclass(frozen=True)
class World:
    """Everything that a frame is rendered from.

    Attributes:
        flight: The camera's motion.
        ground: (H, W) or (H, W, 3) uint8 painting of the ground.
        origin: (2,) ground metres of its left top corner.
        resolution: Its pixels a metre.
        shade: (H, W) float32 share of sunlight that reaches the ground.
        light: The light on what moves.
        tint: (C,) factor of a full shadow.
        sensor: The camera's rendering.
        actors: The labelled objects.
        clusters: The unlabelled clusters.
    """

    flight: Flight
    ground: npt.NDArray[np.uint8]
    origin: FloatArray
    resolution: float
    shade: FloatArray
    light: Light
    tint: FloatArray
    sensor: Sensor
    actors: tuple[Actor, ...]
    clusters: tuple[Cluster, ...]


def build_world(config: SceneConfig) -> World:
    """Draw a world from the seed of `config`."""
    rng = np.random.default_rng([config.seed, 1])
    thermal, night = config.modality == "thermal", bool(rng.random() < 0.6)
    ground = _choose_ground(config, rng)
    flight = plan_flight(config, rng)
    light = _sample_light(thermal, night, rng)
    site = _lay_site(flight, thermal, night, ground, rng)
    crowds = reserve_crowds(site, flight.at(0.0), config, rng) if config.ignore_regions else []
    site.settle(flight.reference)
    site.paint_structures(light)
    scale = _scale(flight)
    # The lens blurs a person of two pixels to half its contrast, so small scales ask for more.
    climate = _grade(site.canvas, night, min(0.5 + 2 / scale, 1.3), rng) if thermal else None
    tint = _shadow_tint(thermal, night, light, rng)
    wardrobe = Wardrobe(site.canvas, climate, scale, rng)
    populace = Populace(site, wardrobe, flight, config, ground, rng)
    actors = tuple(populace.fill())
    _paint_small(site, crowds, wardrobe, climate, light, tint, flight)
    sensor = sample_sensor(config.size, thermal, 1.0, np.random.default_rng([config.seed, 2]))
    return World(
        flight, _to_pixels(site.canvas.value), site.canvas.origin, site.canvas.resolution, _soften(site.canvas), light,
        tint, sensor, actors, tuple(crowd.cluster for crowd in crowds)
    )  # fmt: skip


def _choose_ground(config: SceneConfig, rng: np.random.Generator) -> str:
    """Return the ground's name; "auto" takes one on which the wanted classes occur."""
    draw = rng.random()
    if config.ground != "auto":
        return config.ground
    if set(config.classes) == {"boat"}:
        return "harbour"
    harbour = 0.25 if "boat" in config.classes else 0.08
    return "harbour" if draw < harbour else ("field" if draw < harbour + 0.22 else "urban")


def _scale(flight: Flight) -> float:
    """Return pixels per metre where the reference camera's axis meets the ground."""
    camera = flight.reference
    return float(camera.focal * math.sin(camera.pitch) / camera.position[2])


def _lay_site(flight: Flight, thermal: bool, night: bool, ground: str, rng: np.random.Generator) -> Site:
    area = flight.area()
    area = area + np.array([-1, -1, 1, 1]) * 0.02 * float((area[2:] - area[:2]).max())
    width, height = flight.reference.size
    # The painting is kept within eight frames: far corners of a tilted view need less detail than the middle.
    limit = math.sqrt(8 * width * height / float(np.prod(area[2:] - area[:2])))
    resolution = min(1.15 * _scale(flight), limit)
    canvas = Canvas(flight.reference, area, resolution, sample_materials(thermal, night, rng), rng)
    site = Site(canvas, thermal, rng)
    PLANS[ground](site)
    return site


def _sample_light(thermal: bool, night: bool, rng: np.random.Generator) -> Light:
    """Choose the sun's place and how sharp shadows are; heat knows a sun only by day."""
    elevation, azimuth = math.radians(rng.uniform(28, 72)), rng.uniform(-math.pi, math.pi)
    flat = math.cos(elevation)
    sun = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])
    if thermal:
        return Light(sun, 1.0 if night else 0.85, float(rng.uniform(0, 0.12) if night else rng.uniform(0.05, 0.45)))
    if rng.random() < 0.25:
        return Light(np.array([0.2 * sun[0], 0.2 * sun[1], 0.98]), 0.8, float(rng.uniform(0.12, 0.25)))
    return Light(sun, 0.5, float(rng.uniform(0.42, 0.68)))


def _shadow_tint(thermal: bool, night: bool, light: Light, rng: np.random.Generator) -> FloatArray:
    """Return the factor (C,) of what an object shades; at night a car keeps the road beneath it warm."""
    if not thermal:
        return 1 - light.shadow * np.array([0.82, 0.95, 1.0])
    return np.array([1.0 + rng.uniform(0.0, 0.12)]) if night else np.array([1 - 0.8 * light.shadow])


def _grade(canvas: Canvas, night: bool, floor: float, rng: np.random.Generator) -> Climate:
    """Stretch heat to grey levels as a thermal camera's automatic gain does, and return the climate in grey levels."""
    value = canvas.value
    mean, deviation = float(value.mean()), max(float(value.std()), 4.0)
    middle, spread = rng.uniform(104, 152), float(np.exp(rng.uniform(math.log(18), math.log(60))))
    gain = min(spread / deviation, 2.6)
    pavement = middle + (float(canvas.materials["asphalt"].value[0]) - mean) * gain
    value -= mean
    value *= gain
    value += middle
    np.clip(value, 14, 225, out=value)
    contrast = rng.uniform(24, 52) if night else rng.uniform(20, 46)
    return Climate(night, float(np.clip(pavement, 60, 190)), max(contrast, 0.7 * spread), floor)


def _paint_small(
    site: Site, crowds: list[Crowd], wardrobe: Wardrobe, climate: Climate | None, light: Light, tint: FloatArray,
    flight: Flight
) -> None:  # fmt: skip
    """Paint clutter and clusters, which take the scene's final contrast."""
    middle, span = (climate.pavement, climate.span) if climate else (120.0, 70.0)
    dark, bright = np.full(3, max(middle - 1.3 * span, 8)), np.full(3, min(middle + 1.2 * span, 245))
    site.settle_clutter(dark, bright)
    fixtures = [*site.fixtures, *(item for crowd in crowds for item in make_crowd(crowd, wardrobe, flight.reference))]
    for fixture in fixtures:
        fixture.paint(site.canvas, light, tint)


def _to_pixels(value: FloatArray) -> npt.NDArray[Any]:
    pixels = np.clip(value, 0, 255).astype(np.uint8)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _soften(canvas: Canvas) -> FloatArray:
    """Return the shade blurred over a metre and a half, so that an object darkens gradually as it enters a shadow."""
    return cv2.blur(canvas.shade, (max(1, int(1.5 * canvas.resolution)),) * 2)
