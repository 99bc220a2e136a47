"""The figure of `uavdet analyze bands`: what the lack of each band costs or gives objects of each size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uavdet.analysis.bands_report import BandsReport
from uavdet.analysis.difference_bars import WHISKERS, draw_differences, share_scale
from uavdet.analysis.figure import COLOURS, TEXT_SIZE, dress_axes, new_figure, save_figure

_REGIONS = {"map": "whole map", "background": "background only"}
_PANEL_HEIGHT, _REST = 3.6, 1.6  # inches; the rest is the figure's title, legend and note
_TITLE_HEIGHT = 36  # points; of a panel, two lines
_SIZE_WIDTH, _AXIS_WIDTH = 0.95, 0.9  # inches


def draw_bands(file: Path, report: BandsReport, protocol: str, subject: str) -> Path:
    """Draw the differences from the intact model by size: a column of panels for each band, a row for each level set.

    Args:
        file: The PNG to write.
        report: What was measured.
        protocol: Which of its protocols to draw.
        subject: Of which model and which data, for the note.
    """
    sets = list(dict.fromkeys(one.levels for one in report.filters))
    count = len(report.bands.names)
    metrics = report.scores.metrics[protocol]
    done = "is all that is left of" if report.keep else "is removed from"
    figure = new_figure(
        max(10.5, (_SIZE_WIDTH * len(metrics) + _AXIS_WIDTH) * count),
        _PANEL_HEIGHT * len(sets) + _REST,
        f"Change of AP ({protocol}) by object size when a frequency band {done} the features that enter the head",
        _note(report, subject),
    )
    panels = figure.subplots(len(sets), count, squeeze=False)
    for row, levels in enumerate(sets):
        for band, axes in enumerate(panels[row]):
            some = [one for one in report.filters if one.levels == levels and one.band == band]
            dress_axes(axes, title=_heading(report, levels, band))
            colours = [COLOURS[list(_REGIONS).index(one.region)] for one in some]
            draw_differences(axes, report.scores, protocol, [(one.name, _REGIONS[one.region]) for one in some], colours)
        share_scale(panels[row])
        panels[row][0].set_ylabel("AP points above (+) or\nbelow (-) the intact model", fontsize=TEXT_SIZE)
    _draw_legend(panels[0][0], f"Band {'kept alone in' if report.keep else 'removed from'} the")
    return save_figure(figure, file)


def _draw_legend(axes: Any, title: str) -> None:
    """Draw the legend above a panel's title: bars fill the panels."""
    from matplotlib.transforms import offset_copy

    above = offset_copy(axes.transAxes, axes.figure, y=_TITLE_HEIGHT, units="points")
    axes.legend(
        title=title, ncols=len(_REGIONS), loc="lower left", bbox_to_anchor=(0, 1), bbox_transform=above,
        borderaxespad=0, frameon=False, alignment="left", fontsize=TEXT_SIZE, title_fontsize=TEXT_SIZE,
    )  # fmt: skip


def _heading(report: BandsReport, levels: tuple[int, ...], band: int) -> str:
    one = next(one for one in report.filters if one.levels == levels and one.band == band)
    span = f"{report.bands.describe(band)} {report.bands.unit}"
    name = report.bands.names[band]
    named = "" if span.startswith(name) else f"{name} band "
    first = f"{named}kept alone" if report.keep else f"{named}removed"
    share = "" if "energy" in span else f"; {100 * report.energy_of(one):.0f} % of the energy"
    return f"{report.levels_of(one)}, {first}\n{span}{share}"


def _note(report: BandsReport, subject: str) -> str:
    first = f"{subject}: {report.scores.images} images."
    if any(one.region == "background" for one in report.filters):
        first += (
            "\nBackground: cells outside annotated objects and ignored regions. This filter knows where objects are, "
            "which helps by itself: compare its bands with each other."
        )
    return f"{first}\n{WHISKERS}"
