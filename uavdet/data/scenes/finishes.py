"""Paints of objects: car colours and clothes in daylight, heat in a thermal image."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from uavdet.data.scenes.camera import FloatArray
from uavdet.data.scenes.models import Finish
from uavdet.data.scenes.shapes import Paint, repaint

PARTS = (
    "body", "roof", "hood", "glass", "wheel", "light", "rear", "bed", "cargo", "seam", "frame", "seat", "bag", "cover",
    "deck", "engine", "rider", "torso", "arms", "legs", "head", "hair"
)  # fmt: skip
"""Every part that a builder may ask for."""

CAR_PAINTS: tuple[tuple[float, tuple[float, float, float]], ...] = (
    (0.27, (236, 236, 233)),
    (0.20, (168, 166, 163)),
    (0.21, (40, 37, 36)),
    (0.12, (98, 96, 93)),
    (0.07, (48, 40, 165)),
    (0.07, (142, 88, 46)),
    (0.02, (62, 98, 52)),
    (0.02, (48, 185, 225)),
    (0.02, (150, 186, 206)),
)
"""Share and BGR of car paints, roughly those of the world's fleets."""


HUES = (0.0, 0.02, 0.07, 0.14, 0.33, 0.53, 0.58, 0.62, 0.65)
"""Reds, yellows, greens and blues; the purples of a uniform draw are rare on things that are for sale."""


class Climate(NamedTuple):
    """The thermal state of a scene.

    Attributes:
        night: Whether the sun has long set.
        pavement: Grey level of roads.
        span: Grey levels of one unit of contrast.
        floor: Spans by which the body of an object differs from its ground at least.
    """

    night: bool
    pavement: float
    span: float
    floor: float


def colour_finish(name: str, background: FloatArray, rng: np.random.Generator, ridden: bool, contrast: float) -> Finish:
    """Return BGR paints for an object.

    Args:
        name: The class.
        background: (3,) colour of the ground where it stands.
        rng: Source of its paints.
        ridden: Whether a person sits on it.
        contrast: Levels of one channel by which its body is to differ from the ground.
    """
    paint = {"person": _clothes, "car": _car_paint, "bicycle": _cycle_paint, "truck": _truck_paint, "boat": _boat_paint}
    for _ in range(5):
        finish = dict.fromkeys(PARTS, (90.0, 90.0, 90.0)) | _fittings(rng) | paint[name](rng)
        main = finish["torso"] if name == "person" else finish["body"]
        if float(np.abs(np.asarray(main) - background).max()) > contrast:
            break
    if not ridden:
        del finish["rider"]
    return finish


def _fittings(rng: np.random.Generator) -> dict[str, Paint]:
    clothes = _clothes(rng)
    return clothes | {
        "glass": (52 + rng.uniform(0, 14), 44, 38),
        "wheel": (30, 30, 30),
        "light": (225, 232, 235),
        "rear": (50, 45, 140),
        "bed": (60, 60, 62),
        "seam": (150, 150, 148),
        "seat": _vivid(rng, 90, 60),
        "bag": _vivid(rng, 140, 110),
        "engine": (35, 35, 38),
        "rider": clothes["torso"],
    }


def _vivid(rng: np.random.Generator, saturation: float, value: float) -> Paint:
    """Return a common hue as BGR, with saturation and value about the given means in 0..255."""
    hue = (HUES[int(rng.integers(len(HUES)))] + rng.normal(0, 0.028)) % 1
    s = min(max(rng.normal(saturation, 50), 0), 230) / 255
    red, green, blue = colorsys.hsv_to_rgb(hue, s, min(max(rng.normal(value, 45), 20), 240))
    return np.array([blue, green, red])


def _clothes(rng: np.random.Generator) -> dict[str, Paint]:
    torso = _vivid(rng, 110, 130)
    bare = rng.random() < 0.45
    skin = np.array([130.0, 160.0, 200.0]) * rng.uniform(0.5, 1.05)
    legs = _vivid(rng, 70, 65)
    hair = np.array([38.0, 40.0, 48.0]) * rng.uniform(0.6, 2.6)
    return {
        "torso": torso,
        "arms": skin if bare else torso,
        "legs": legs,
        "head": skin,
        "hair": _vivid(rng, 120, 170) if rng.random() < 0.2 else hair,
        "bag": _vivid(rng, 120, 90),
        "cover": _vivid(rng, 150, 130),
    }


def _car_paint(rng: np.random.Generator) -> dict[str, Paint]:
    shares = np.array([share for share, _ in CAR_PAINTS])
    colour = np.array(CAR_PAINTS[int(rng.choice(len(CAR_PAINTS), p=shares / shares.sum()))][1])
    body = np.clip(colour * rng.uniform(0.85, 1.08) + rng.normal(0, 6, 3), 12, 250)
    # A roof mirrors the sky, a bonnet less so: without the difference a car from above is one flat patch.
    roof = np.clip(body * rng.uniform(0.92, 1.05) + rng.uniform(0, 14), 0, 255)
    return {"body": body, "roof": roof, "hood": repaint(body, rng.uniform(0.9, 1.06))}


def _cycle_paint(rng: np.random.Generator) -> dict[str, Paint]:
    frame = _vivid(rng, 130, 110)
    return {"body": frame, "frame": frame, "seat": (32, 32, 35), "wheel": np.full(3, rng.uniform(22, 60))}


