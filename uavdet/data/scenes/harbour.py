"""A shore: open water with ripples, a quay, riprap or a beach, jetties with berths, and the land behind."""

from __future__ import annotations

import math

import numpy as np

from uavdet.data.scenes.camera import FloatArray
from uavdet.data.scenes.ground import blob
from uavdet.data.scenes.roads import Road, pave_roads, sample_road
from uavdet.data.scenes.site import Cell, Lane, Site, line
from uavdet.data.scenes.urban import fill_lot, lay_park


def plan_harbour(site: Site) -> None:
    """Lay out a shore over the whole canvas: land at negative v, water at positive v."""
    site.bend = min(site.bend, 3.0)
    style = str(site.rng.choice(["quay", "riprap", "beach"]))
    half = (site.canvas.area[3] - site.canvas.area[1]) / 2
    shore = site.rng.uniform(-0.45, 0.1) * float(half)
    whole = Cell(-site.reach, -site.reach, site.reach, site.reach)
    site.canvas.fill(site.area(whole), "lawn" if style != "quay" else "concrete")
    road = _lay_land(site, shore)
    _paint_water(site, shore, style)
    pave_roads(site, [road])
    _build_jetties(site, shore)
    _add_water_lanes(site, shore)
    _float_buoys(site, shore)


def _lay_land(site: Site, shore: float) -> Road:
    """Fill the land with a promenade road and lots behind it, and return the road."""
    road = sample_road(site, 0, shore - site.rng.uniform(11, 24))._replace(lanes=2)
    for u in np.arange(-site.reach, site.reach, 38.0):
        strip = Cell(u, road.at + road.margin, u + 37.5, shore - 3)
        if site.visible(strip) and strip.size[1] > 3:
            lay_park(site, strip)
        for v in np.arange(road.at - road.margin - 36, -site.reach - 36, -36.5):
            lot = Cell(u, v, u + 37.5, v + 36)
            if site.visible(lot):
                fill_lot(site, lot)
    return road


def _shoreline(site: Site, shore: float, style: str) -> FloatArray:
    u = np.arange(-site.reach, site.reach, 1.5)
    if style == "quay":
        return np.stack([u, np.full_like(u, shore)], axis=1)
    waves = sum(
        site.rng.normal(0, size) * np.sin(u / length + site.rng.uniform(0, 6.3))
        for size, length in ((1.6, 19.0), (0.8, 7.0), (0.35, 2.2))
    )
    return np.stack([u, shore + waves], axis=1)


def _paint_water(site: Site, shore: float, style: str) -> None:
    """Paint the shore's edge, the shallows and the water with waves and glints."""
    canvas, edge = site.canvas, _shoreline(site, shore, style)

    def from_edge(distance: float) -> FloatArray:
        far = np.array([[site.reach, site.reach], [-site.reach, site.reach]])
        return site.place(np.concatenate([edge + np.array([0.0, distance]), far]))

    if style == "quay":
        canvas.fill(from_edge(-4.0), "paving")
        canvas.mark("walk", from_edge(-4.0))
        canvas.fill(from_edge(-0.6), "kerb")
    elif style == "riprap":
        canvas.fill(from_edge(-2.5), "rock", 1.0, 0.3)
    else:
        canvas.fill(from_edge(-7.0), "sand", 1.0, 0.6)
        canvas.mark("walk", from_edge(-6.0))
        canvas.fill(from_edge(-1.2), "dirt", 0.5, 0.4)
    canvas.fill(from_edge(0.0), "shallow", 1.0, 0.1)
    for distance in (2.0, 5.0, 10.0, 18.0):
        canvas.fill(from_edge(distance), "water", 0.55, distance / 3)
    for name, value in (("walk", 0), ("water", 255)):
        canvas.mark(name, from_edge(0.0), value)
    canvas.mark("water", from_edge(-0.01), 255)
    _scatter_stones(site, edge, style)
    _ripple(site)


def _scatter_stones(site: Site, edge: FloatArray, style: str) -> None:
    if style != "riprap":
        return
    for u, v in edge:
        for _ in range(3):
            x, y = site.place(np.array([[u, v + site.rng.uniform(-2.4, 0.4)]]))[0]
            tone = site.canvas.materials["rock"].tinted(site.rng.uniform(0.6, 1.3))
            stone = blob(x, y, site.rng.uniform(0.25, 0.7), site.rng, 0.2)
            if site.canvas.inside(stone):
                site.canvas.fill(stone, tone)


