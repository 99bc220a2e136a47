"""Farmland: parcels of crops, meadows and bare soil with tracks, hedges, trees and a farmyard."""

from __future__ import annotations

import math

import numpy as np

from uavdet.data.scenes.ground import blob
from uavdet.data.scenes.roads import Road, pave_roads, sample_road
from uavdet.data.scenes.site import Cell, Site
from uavdet.data.scenes.urban import lay_grove

PARCELS = {"crop": 0.3, "wheat": 0.14, "soil": 0.14, "meadow": 0.2, "dry grass": 0.14, "lawn": 0.08}


def plan_field(site: Site) -> None:
    """Lay out farmland over the whole canvas."""
    roads = _choose_tracks(site)
    whole = Cell(-site.reach, -site.reach, site.reach, site.reach)
    site.canvas.fill(site.area(whole), "meadow")
    site.canvas.mark("walk", site.area(whole))
    yard = site.rng.random() < 0.5
    for cell in _split(site, whole, site.rng.uniform(45, 110)):
        if site.visible(cell):
            if yard and abs(cell.u1 + cell.u2) < 2 * site.reach * 0.4 and site.rng.random() < 0.4:
                _lay_farmyard(site, cell)
                yard = False
            elif site.rng.random() < 0.1:
                lay_grove(site, cell._replace(u2=min(cell.u2, cell.u1 + 60), v2=min(cell.v2, cell.v1 + 60)))
            else:
                _lay_parcel(site, cell)
    pave_roads(site, roads)
    for road in roads:
        _park_beside(site, road)


def _choose_tracks(site: Site) -> list[Road]:
    """Return one road or track near the centre, and often one across."""
    rng = site.rng
    main = sample_road(site, 0, rng.normal(0, 6))._replace(
        walks=False, kerbside=False, lanes=2, width=rng.uniform(6, 8)
    )
    if rng.random() < 0.5:
        main = main._replace(surface="dirt", width=rng.uniform(3.4, 5.0), lanes=1)
    roads = [main]
    if rng.random() < 0.6:
        width = rng.uniform(3.0, 4.2)
        roads.append(main._replace(along=1, at=rng.uniform(-40, 40), surface="dirt", width=width, lanes=1))
    return roads


def _split(site: Site, cell: Cell, target: float) -> list[Cell]:
    """Split the land into parcels of about `target` metres."""
    width, depth = cell.size
    if max(width, depth) < target * site.rng.uniform(0.9, 1.8):
        return [cell]
    share = site.rng.uniform(0.3, 0.7)
    if width >= depth:
        cut = cell.u1 + share * width
        halves = cell._replace(u2=cut), cell._replace(u1=cut)
    else:
        cut = cell.v1 + share * depth
        halves = cell._replace(v2=cut), cell._replace(v1=cut)
    return [part for half in halves for part in _split(site, half, target)]


def _lay_parcel(site: Site, cell: Cell) -> None:
    """Paint one parcel with its rows, tramlines and bare spots, and propose the trees at its edges."""
    rng, canvas = site.rng, site.canvas
    kind = str(rng.choice(list(PARCELS), p=list(PARCELS.values())))
    tone = canvas.materials[kind].tinted(rng.uniform(0.82, 1.18))
    outline = site.area(cell.inset(rng.uniform(0.2, 1.2)))
    canvas.fill(outline, tone, 1.0, 0.25)
    angle = site.angle + (math.pi / 2 if rng.random() < 0.5 else 0.0) + rng.normal(0, 0.04)
    if kind in ("crop", "wheat", "soil"):
        canvas.stripe(outline, angle, rng.uniform(0.6, 1.6), rng.uniform(0.02, 0.12), 0.8)
        canvas.stripe(outline, angle, rng.uniform(2.6, 5.5), rng.uniform(0.02, 0.07), 0.2)
        _paint_tramlines(site, cell)
    elif rng.random() < 0.5:
        canvas.stripe(outline, angle, rng.uniform(4, 8), rng.uniform(0.02, 0.06), 0.3)
    for _ in range(int(rng.integers(0, 5))):
        x, y = site.place(rng.uniform((cell.u1, cell.v1), (cell.u2, cell.v2))[None])[0]
        other = str(rng.choice(["soil", "dry grass", "meadow", "dirt"]))
        canvas.fill(blob(x, y, rng.uniform(1, 7), rng, 0.4), other, rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.5))
    _edge_parcel(site, cell, kind)


