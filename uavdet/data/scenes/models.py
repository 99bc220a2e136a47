"""Geometry of the objects and the clutter of synthetic scenes, in metres; paints come in as a `Finish`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from uavdet.data.scenes.camera import CAR_LENGTH
from uavdet.data.scenes.shapes import Model, Paint, Prism, build_model, ellipse, rectangle, rounded

Finish = Mapping[str, Paint]
"""Paints by the part of an object: body, roof, glass, hood, wheel, light, torso, legs, head, ..."""


def build_object(name: str, kind: str, finish: Finish, rng: np.random.Generator, thickness: float) -> Model:
    """Build one object of a class.

    Args:
        name: The class, of CLASS_NAMES.
        kind: A kind from KINDS of that class.
        finish: Paints by part.
        rng: Source of its measures.
        thickness: Metres below which rods are not drawn thinner, or they would vanish between the pixels.
    """
    builders: dict[str, Callable[[str, Finish, np.random.Generator, float], list[Prism]]] = {
        "person": _person,
        "car": _car,
        "bicycle": _bicycle,
        "truck": _truck,
        "boat": _boat,
    }
    return build_model(builders[name](kind, finish, rng, thickness))


KINDS: dict[str, dict[str, float]] = {
    "person": {"standing": 0.5, "walking": 0.38, "sitting": 0.08, "umbrella": 0.04},
    "car": {"sedan": 0.4, "hatchback": 0.22, "suv": 0.23, "van": 0.09, "pickup": 0.06},
    "bicycle": {"bicycle": 0.55, "scooter": 0.45},
    "truck": {"box": 0.38, "bus": 0.3, "flatbed": 0.2, "tanker": 0.12},
    "boat": {"motorboat": 0.42, "covered": 0.18, "cruiser": 0.14, "pontoon": 0.08, "rowing": 0.12, "jetski": 0.06},
}
"""Kinds of every class and how often each is drawn."""


def _person(kind: str, finish: Finish, rng: np.random.Generator, thickness: float) -> list[Prism]:
    size = rng.uniform(0.92, 1.08)
    stride = rng.uniform(0.15, 0.28) if kind == "walking" else rng.uniform(0.0, 0.12)
    hip = 0.45 if kind == "sitting" else 0.86
    torso, shoulder = ellipse(0.32 * size, 0.48 * size), ellipse(0.25 * size, 0.44 * size)
    top = (hip + 0.64) * size
    parts = [_rod(0.24, 0.18, s * stride, s * 0.11 * size, 0.0, hip * size, finish["legs"]) for s in (-1.0, 1.0)]
    parts.append(Prism(torso, shoulder, hip * size - 0.06, top, finish["torso"], finish["torso"], 1))
    for side in (-1.0, 1.0):
        swing = side * -0.6 * stride
        parts.append(_rod(0.18, 0.13, swing, side * 0.29 * size, top - 0.6, top - 0.06, finish["arms"], 1))
    head = ellipse(0.25, 0.21, 0.03)
    parts.append(Prism(head, head * 0.75, top, top + 0.27, finish["head"], finish["hair"], 2))
    if kind == "umbrella":
        canopy = ellipse(1.0, 1.0, 0.1)
        parts.append(Prism(canopy, canopy * 0.2, top + 0.32, top + 0.5, finish["cover"], finish["cover"], 3))
    if rng.random() < 0.15:
        parts.append(_block(0.18, 0.32, top - 0.5, top - 0.05, finish["bag"], -0.22, layer=1))
    return parts


def _rod(
    length: float, width: float, x: float, y: float, bottom: float, top: float, paint: Paint, layer: int = 0
) -> Prism:
    outline = ellipse(length, width, x, y, points=6)
    return Prism(outline, outline, bottom, top, paint, paint, layer)


def _block(
    length: float,
    width: float,
    bottom: float,
    top: float,
    paint: Paint,
    x: float = 0.0,
    y: float = 0.0,
    lid: Paint | None = None,
    layer: int = 0,
) -> Prism:
    outline = rectangle(length, width, x, y)
    return Prism(outline, outline, bottom, top, paint, paint if lid is None else lid, layer)


def _flat(length: float, width: float, height: float, paint: Paint, x: float = 0.0, y: float = 0.0) -> Prism:
    """A marking on top of a body."""
    return _block(length, width, height, height, paint, x, y, layer=2)


def _span(x1: float, x2: float, width: float) -> tuple[float, float, float, float]:
    return x2 - x1, width, (x1 + x2) / 2, 0.0


CAR_SHAPES: dict[str, tuple[float, float, float, float, float, float, float]] = {
    # length, width, height, then where the cabin and its roof begin and end, as shares of the length
    "sedan": (4.75, 1.82, 1.45, -0.40, 0.20, -0.27, 0.06),
    "hatchback": (4.05, 1.75, 1.52, -0.48, 0.20, -0.40, 0.07),
    "suv": (4.7, 1.9, 1.75, -0.48, 0.20, -0.43, 0.09),
    "van": (5.1, 1.95, 2.0, -0.49, 0.34, -0.47, 0.22),
    "pickup": (5.3, 1.9, 1.75, -0.10, 0.24, -0.06, 0.12),
}


def _car(kind: str, finish: Finish, rng: np.random.Generator, thickness: float) -> list[Prism]:
    length, width, height, rear, front, roof_rear, roof_front = CAR_SHAPES[kind]
    size = rng.uniform(0.94, 1.05)
    length, width, belt = length * size, width * rng.uniform(0.97, 1.03), 0.55 * height
    cabin, roof = (
        rectangle(*_span(rear * length, front * length, width * 0.93)),
        rectangle(*_span(roof_rear * length, roof_front * length, width * 0.72)),
    )
    parts = _wheels(length, width, finish)
    parts.append(
        Prism(rounded(length, width, 0.28), rounded(length * 0.97, width * 0.95, 0.3), 0.25, belt, finish["body"],
              finish["body"])
    )  # fmt: skip
    hood = (0.49 - front) * length
    parts.append(_flat(hood * 0.84, width * 0.72, belt + 0.01, finish["hood"], front * length + hood / 2))
    parts += [_flat(0.16, 0.36, belt + 0.02, finish["light"], length * 0.465, side * width * 0.36) for side in (-1, 1)]
    parts += [_flat(0.12, 0.36, belt + 0.02, finish["rear"], -length * 0.475, side * width * 0.36) for side in (-1, 1)]
    if kind == "pickup":
        parts.append(_flat(length * 0.34, width * 0.78, belt + 0.02, finish["bed"], -length * 0.29))
    parts.append(Prism(cabin, roof, belt, height, finish["glass"], finish["roof"], 3))
    if kind in ("suv", "sedan") and rng.random() < 0.25:
        sunroof = rectangle(0.8, 0.9, (roof_rear + roof_front) * length / 2 + 0.2)
        parts.append(Prism(sunroof, sunroof, height + 0.01, height + 0.01, finish["glass"], finish["glass"], 4))
    return parts


def _wheels(length: float, width: float, finish: Finish, height: float = 0.66) -> list[Prism]:
    places = [(x, y) for x in (-0.31, 0.32) for y in (-0.47, 0.47)]
    return [_block(0.62, 0.2, 0.0, height, finish["wheel"], x * length, y * width) for x, y in places]


def _bicycle(kind: str, finish: Finish, rng: np.random.Generator, thickness: float) -> list[Prism]:
    rod = max(0.1, thickness)
    parts = _scooter(finish, rod) if kind == "scooter" else _frame(finish, rod)
    if "rider" in finish:
        parts += _rider(finish)
    return parts


def _frame(finish: Finish, rod: float) -> list[Prism]:
    parts = [_block(0.66, rod, 0.0, 0.66, finish["wheel"], x) for x in (-0.52, 0.52)]
    parts.append(_block(0.95, rod * 1.2, 0.45, 0.8, finish["frame"], layer=1))
    parts.append(_block(max(0.1, rod), 0.56, 0.92, 1.0, finish["wheel"], 0.42, layer=2))
    parts.append(_block(0.32, max(0.2, rod), 0.85, 0.95, finish["seat"], -0.32, layer=2))
    return parts


def _scooter(finish: Finish, rod: float) -> list[Prism]:
    body, seat = rounded(1.25, 0.42, 0.15, -0.18), rounded(0.85, 0.32, 0.12, -0.35)
    return [
        _block(0.5, max(0.14, rod), 0.0, 0.5, finish["wheel"], 0.66),
        _block(0.5, max(0.14, rod), 0.0, 0.5, finish["wheel"], -0.62),
        Prism(body, body, 0.22, 0.55, finish["frame"], finish["frame"], 1),
        Prism(seat, seat, 0.55, 0.8, finish["seat"], finish["seat"], 2),
        _block(0.18, 0.44, 0.3, 0.95, finish["frame"], 0.46, layer=2),
        _block(max(0.1, rod), 0.72, 0.95, 1.03, finish["wheel"], 0.4, layer=3),
        _block(0.32, 0.34, 0.75, 1.0, finish["bag"], -0.78, layer=3),
    ]


def _rider(finish: Finish) -> list[Prism]:
    torso, shoulder = ellipse(0.42, 0.42, -0.12), ellipse(0.34, 0.44, 0.05)
    return [
        _rod(0.4, 0.16, 0.0, -0.15, 0.4, 0.95, finish["legs"], 2),
        _rod(0.4, 0.16, 0.1, 0.15, 0.3, 0.95, finish["legs"], 2),
        Prism(torso, shoulder, 0.9, 1.48, finish["rider"], finish["rider"], 3),
        _rod(0.5, 0.12, 0.28, -0.24, 1.0, 1.3, finish["rider"], 3),
        _rod(0.5, 0.12, 0.28, 0.24, 1.0, 1.3, finish["rider"], 3),
        Prism(ellipse(0.26, 0.22, 0.14), ellipse(0.18, 0.15, 0.14), 1.48, 1.75, finish["head"], finish["hair"], 4),
    ]


def _truck(kind: str, finish: Finish, rng: np.random.Generator, thickness: float) -> list[Prism]:
    if kind == "bus":
        return _bus(finish, rng)
    length, width = rng.uniform(6.4, 9.5), rng.uniform(2.25, 2.5)
    cab, bed = 2.0, length - 2.3
    middle = -length / 2 + bed / 2
    parts = [*_wheels(length, width, finish, 0.95), *_cab(length / 2 - cab / 2, cab, width, finish)]
    if kind == "box":
        parts.append(_block(bed, width, 0.9, rng.uniform(2.7, 3.4), finish["cargo"], middle, lid=finish["roof"]))
        parts += [_flat(0.08, width * 0.96, 3.42, finish["seam"], middle + bed * s) for s in (-0.25, 0.0, 0.25)]
    elif kind == "tanker":
        tank, crest = rounded(bed, width, 0.5, middle), rounded(bed * 0.96, width * 0.45, 0.3, middle)
        parts.append(Prism(tank, crest, 1.0, 2.8, finish["cargo"], finish["roof"]))
    else:
        parts.append(_block(bed, width, 0.85, 1.2, finish["frame"], middle, lid=finish["bed"]))
        parts += _load(bed, width, middle, finish, rng)
    return parts


def _cab(x: float, length: float, width: float, finish: Finish) -> list[Prism]:
    roof = rectangle(length * 0.75, width * 0.9, x - length * 0.1)
    return [
        _block(length, width, 0.35, 1.5, finish["body"], x, lid=finish["hood"]),
        Prism(rectangle(length, width * 0.97, x), roof, 1.5, 2.4, finish["glass"], finish["body"], 1),
    ]


def _load(bed: float, width: float, middle: float, finish: Finish, rng: np.random.Generator) -> list[Prism]:
    count = int(rng.integers(0, 4))
    places = middle + bed * (np.arange(count) - (count - 1) / 2) / max(count, 1) * 0.9
    size = bed / max(count, 1) * 0.7
    return [
        _block(size, width * rng.uniform(0.5, 0.85), 1.2, rng.uniform(1.5, 2.4), finish["cargo"], x, layer=1)
        for x in places
    ]


def _bus(finish: Finish, rng: np.random.Generator) -> list[Prism]:
    length, width = rng.uniform(8.0, 12.0), 2.5
    top = rounded(length * 0.99, width * 0.94, 0.25)
    outline = rounded(length, width, 0.22)
    parts = [
        *_wheels(length, width, finish, 0.95),
        Prism(outline, outline, 0.3, 1.4, finish["body"], finish["body"]),
        Prism(outline, top, 1.4, 2.4, finish["glass"], finish["glass"], 1),
        Prism(top, top, 2.4, 3.0, finish["body"], finish["roof"], 2),
    ]
    places = rng.uniform(-0.35, 0.35, 2) * length
    parts += [_block(rng.uniform(0.8, 2.2), 1.5, 3.0, 3.2, finish["seam"], x, layer=3) for x in places]
    return parts


def _hull(length: float, beam: float, bow: float = 0.4) -> np.ndarray:
    x = np.array([-0.5, -0.1, 0.24, 0.42, 0.5, 0.42, 0.24, -0.1, -0.5]) * length
    y = np.array([-0.42, -0.5, -bow, -bow * 0.42, 0.0, bow * 0.42, bow, 0.5, 0.42]) * beam
    return np.stack([x, y], axis=1)


def _boat(kind: str, finish: Finish, rng: np.random.Generator, thickness: float) -> list[Prism]:
    if kind in ("rowing", "jetski"):
        return _small_boat(kind, finish, rng)
    length = {"motorboat": 6.0, "covered": 6.0, "cruiser": 9.5, "pontoon": 7.0}[kind] * rng.uniform(0.8, 1.2)
    beam = length * rng.uniform(0.3, 0.38)
    outline = rounded(length, beam, 0.3) if kind == "pontoon" else _hull(length, beam)
    parts = [Prism(outline * 0.92, outline, 0.0, 0.75, finish["body"], finish["body"])]
    if kind == "covered":
        ridge = outline * np.array([0.85, 0.2])
        parts.append(Prism(outline * 0.95, ridge, 0.76, 1.35, finish["cover"], finish["cover"], 1))
        return parts
    parts.append(Prism(outline * 0.82, outline * 0.82, 0.77, 0.77, finish["deck"], finish["deck"], 1))
    return parts + _cockpit(kind, length, beam, finish)


def _cockpit(kind: str, length: float, beam: float, finish: Finish) -> list[Prism]:
    if kind == "pontoon":
        return [_block(length * 0.5, beam * 0.9, 2.2, 2.3, finish["cover"], -length * 0.08, layer=3)]
    seats = [_block(0.55, beam * 0.6, 0.78, 1.0, finish["seat"], x * length, layer=2) for x in (-0.32, -0.15)]
    if kind == "motorboat":
        screen, rim = rectangle(0.7, beam * 0.62, length * 0.08), rectangle(0.2, beam * 0.5, length * 0.05)
        engine = _block(0.5, 0.45, 0.5, 1.15, finish["engine"], -length * 0.49, layer=2)
        return [*seats, Prism(screen, rim, 0.78, 1.25, finish["glass"], finish["deck"], 2), engine]
    cabin, roof = rounded(length * 0.45, beam * 0.66, 0.4, length * 0.04), rounded(length * 0.32, beam * 0.55, 0.3)
    return [*seats, Prism(cabin, roof, 0.78, 1.9, finish["glass"], finish["roof"], 3)]


def _small_boat(kind: str, finish: Finish, rng: np.random.Generator) -> list[Prism]:
    if kind == "jetski":
        hull = _hull(3.0, 1.15, 0.36)
        seat = rounded(1.5, 0.4, 0.12, -0.45)
        parts = [Prism(hull, hull * 0.9, 0.0, 0.5, finish["body"], finish["body"])]
        parts.append(Prism(seat, seat, 0.5, 0.9, finish["seat"], finish["seat"], 1))
        parts.append(_block(0.3, 0.75, 0.6, 1.0, finish["engine"], 0.45, layer=1))
        return parts + (_rider(finish) if "rider" in finish else [])
    length = rng.uniform(3.2, CAR_LENGTH)
    hull = _hull(length, 1.3, 0.4)
    parts = [Prism(hull * 0.9, hull, 0.0, 0.5, finish["body"], finish["body"])]
    parts.append(Prism(hull * 0.86, hull * 0.86, 0.51, 0.51, finish["deck"], finish["deck"], 1))
    return parts + [_block(0.3, 1.0, 0.52, 0.6, finish["seat"], x * length, layer=2) for x in (-0.25, 0.05)]