def _truck_paint(rng: np.random.Generator) -> dict[str, Paint]:
    cab = _car_paint(rng)["body"] if rng.random() < 0.5 else _vivid(rng, 150, 150)
    cargo = np.full(3, rng.uniform(190, 240)) if rng.random() < 0.6 else _vivid(rng, 120, 140)
    bed = (88, 100, 118) if rng.random() < 0.5 else (80, 80, 82)
    return {
        "body": cab,
        "hood": repaint(cab, 0.95),
        "cargo": cargo,
        "roof": repaint(cargo, rng.uniform(0.95, 1.08)),
        "seam": repaint(cargo, 0.82),
        "bed": bed,
        "frame": (55, 55, 58),
    }


def _boat_paint(rng: np.random.Generator) -> dict[str, Paint]:
    hull = np.full(3, rng.uniform(205, 245)) if rng.random() < 0.7 else _vivid(rng, 140, 130)
    wood = np.array([95.0, 140.0, 175.0]) * rng.uniform(0.7, 1.1)
    deck = wood if rng.random() < 0.35 else np.full(3, rng.uniform(140, 220))
    cover = _vivid(rng, 130, 110) if rng.random() < 0.6 else np.full(3, rng.uniform(190, 240))
    return {"body": hull, "deck": deck, "roof": repaint(hull, 1.02), "cover": cover, "seat": _vivid(rng, 60, 130)}


def thermal_finish(
    name: str, climate: Climate, background: float, rng: np.random.Generator, active: bool, ridden: bool
) -> Finish:
    """Return grey paints for an object.

    Args:
        name: The class.
        climate: The thermal state of the scene.
        background: Grey level of the ground where it stands.
        rng: Source of its warmth.
        active: Whether its engine runs.
        ridden: Whether a person sits on it.
    """
    heat = _body_heat(climate, rng) if name == "person" else _machine_heat(climate, rng, active)
    heat = dict.fromkeys(PARTS, heat["body"]) | heat
    if name != "person":
        rider = _body_heat(climate, rng)
        heat |= {"rider": rider["torso"]} | {part: rider[part] for part in ("legs", "head", "hair")}
    base = max(background, climate.pavement) if name == "person" and climate.night else background
    if name in ("car", "truck"):
        base += 0.3 * (climate.pavement - background)
    main = base + heat["torso" if name == "person" else "body"] * climate.span - background
    # What the ground's own heat cancels is given back: an object that nobody can see teaches nothing.
    base += math.copysign(max(0.0, climate.floor * climate.span - abs(main)), main)
    finish = {part: np.full(3, np.clip(base + value * climate.span, 6, 250)) for part, value in heat.items()}
    if not ridden:
        del finish["rider"]
    return finish


def _body_heat(climate: Climate, rng: np.random.Generator) -> dict[str, float]:
    """Return contrast of a person in spans: glowing at night, by day bright, dark or in between."""
    draw = rng.random()
    if climate.night:
        body = rng.uniform(1.2, 2.6) if draw < 0.9 else rng.uniform(0.6, 1.1)
        spread = 0.35
    else:
        body = rng.uniform(0.8, 2.0) if draw < 0.68 else (-rng.uniform(0.8, 1.6) if draw < 0.85 else 0.55)
        spread = 0.6
    torso, legs, arms = body + rng.normal(0, spread, 3)
    head = body + rng.uniform(0, 0.6)
    return {"body": body, "torso": torso, "arms": arms, "legs": legs, "head": head, "hair": head - 0.3,
            "bag": body - 0.8, "cover": -1.0 if rng.random() < 0.5 else 0.8}  # fmt: skip


def _machine_heat(climate: Climate, rng: np.random.Generator, active: bool) -> dict[str, float]:
    """Return contrast of a vehicle in spans: metal under a cold night sky is dark, metal in the sun bright or dark."""
    draw = rng.random()
    if climate.night:
        body = -rng.uniform(0.8, 1.9) if draw < 0.85 else rng.uniform(0.6, 1.4)
        glass, roof = body - rng.uniform(-0.1, 0.5), body - rng.uniform(0.0, 0.6)
    else:
        body = rng.uniform(0.7, 1.7) if draw < 0.6 else -rng.uniform(0.7, 1.8)
        glass, roof = -rng.uniform(0.3, 1.5), body + rng.uniform(-0.5, 0.5)
    side = body + rng.uniform(0.2, 0.9) if climate.night else body
    running = active or rng.random() < 0.15
    warm = rng.uniform(0.8, 2.2)
    parts: Mapping[str, float] = {
        "body": side,
        "roof": roof,
        "cargo": body + rng.uniform(-0.3, 0.3),
        "cover": roof + rng.uniform(-0.3, 0.3),
        "deck": body + rng.uniform(-0.7, 0.7),
        "glass": glass,
        "seam": body - 0.4,
        "frame": body + rng.uniform(-0.2, 0.4),
        "hood": warm if running else body + rng.uniform(-0.1, 0.5),
        "wheel": warm if running else rng.uniform(-0.9, 0.6),
        "light": body + 0.7,
        "rear": body + 0.4,
        "engine": warm if running else body + 0.2,
        "bag": body + rng.uniform(-0.3, 0.3),
        "bed": body - rng.uniform(0.1, 0.7),
    }
    return dict(parts)
