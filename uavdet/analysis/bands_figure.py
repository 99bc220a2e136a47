"""The figure of `uavdet analyze bands`: what the lack of each band costs or gives objects of each size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uavdet.analysis.difference_bars import WHISKERS, draw_differences
from uavdet.analysis.figure import COLOURS, TEXT_SIZE, dress_axes, new_figure, save_figure

if TYPE_CHECKING:
    from uavdet.analysis.bands import BandsReport

_REGIONS = {"map": "whole map", "background": "background only"}
_PANEL_HEIGHT, _REST = 3.6, 1.1  # inches; the rest is the figure's title and note
_SIZE_WIDTH, _AXIS_WIDTH = 0.95, 0.9  # inches


def draw_bands(file: Path, report: BandsReport, protocol: str) -> Path:
    """Draw the differences from the intact model by size: a column of panels for each band, a row for each level set.

    Args:
        file: The PNG to write.
        report: What was measured.
        protocol: Which of its protocols to draw.
    """
    sets = list(dict.fromkeys(one.levels for one in report.filters))
    count = len(report.bands.names)
    metrics = report.scores.metrics[protocol]
    done = "is all that is left of" if report.keep else "is removed from"
    figure = new_figure(
        max(10.5, (_SIZE_WIDTH * len(metrics) + _AXIS_WIDTH) * count),
        _PANEL_HEIGHT * len(sets) + _REST,
        f"Change of AP ({protocol}) by object size when a frequency band {done} the features that enter the head",
        _note(report),
    )
    panels = figure.subplots(len(sets), count, squeeze=False)
    for row, levels in enumerate(sets):
        for band, axes in enumerate(panels[row]):
            some = [one for one in report.filters if one.levels == levels and one.band == band]
            dress_axes(axes, title=_heading(report, levels, band))
            colours = [COLOURS[list(_REGIONS).index(one.region)] for one in some]
            draw_differences(axes, report.scores, protocol, [(one.name, _REGIONS[one.region]) for one in some], colours)
        panels[row][0].set_ylabel("AP points above (+) or\nbelow (-) the intact model", fontsize=TEXT_SIZE)
    panels[0][0].legend(title=f"{'kept alone in' if report.keep else 'removed from'} the", fontsize=TEXT_SIZE - 1)
    return save_figure(figure, file)


def _heading(report: BandsReport, levels: tuple[int, ...], band: int) -> str:
    one = next(one for one in report.filters if one.levels == levels and one.band == band)
    span = f"{report.bands.describe(band)} {report.bands.unit}"
    name = report.bands.names[band]
    named = "" if span.startswith(name) else f"{name} band "
    first = f"{named}kept alone" if report.keep else f"{named}removed"
    share = "" if "energy" in span else f"; {100 * report.energy_of(one):.0f} % of the energy"
    return f"{report.levels_of(one)}, {first}\n{span}{share}"


def _note(report: BandsReport) -> str:
    seen = f"Model {Path(report.model).name}, data {report.data}, {report.scores.images} images."
    first = f"{seen} Panels have scales of their own."
    if any(one.region == "background" for one in report.filters):
        first += (
            "\nBackground: cells outside annotated objects and ignored regions. This filter knows where objects are, "
            "which helps by itself: compare its bands with each other."
        )
    return f"{first}\n{WHISKERS}"
