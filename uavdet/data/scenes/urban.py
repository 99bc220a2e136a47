"""A town: a grid of streets whose blocks hold buildings, car parks, parks, courts and squares."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from uavdet.data.scenes.roads import Road, pave_car_park, pave_roads, sample_road
from uavdet.data.scenes.site import Cell, Site

ROOFS = (("roof grey", "flat"), ("roof white", "flat"), ("roof dark", "flat"), ("roof tile", "gable"),
         ("roof tile", "gable"), ("roof blue", "metal"), ("roof grey", "metal"))  # fmt: skip


def plan_urban(site: Site) -> None:
    """Lay out a town over the whole canvas."""
    rows = _choose_streets(site, 0, (42, 95))
    columns = _choose_streets(site, 1, (55, 130))
    site.canvas.fill(site.area(Cell(-site.reach, -site.reach, site.reach, site.reach)), "concrete")
    for low, high in zip([None, *rows], [*rows, None], strict=True):
        for left, right in zip([None, *columns], [*columns, None], strict=True):
            block = Cell(_edge(left, -1, site), _edge(low, -1, site), _edge(right, 1, site), _edge(high, 1, site))
            for cell in _divide(block, site.rng):
                if site.visible(cell):
                    fill_lot(site, cell)
    pave_roads(site, [*rows, *columns])


def _choose_streets(site: Site, along: int, spacing: tuple[float, float]) -> list[Road]:
    """Return parallel streets; the first passes near the centre, so that most frames show one."""
    gap = site.rng.uniform(*spacing)
    first = site.rng.normal(0, 0.12) * gap if along == 0 else site.rng.uniform(-0.5, 0.5) * gap
    places = first + gap * np.arange(-12, 13)
    return [sample_road(site, along, float(at)) for at in places if abs(at) < site.reach]


def _edge(road: Road | None, side: int, site: Site) -> float:
    return side * (site.reach + 5) if road is None else road.at - side * road.margin


def _divide(block: Cell, rng: np.random.Generator) -> list[Cell]:
    """Split a block into lots of 20 to 45 metres."""
    width, depth = block.size
    if min(width, depth) < 8:
        return []
    if max(width, depth) < rng.uniform(32, 48):
        return [block]
    share = rng.uniform(0.35, 0.65)
    if width >= depth:
        cut = block.u1 + share * width
        halves = block._replace(u2=cut - 0.4), block._replace(u1=cut + 0.4)
    else:
        cut = block.v1 + share * depth
        halves = block._replace(v2=cut - 0.4), block._replace(v1=cut + 0.4)
    return [cell for half in halves for cell in _divide(half, rng)]


def fill_lot(site: Site, cell: Cell) -> None:
    """Choose what stands on a lot, and lay it out."""
    kinds: tuple[tuple[Callable[[Site, Cell], None], float], ...] = (
        (_lay_houses, 0.29),
        (pave_car_park, 0.23),
        (lay_park, 0.18),
        (lay_grove, 0.16),
        (_lay_court, 0.08),
        (_lay_square, 0.06),
    )
    shares = np.array([share for _, share in kinds])
    kinds[int(site.rng.choice(len(kinds), p=shares / shares.sum()))][0](site, cell)


def _lay_houses(site: Site, cell: Cell) -> None:
    rng = site.rng
    base = str(rng.choice(["lawn", "lawn", "paving", "concrete", "dry grass"]))
    site.canvas.fill(site.area(cell), base)
    site.canvas.mark("walk", site.area(cell.inset(0.8)))
    width = cell.size[0]
    halves = [cell] if width < 34 or rng.random() < 0.3 else [
        cell._replace(u2=cell.u1 + width * 0.48), cell._replace(u1=cell.u1 + width * 0.52)
    ]  # fmt: skip
    roof, style = ROOFS[int(rng.integers(len(ROOFS)))]
    height = rng.uniform(3.2, 6) if style == "gable" else rng.uniform(3.5, 12)
    for half in halves:
        house = half.inset(rng.uniform(2.5, 5.5))
        if min(house.size) > 5:
            site.build(house, height * rng.uniform(0.85, 1.15), roof, style)
            path = site.path(((house.u1 + house.u2) / 2, house.v1), ((house.u1 + house.u2) / 2, cell.v1))
            site.canvas.ribbon(path, 1.6, "paving", 0.9)
    _hedge_row(site, cell)
    site.plant_clump(cell, int(rng.integers(2, 9)), (1.2, 3.0))
    _strew(site, cell.inset(1.2), ("box", "bin", "bench", "crate", "cabinet"), 4)


def _hedge_row(site: Site, cell: Cell) -> None:
    if site.rng.random() < 0.5:
        return
    for u in np.arange(cell.u1 + 0.8, cell.u2 - 0.8, 1.1):
        site.plant(u, cell.v2 - 0.9, site.rng.uniform(0.6, 0.9), "bush", 0.7)


def _strew(site: Site, cell: Cell, kinds: tuple[str, ...], count: int) -> None:
    for _ in range(count):
        spot = site.rng.uniform((cell.u1, cell.v1), (cell.u2, cell.v2))
        site.drop(str(site.rng.choice(kinds)), float(spot[0]), float(spot[1]), site.rng.uniform(0, math.pi))


def lay_park(site: Site, cell: Cell) -> None:
    """Paint grass with a path, and propose trees."""
    rng = site.rng
    site.canvas.fill(site.area(cell), str(rng.choice(["lawn", "lawn", "meadow", "dry grass"])))
    site.canvas.mark("walk", site.area(cell.inset(0.5)))
    t = np.linspace(0, 1, 16)
    sway = np.sin(t * rng.uniform(3, 8) + rng.uniform(0, 6)) * rng.uniform(0.05, 0.22)
    middle = np.stack([cell.u1 + t * cell.size[0], cell.v1 + (0.5 + sway) * cell.size[1]], axis=1)
    path = site.place(middle)
    site.canvas.ribbon(path, rng.uniform(1.5, 3), str(rng.choice(["paving", "gravel", "dirt"])))
    area = cell.size[0] * cell.size[1]
    site.plant_clump(cell, int(rng.uniform(0.003, 0.022) * area), (1.5, 3.8))
    site.plant_clump(cell, int(rng.uniform(0.0, 0.008) * area), (1.0, 2.6))
    for spot in middle[2::4]:
        site.drop("bench", spot[0], spot[1] + 2.2)
        site.drop("bin", spot[0] + 1.8, spot[1] + 2.2)


def lay_grove(site: Site, cell: Cell) -> None:
    """Paint rough ground, and propose a dense stand of trees with a clearing."""
    rng = site.rng
    site.canvas.fill(site.area(cell), str(rng.choice(["meadow", "dry grass", "lawn", "soil"])))
    site.canvas.mark("walk", site.area(cell.inset(0.5)))
    radius = rng.uniform(1.6, 4.0)
    kind = str(rng.choice(["broad", "broad", "conifer", "bare"] if site.thermal else ["broad", "broad", "conifer"]))
    step = radius * rng.uniform(1.05, 1.7)
    clearing = rng.uniform((cell.u1, cell.v1), (cell.u2, cell.v2))
    for u in np.arange(cell.u1 + radius, cell.u2 - radius, step):
        for v in np.arange(cell.v1 + radius, cell.v2 - radius, step):
            at = np.array([u, v]) + rng.normal(0, 0.3 * step, 2)
            if np.linalg.norm(at - clearing) > 7:
                site.plant(float(at[0]), float(at[1]), radius * rng.uniform(0.65, 1.25), kind, 0.8)


def _lay_court(site: Site, cell: Cell) -> None:
    """Paint a sports ground with lines; players go where people walk."""
    rng, canvas = site.rng, site.canvas
    surface = str(rng.choice(["court green", "court red", "court blue", "concrete", "asphalt"]))
    canvas.fill(site.area(cell), "concrete")
    play = cell.inset(2.0)
    canvas.fill(site.area(play), surface)
    canvas.mark("walk", site.area(cell.inset(0.5)))
    inner = play.inset(1.0)
    outline = site.area(inner)
    canvas.ribbon(np.concatenate([outline, outline[:1]]), 0.12, "marking", 0.9)
    middle = (inner.u1 + inner.u2) / 2, (inner.v1 + inner.v2) / 2
    canvas.ribbon(site.path((middle[0], inner.v1), (middle[0], inner.v2)), 0.12, "marking", 0.9)
    angle = np.linspace(0, 2 * math.pi, 33)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for u, radius in ((middle[0], 1.8), (inner.u1, 5.5), (inner.u2, 5.5)):
        arc = circle * min(radius, min(inner.size) / 2.2) + [u, middle[1]]
        arc = arc[(arc[:, 0] >= inner.u1) & (arc[:, 0] <= inner.u2)]
        canvas.ribbon(site.place(arc), 0.12, "marking", 0.9)
    for u, heading in ((play.u1 + 0.5, 0.0), (play.u2 - 0.5, math.pi)):
        site.drop("lamp", u, middle[1], heading)


def _lay_square(site: Site, cell: Cell) -> None:
    """Paint a paved square with planters and cycle racks."""
    rng = site.rng
    site.canvas.fill(site.area(cell), "paving")
    outline = site.area(cell)
    for turn in (0.0, math.pi / 2):
        site.canvas.stripe(outline, site.angle + turn, rng.uniform(0.8, 2.4), 0.03)
    site.canvas.mark("walk", site.area(cell.inset(0.5)))
    for _ in range(int(rng.integers(2, 6))):
        u, v = rng.uniform((cell.u1 + 2, cell.v1 + 2), (cell.u2 - 4, cell.v2 - 4))
        bed = Cell(u, v, u + rng.uniform(1.5, 4), v + rng.uniform(1.5, 3))
        site.canvas.fill(site.area(bed.inset(-0.25)), "kerb")
        site.canvas.fill(site.area(bed), "lawn")
        site.plant((bed.u1 + bed.u2) / 2, (bed.v1 + bed.v2) / 2, rng.uniform(0.7, 1.6), "broad")
    _add_rack(site, cell)
    _strew(site, cell.inset(1.5), ("bench", "bin", "box", "slab", "cabinet"), 5)


def _add_rack(site: Site, cell: Cell) -> None:
    v = site.rng.uniform(cell.v1 + 2, cell.v2 - 2)
    start = site.rng.uniform(cell.u1 + 1, max(cell.u1 + 1.1, cell.u2 - 14))
    for u in np.arange(start, min(start + 12, cell.u2 - 1), 0.85):
        site.park(float(u), v + site.rng.normal(0, 0.1), math.pi / 2 + site.rng.normal(0, 0.12), "bicycle")
    site.canvas.mark("reserved", site.area(Cell(start - 1, v - 1.5, min(start + 13, cell.u2), v + 1.5)))
