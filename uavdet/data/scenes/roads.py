"""Roads and car parks: surfaces, kerbs and markings, and the lanes and stalls that come with them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from uavdet.data.scenes.camera import FloatArray
from uavdet.data.scenes.ground import band, offset_path
from uavdet.data.scenes.site import Cell, Site, lane_along

WALK_WIDTH = 2.6
"""Metres of a pavement beside a road."""


class Road(NamedTuple):
    """A straight road in local metres.

    Attributes:
        along: 0 when it runs along u, 1 when along v.
        at: Its place on the other axis.
        width: Metres between the kerbs.
        lanes: Lanes both ways together.
        surface: Its material.
        walks: Whether pavements line it.
        kerbside: Whether cars park along it.
    """

    along: int
    at: float
    width: float
    lanes: int
    surface: str
    walks: bool
    kerbside: bool

    @property
    def margin(self) -> float:
        """Metres from the middle to the end of the pavement."""
        return self.width / 2 + (WALK_WIDTH + 0.3 if self.walks else 0.5)

    def point(self, s: float, across: float) -> tuple[float, float]:
        """Return local (u, v) at `s` metres along the road and `across` from its middle."""
        return (s, self.at + across) if self.along == 0 else (self.at + across, s)

    def path(self, site: Site) -> FloatArray:
        """Return the world path of its middle."""
        return site.path(self.point(-site.reach, 0), self.point(site.reach, 0))


def sample_road(site: Site, along: int, at: float) -> Road:
    """Choose the width, the lanes and the furniture of a paved road."""
    lanes = int(site.rng.choice([2, 2, 2, 4]))
    kerbside = bool(site.rng.random() < 0.45)
    width = lanes * site.rng.uniform(3.1, 3.6) + (4.8 if kerbside else site.rng.uniform(0.4, 1.8))
    return Road(along, at, width, lanes, "asphalt", True, kerbside)


def pave_roads(site: Site, roads: list[Road]) -> None:
    """Paint roads with their crossings, and add their lanes; layer by layer, so that crossings stay clear."""
    canvas = site.canvas
    paths = [road.path(site) for road in roads]
    for road, path in zip(roads, paths, strict=True):
        canvas.mark("reserved", band(path, 2 * road.margin))
        if road.walks:
            canvas.ribbon(path, 2 * road.margin, "paving")
            canvas.mark("walk", band(path, 2 * road.margin))
    for road, path in zip(roads, paths, strict=True):
        if road.walks:
            canvas.ribbon(path, road.width + 0.5, "kerb")
    for road, path in zip(roads, paths, strict=True):
        if not road.walks:
            canvas.ribbon(path, road.width + 0.8, road.surface, 0.5)
        canvas.ribbon(path, road.width, road.surface)
        canvas.mark("walk", band(path, road.width), 0)
    _round_corners(site, roads)
    for road, path in zip(roads, paths, strict=True):
        _wear(site, road, path)
        _add_lanes(site, road, path)
    for road in roads:
        _mark_road(site, road, [other for other in roads if other.along != road.along])


def _round_corners(site: Site, roads: list[Road]) -> None:
    """Round the kerbs where two roads cross."""
    for road in (road for road in roads if road.along == 0):
        for other in (other for other in roads if other.along == 1):
            if not site.visible(Cell(other.at - 9, road.at - 9, other.at + 9, road.at + 9)):
                continue
            radius = site.rng.uniform(2.5, 6.0)
            for across, along in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                corner = (other.at + across * other.width / 2, road.at + along * road.width / 2)
                _round_corner(site, corner, (across, along), radius, road)


def _round_corner(site: Site, corner: tuple[float, float], side: tuple[int, int], radius: float, road: Road) -> None:
    """Paint the paved wedge between a corner and the circle that touches both kerbs."""
    angle = np.linspace(0, math.pi / 2, 9)
    arc = np.stack([1 - np.cos(angle), 1 - np.sin(angle)], axis=1) * radius * np.array(side) + np.array(corner)
    path = site.place(arc)
    site.canvas.fill(site.place(np.concatenate([arc, [corner]])), road.surface)
    if road.walks:
        site.canvas.ribbon(path, 0.35, "kerb")
    site.canvas.mark("walk", site.place(np.concatenate([arc, [corner]])), 0)


def _wear(site: Site, road: Road, path: FloatArray) -> None:
    """Paint wheel tracks, cracks and patches."""
    step = road.width / road.lanes if not road.kerbside else (road.width - 4.8) / road.lanes
    for lane in range(road.lanes):
        middle = (lane - (road.lanes - 1) / 2) * step
        for side in (-0.8, 0.8):
            rut = "stain" if road.surface == "asphalt" else "gravel"
            site.canvas.ribbon(offset_path(path, middle + side), 0.5, rut, 0.05 if site.thermal else 0.1)
    strip = Cell(*road.point(-site.reach, -road.width / 2), *road.point(site.reach, road.width / 2))
    site.stain(strip, int(min(site.reach / 4, 50)))


def _add_lanes(site: Site, road: Road, path: FloatArray) -> None:
    step = (road.width - (4.8 if road.kerbside else 0.6)) / road.lanes
    speed = site.rng.uniform(4, 12) if road.walks else site.rng.uniform(3, 7)
    for lane in range(road.lanes):
        offset = (lane - (road.lanes - 1) / 2) * step
        pace = speed * site.rng.uniform(0.85, 1.15)
        site.lanes.append(lane_along(path, offset, pace, "vehicle", offset < 0))
    for side in (-1, 1):
        if road.walks:
            offset = side * (road.width / 2 + WALK_WIDTH * 0.5)
            site.lanes.append(lane_along(path, offset, site.rng.uniform(1.0, 1.6), "foot", side > 0))
        if not road.kerbside:
            offset = side * (road.width / 2 - 0.7)
            site.lanes.append(lane_along(path, offset, site.rng.uniform(3, 6), "cycle", side < 0))


def _mark_road(site: Site, road: Road, crossing: list[Road]) -> None:
    """Paint lines that stop at crossings, zebras, kerbside stalls, lamps and street trees."""
    gaps = sorted((other.at - other.margin, other.at + other.margin) for other in crossing)
    edges = [-site.reach, *[side for gap in gaps for side in gap], site.reach]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < 4:
            continue
        if road.surface == "asphalt":
            _paint_lines(site, road, start, end)
        if road.kerbside:
            _line_kerb(site, road, start, end)
        _furnish(site, road, start, end)
    for start, end in gaps:
        if road.walks and site.rng.random() < 0.7:
            _paint_zebra(site, road, start - 3.2)
            _paint_zebra(site, road, end + 0.6)


def _paint_lines(site: Site, road: Road, start: float, end: float) -> None:
    used = road.width - (4.8 if road.kerbside else 0.6)
    for line in range(1, road.lanes):
        across = (line - road.lanes / 2) * used / road.lanes
        if line * 2 == road.lanes and road.lanes > 2:
            for shift in (-0.15, 0.15):
                path = site.path(road.point(start + 4, across + shift), road.point(end - 4, across + shift))
                site.canvas.ribbon(path, 0.14, "marking", 0.85)
        else:
            _paint_dashes(site, road, start, end, across)
    for side in (-1, 1):
        across = side * used / 2
        site.canvas.ribbon(site.path(road.point(start, across), road.point(end, across)), 0.12, "marking", 0.6)


def _paint_dashes(site: Site, road: Road, start: float, end: float, across: float) -> None:
    if site.canvas.resolution < 1.8:
        return
    for s in np.arange(start + 3, end - 3, 7.0):
        dash = site.place(np.array([road.point(s, across), road.point(s + 1.5, across), road.point(s + 3, across)]))
        if site.canvas.inside(dash):
            site.canvas.ribbon(dash, 0.15, "marking", 0.85)


def _paint_zebra(site: Site, road: Road, s: float) -> None:
    if site.canvas.resolution < 1.8 or not site.visible(Cell(*road.point(s, -6), *road.point(s, 6))):
        return
    for across in np.arange(-road.width / 2 + 0.5, road.width / 2 - 0.5, 1.0):
        start, end = road.point(s, across), road.point(s + 2.6, across + 0.5)
        bar = site.area(Cell(*start, *end))
        site.canvas.fill(bar, "marking", 0.8)


def _line_kerb(site: Site, road: Road, start: float, end: float) -> None:
    """Add stalls along both kerbs."""
    for side in (-1, 1):
        across = side * (road.width / 2 - 1.1)
        heading = (0.0 if side < 0 else math.pi) + (math.pi / 2 if road.along == 1 else 0.0)
        for s in np.arange(start + 8, end - 8, 6.2):
            site.park(*road.point(s + site.rng.uniform(-0.3, 0.3), across), heading, "car")


def _furnish(site: Site, road: Road, start: float, end: float) -> None:
    """Propose lamps, bins and street trees beside a road."""
    lamps, trees = site.rng.uniform(18, 35), site.rng.uniform(6, 14)
    kind = "conifer" if site.rng.random() < 0.25 else "broad"
    for side in (-1, 1):
        facing = (-side * math.pi / 2) if road.along == 0 else (math.pi if side > 0 else 0.0)
        across = side * (road.width / 2 + 0.5)
        for s in np.arange(start + site.rng.uniform(0, lamps), end, lamps):
            if road.walks and site.visible(Cell(*road.point(s, across), *road.point(s, across))):
                site.drop("lamp", *road.point(s, across), facing)
                site.drop(str(site.rng.choice(["bin", "cabinet", "pole", "cone"])), *road.point(s + 4, across * 1.02))
        if site.rng.random() < 0.65:
            radius = site.rng.uniform(1.2, 2.8)
            for s in np.arange(start + 3, end - 3, trees):
                spot = road.point(s + site.rng.uniform(-1, 1), side * (road.margin + radius * 1.1))
                if site.visible(Cell(*spot, *spot)):
                    site.plant(*spot, radius * site.rng.uniform(0.75, 1.2), kind)


def pave_car_park(site: Site, cell: Cell) -> None:
    """Paint a car park with stalls over a local rectangle."""
    surface = "asphalt" if site.rng.random() < 0.65 else "concrete"
    site.canvas.fill(site.area(cell.inset(-0.3)), "kerb")
    site.canvas.fill(site.area(cell), site.canvas.materials[surface].tinted(site.rng.uniform(0.85, 1.15)))
    site.canvas.mark("reserved", site.area(cell.inset(0.5)))
    site.canvas.mark("walk", site.area(cell.inset(1.0)))
    site.stain(cell, 10)
    v = cell.v1 + 1.0
    while v + 5.2 < cell.v2:
        _stall_row(site, cell, v, math.pi / 2)
        if v + 10.4 < cell.v2 and site.rng.random() < 0.85:
            v += 5.2
            _stall_row(site, cell, v, -math.pi / 2)
        v += 5.2 + site.rng.uniform(5.8, 7.0)
    for _ in range(3):
        site.drop("lamp", site.rng.uniform(cell.u1, cell.u2), cell.v1 + 0.3, math.pi / 2)


def _stall_row(site: Site, cell: Cell, v: float, heading: float) -> None:
    """Paint a row of stalls; the empty ones keep stains, and at night the cold mark of a car that has left."""
    pitch = site.rng.uniform(2.5, 2.8)
    for u in np.arange(cell.u1 + 1.2, cell.u2 - 1.2, pitch):
        site.canvas.ribbon(site.path((u, v), (u, v + 5.0)), 0.13, "marking", 0.8)
        if u + pitch > cell.u2 - 1.2:
            break
        flip = math.pi if site.rng.random() < 0.3 else 0.0
        jitter = site.rng.normal(0, (0.12, 0.2, 0.025))
        place = (u + pitch / 2 + jitter[0], v + 2.5 + jitter[1])
        site.park(*place, heading + flip + jitter[2], "car")
        mark = Cell(u + 0.5, v + 0.6, u + pitch - 0.5, v + 4.4)
        if site.rng.random() < (0.25 if site.thermal else 0.3):
            cold = site.canvas.materials["stain"].tinted(0.75 if site.thermal else 1.0)
            site.canvas.fill(site.area(mark), cold, site.rng.uniform(0.1, 0.6) if site.thermal else 0.14, 0.45)
    end = 5.0 if heading < 0 else 0.0
    site.canvas.ribbon(site.path((cell.u1 + 1.2, v + end), (cell.u2 - 1.2, v + end)), 0.13, "marking", 0.7)