def _ripple(site: Site) -> None:
    """Lay waves of two directions and a sprinkle of sun glints over the water."""
    canvas, rng = site.canvas, site.rng
    water = (canvas.masks["water"] > 0).astype(np.float32)
    y, x = np.ogrid[: water.shape[0], : water.shape[1]]
    wave = np.zeros_like(water)
    heading = rng.uniform(0, math.pi)
    for length, turn in ((rng.uniform(0.9, 1.6), 0.0), (rng.uniform(0.5, 0.8), 0.5), (rng.uniform(2, 4), -0.3)):
        pixels = max(length * canvas.resolution, 3.0)
        angle = heading + turn
        phase = (x * math.cos(angle) + y * math.sin(angle)).astype(np.float32) * np.float32(2 * math.pi / pixels)
        wave += np.sin(phase + 2.5 * canvas.medium + 3 * canvas.coarse)
    strength = rng.uniform(0.008, 0.035) * (0.4 if site.thermal else 1.0)
    factor = 1 + strength * (wave + canvas.fine) * water
    if not site.thermal and rng.random() < 0.6:
        crest = wave + 1.2 * canvas.fine + canvas.coarse
        factor += water * np.clip(crest - rng.uniform(3.6, 4.6), 0, 1) * rng.uniform(0.5, 1.4)
    canvas.value *= factor[:, :, None]


def _build_jetties(site: Site, shore: float) -> None:
    """Paint jetties out from the shore, and add berths on both sides of each."""
    rng = site.rng
    gap = rng.uniform(22, 40)
    for u in np.arange(-site.reach + rng.uniform(0, gap), site.reach, gap):
        length, width = rng.uniform(12, 34), rng.uniform(1.6, 2.6)
        jetty = Cell(u, shore - 2.5, u + width, shore + length)
        if not site.visible(jetty, 12):
            continue
        _paint_deck(site, jetty)
        head = Cell(u - rng.uniform(1, 5), shore + length - 3, u + width + rng.uniform(1, 5), shore + length)
        _paint_deck(site, head)
        for v in np.arange(shore + 5, shore + length - 4, rng.uniform(3.6, 4.6)):
            for side, out in ((u - 3.8, math.pi), (u + width + 3.8, 0.0)):
                flip = math.pi if rng.random() < 0.3 else 0.0
                site.park(side + rng.normal(0, 0.2), v + rng.normal(0, 0.2), out + flip, "boat")
        for v in np.arange(shore, shore + length, 6.0):
            site.drop(str(rng.choice(["pole", "box", "cabinet"])), u + 0.3, float(v))


def _paint_deck(site: Site, deck: Cell) -> None:
    """Paint planks with the shadow that they cast on the water."""
    canvas, outline = site.canvas, site.area(deck)
    canvas.fill(outline + 0.5, "stain", 0.45, 0.1)
    tone = canvas.materials["planks" if site.rng.random() < 0.7 else "concrete"].tinted(site.rng.uniform(0.8, 1.2))
    canvas.fill(outline, tone)
    canvas.stripe(outline, site.angle, 0.45, 0.10)
    canvas.mark("reserved", outline)
    canvas.mark("walk", outline)
    canvas.mark("water", outline, 0)


def _add_water_lanes(site: Site, shore: float) -> None:
    for _ in range(4):
        v = shore + site.rng.uniform(50, max(60, site.reach))
        path = line(np.array([-site.reach, v]), np.array([site.reach, v + site.rng.normal(0, 15)]), 5.0)
        path[:, 1] += site.rng.uniform(2, 8) * np.sin(path[:, 0] / site.rng.uniform(25, 60) + site.rng.uniform(0, 6))
        world = site.place(path)
        forward = site.rng.random() < 0.5
        site.lanes.append(Lane(world if forward else world[::-1], site.rng.uniform(1.5, 7), "boat"))


def _float_buoys(site: Site, shore: float) -> None:
    for _ in range(int(site.rng.integers(2, 9))):
        u = site.rng.uniform(-site.reach, site.reach)
        site.drop("buoy", float(u), shore + site.rng.uniform(10, max(12, site.reach)))
