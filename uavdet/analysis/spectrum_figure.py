"""The figure of `uavdet analyze spectrum`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.figure import COLOURS, GRID, MUTED, TEXT_SIZE, dress_axes, new_figure, save_figure, show_picture
from uavdet.analysis.samples import SIZES, describe_size
from uavdet.analysis.spectrum_report import BACKGROUND, LevelSpectra, SpectrumReport

_NOTE_WIDTH = 13.0  # inches that the note below needs


def draw_spectra(report: SpectrumReport, file: Path, subject: str) -> None:
    """Write the figure: a row a level with the mean spectrum of each size, and the radial profiles on the right.

    Args:
        report: What was measured.
        file: The PNG.
        subject: Of which model and which data, for the note.
    """
    names = [size for size in (*SIZES, BACKGROUND) if any(size in level.by_size for level in report.levels)]
    colours = {name: COLOURS[place] for place, name in enumerate(SIZES)} | {BACKGROUND: MUTED}
    which = "the channel with the most energy" if report.channel == "strongest" else "mean of all channels"
    figure = new_figure(
        max(2.1 * len(names) + 5.6, _NOTE_WIDTH),
        2.5 * len(report.levels) + 1.8,
        "Spectra of objects' features by size: which spatial frequencies an object leaves at each level",
        f"{subject}: {sum(report.counts.values())} objects of {report.images} images; {which}.\n"
        "Windows are centred on the object and the same for all sizes; sizes are square roots of the box area in the "
        "image file.\nSquares: mean log amplitude, low frequencies in the middle (grey: the mean, taken off), "
        "\u00b10.5 cycles per cell at the edges.\nCurves: the same by frequency; bands are standard errors. What lies "
        "on the background's curve does not stand out.",
    )
    grid = figure.add_gridspec(len(report.levels), len(names) + 1, width_ratios=[*[1.0] * len(names), 2.3])
    for row, level in enumerate(report.levels):
        _draw_squares(figure, [figure.add_subplot(grid[row, column]) for column in range(len(names))], level, names)
        _draw_profiles(figure.add_subplot(grid[row, -1]), level, names, colours, legend=row == 0)
    save_figure(figure, file)


def _draw_squares(figure: Any, panels: list[Any], level: LevelSpectra, names: list[str]) -> None:
    means = {name: mean.mean for name, mean in level.by_size.items()}
    centre = level.side // 2
    around = np.ones((level.side, level.side), bool)
    around[centre - 1 : centre + 2, centre - 1 : centre + 2] = False  # the mean is taken off: it would set the scale
    values = np.concatenate([mean[around] for mean in means.values()])
    shown, centre_cell = None, np.zeros_like(around)
    centre_cell[centre, centre] = True
    for axes, name in zip(panels, names, strict=True):
        if name not in means:
            axes.set_axis_off()
            continue
        kind = describe_size(name) if name in SIZES else name
        count = f"{level.by_size[name].windows} {'objects' if name in SIZES else 'windows'}"
        picture = np.where(centre_cell, np.nan, means[name])
        shown = show_picture(axes, picture, title=f"{kind}\n{count}", vmin=values.min(), vmax=values.max())
        axes.set_facecolor(GRID)
    pixels = level.side * level.stride
    label = f"{level.name}, stride {level.stride}\n{level.side}\u00d7{level.side} cells, {pixels} px"
    panels[0].set_ylabel(label, fontsize=TEXT_SIZE - 1)
    figure.colorbar(shown, ax=panels, label="log\u2081\u2080 amplitude", shrink=0.8, pad=0.01)


def _draw_profiles(
    axes: Any, level: LevelSpectra, names: list[str], colours: Mapping[str, str], *, legend: bool
) -> None:
    dress_axes(axes, xlabel="cycles per cell", ylabel="log\u2081\u2080 amplitude", title=f"{level.name}: by frequency")
    for name in names:
        if name not in level.by_size:
            continue
        mean = level.by_size[name]
        error = mean.deviation / np.sqrt(mean.windows)
        style = "--" if name == BACKGROUND else "-"
        axes.plot(level.frequencies, mean.profile, style, color=colours[name], linewidth=1.8, label=name)
        axes.fill_between(
            level.frequencies, mean.profile - error, mean.profile + error, color=colours[name], alpha=0.18, linewidth=0
        )
    axes.set_xlim(0, 0.5)
    if legend:
        axes.legend(fontsize=8.5, frameon=False, ncols=2)
