"""The figure of `uavdet analyze smoothing`: spectra of backgrounds before and after, and what the bands make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.figure import COLOURS, INK, MUTED, NOTE_SIZE, TEXT_SIZE, dress_axes, new_figure, save_figure
from uavdet.analysis.radial_bands import FixedBands
from uavdet.analysis.smoothing_report import LevelSmoothing, SmoothingReport

_STYLES = {"before": (MUTED, "--"), "untrained": (COLOURS[1], ":"), "after": (COLOURS[0], "-")}
_NAMES = {"before": "before", "untrained": "untrained block", "after": "after"}
_SHADES = ("#084594", "#4292c6", "#9ecae1", "#c6dbef", "#deebf7", "#f0f4fa")  # low frequencies are dark
_FEW = 4  # frequencies
_LETTER = 0.018  # of a bar: what a letter of a label takes


def draw_smoothing(file: Path, report: SmoothingReport, subject: str) -> Path:
    """Draw a row for each level: the spectra, the shares of the bands, and the factors of their energies.

    Args:
        file: The PNG to write.
        report: What was measured.
        subject: Of which model and which data, for the note.
    """
    figure = new_figure(
        14.5,
        3.3 * len(report.levels) + 1.5,
        "Background smoothing (HBS): the background's features by spatial frequency, before and after\n"
        f"Blocks {report.origin}",
        f"{subject}: {report.images} images.\n"
        "Background: features outside annotated objects and ignored regions, which count as zero. Energy: squared "
        "amplitude of the Fourier transform, mean of channels; all of it together is the features' mean square.",
    )
    panels = figure.subplots(len(report.levels), 3, squeeze=False, width_ratios=[1.35, 1.2, 0.8])
    for level, (curves, shares, factors) in zip(report.levels, panels, strict=True):
        _draw_curves(curves, level, report)
        _draw_shares(shares, level, report.bands.names)
        _draw_factors(factors, level, report.bands.names)
    panels[0][0].legend(fontsize=TEXT_SIZE - 0.5, frameon=False, loc="lower left")
    panels[-1][1].legend(
        fontsize=TEXT_SIZE - 0.5,
        frameon=False,
        ncols=len(report.bands.names) + 1,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        handlelength=1.2,
        columnspacing=1.2,
    )
    return save_figure(figure, file)


def _draw_curves(axes: Any, level: LevelSmoothing, report: SmoothingReport) -> None:
    title = f"{level.name} (stride {level.stride}, kernel {level.kernel}): spectrum"
    dress_axes(axes, title=title, xlabel="cycles per cell", ylabel="energy of a frequency bin")
    dots = "o" if len(level.frequencies) < _FEW else None  # a line of one frequency is nothing to see
    for state, spectrum in level.states.items():
        colour, line = _STYLES[state]
        axes.plot(level.frequencies, spectrum.curve, line, color=colour, linewidth=2, label=_NAMES[state], marker=dots)
    axes.set_yscale("log")
    axes.set_xlim(0, 0.5)
    if isinstance(report.bands, FixedBands):
        bounds = (0.0, *report.bands.edges, 0.5)
        for place, name in enumerate(report.bands.names):
            axes.axvline(bounds[place + 1], color=MUTED, linewidth=0.8, alpha=0.6)
            middle = (bounds[place] + bounds[place + 1]) / 2
            axes.text(
                *(middle, 0.97, name), transform=axes.get_xaxis_transform(), ha="center", va="top",
                fontsize=NOTE_SIZE, color=MUTED,
            )  # fmt: skip


def _draw_shares(axes: Any, level: LevelSmoothing, names: list[str]) -> None:
    dress_axes(axes, title=f"{level.name}: shares of the energy", grid="")
    for row, spectrum in enumerate(level.states.values()):
        total = max(float(spectrum.bands.sum()), 1e-30)
        mean = spectrum.mean / total
        parts = [mean, float(spectrum.shares[0]) - mean, *spectrum.shares[1:].tolist()]
        labels = [f"{names[0]}, the mean", f"{names[0]}, the rest", *names[1:]]
        left = 0.0
        for place, (part, label) in enumerate(zip(parts, labels, strict=True)):
            hatch = "///" if place == 0 else None
            colour = _SHADES[max(place - 1, 0)]
            axes.barh(
                row, part, left=left, color=colour, edgecolor="white", hatch=hatch, height=0.62,
                label=label if row == 0 else None,
            )  # fmt: skip
            left += part
        left = 0.0
        for place, share in enumerate(spectrum.shares.tolist()):
            fitting = [t for t in (f"{names[place]} {share:.0%}", f"{share:.0%}") if share >= len(t) * _LETTER]
            if fitting:
                axes.text(
                    *(left + share / 2, row, fitting[0]),
                    ha="center", va="center", fontsize=TEXT_SIZE - 0.5, color="white" if place < 2 else INK,
                    bbox={"facecolor": _SHADES[place], "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
            left += share
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_yticks(range(len(level.states)), [_NAMES[state] for state in level.states])
    axes.invert_yaxis()
    axes.spines[["left", "bottom"]].set_visible(False)


def _draw_factors(axes: Any, level: LevelSmoothing, names: list[str]) -> None:
    dress_axes(axes, title=f"{level.name}: energy after / before", ylabel="factor", grid="")
    factors = np.maximum(level.times("after"), 1e-3)
    known = factors[np.isfinite(factors)]
    for place, factor in enumerate(factors.tolist()):
        if not np.isfinite(factor):
            axes.text(place, 1, "none", ha="center", va="bottom", fontsize=NOTE_SIZE, color=MUTED)
            continue
        axes.bar(place, factor - 1, bottom=1, color=_SHADES[place], width=0.62)
        text = f"\u00d7{factor:.2f}"
        up = factor >= 1
        axes.annotate(
            *(text, (place, factor)), xytext=(0, 3 if up else -3), textcoords="offset points", ha="center",
            va="bottom" if up else "top", fontsize=TEXT_SIZE, color=INK,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_ylim(min([0.5, *known / 1.6]), max([2.0, *known * 1.6]))
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"\u00d7{value:g}")