def _paint_tramlines(site: Site, cell: Cell) -> None:
    gap = site.rng.uniform(12, 24)
    for v in np.arange(cell.v1 + gap / 2, cell.v2, gap):
        for shift in (-0.9, 0.9):
            path = site.path((cell.u1, v + shift), (cell.u2, v + shift))
            if site.canvas.inside(path):
                site.canvas.ribbon(path, 0.4, "soil", 0.5)


def _edge_parcel(site: Site, cell: Cell, kind: str) -> None:
    rng = site.rng
    draw = rng.random()
    if draw < 0.3:
        radius = rng.uniform(1.5, 3.2)
        for u in np.arange(cell.u1, cell.u2, radius * rng.uniform(1.1, 2.4)):
            site.plant(u + rng.normal(0, 0.8), cell.v1 + rng.normal(0, 0.8), radius * rng.uniform(0.5, 1.2))
    elif draw < 0.55:
        for v in np.arange(cell.v1, cell.v2, 1.3):
            site.plant(cell.u1 + rng.normal(0, 0.3), v, rng.uniform(0.7, 1.4), "bush", 0.8)
    elif draw < 0.7:
        corner = Cell(cell.u1, cell.v1, cell.u1 + cell.size[0] * 0.4, cell.v1 + cell.size[1] * 0.4)
        site.plant_clump(corner, int(rng.integers(8, 40)), (1.6, 3.4))
    if kind in ("meadow", "dry grass", "wheat") and rng.random() < 0.6:
        for _ in range(int(rng.integers(3, 14))):
            u, v = rng.uniform((cell.u1, cell.v1), (cell.u2, cell.v2))
            site.drop("bale", float(u), float(v), rng.uniform(0, math.pi))
    site.plant_clump(cell, int(rng.integers(0, 4)), (1.0, 3.2))


def _lay_farmyard(site: Site, cell: Cell) -> None:
    """Paint a gravel yard with barns, machines' places and clutter."""
    rng = site.rng
    yard = Cell(cell.u1, cell.v1, cell.u1 + min(cell.size[0], 55), cell.v1 + min(cell.size[1], 45))
    site.canvas.fill(site.area(cell), "dry grass")
    site.canvas.fill(site.area(yard), "gravel", 1.0, 0.8)
    site.stain(yard, 12)
    for share in (0.05, 0.4, 0.72):
        u = yard.u1 + share * yard.size[0]
        barn = Cell(u, yard.v2 - rng.uniform(10, 16), u + rng.uniform(9, 15), yard.v2 - 1)
        site.build(barn, rng.uniform(3.5, 7), str(rng.choice(["roof tile", "roof grey", "roof blue"])), "metal")
    for _ in range(8):
        u, v = rng.uniform((yard.u1 + 4, yard.v1 + 3), (yard.u2 - 4, yard.v2 - 16))
        site.park(float(u), float(v), rng.uniform(0, 2 * math.pi), "truck" if rng.random() < 0.4 else "car")
    for _ in range(8):
        u, v = rng.uniform((yard.u1, yard.v1), (yard.u2, yard.v2))
        site.drop(str(rng.choice(["crate", "bale", "box", "container", "slab"])), float(u), float(v), rng.uniform(0, 3))


def _park_beside(site: Site, road: Road) -> None:
    """Add stalls on the verge."""
    for s in np.arange(-site.reach, site.reach, 8.0):
        if site.rng.random() < 0.4:
            side = 1 if site.rng.random() < 0.5 else -1
            heading = (math.pi / 2 if road.along == 1 else 0.0) + site.rng.normal(0, 0.1)
            place = road.point(float(s), side * (road.width / 2 + 2.0))
            site.park(*place, heading, "truck" if site.rng.random() < 0.3 else "car")
