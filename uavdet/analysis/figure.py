"""How the figures of the analyses look, and how they are written: without a display and without pyplot's state.

The colours are Okabe and Ito's, which people who see colours differently can tell apart; a scale of magnitudes is
`SEQUENTIAL`, one with a sign is `DIVERGING`, zero in its middle.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

INK, MUTED, GRID = "#222222", "#5f6368", "#d9dce0"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#B3A000", "#000000")
"""Colours of series, in the order in which they are taken."""
HELPS, HURTS = "#0072B2", "#D55E00"
"""Colours of a difference that is a gain, and of one that is a loss."""
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"
"""Colour maps."""

TITLE_SIZE, HEADING_SIZE, TEXT_SIZE, NOTE_SIZE = 13.0, 11.0, 10.0, 9.0
"""Points: of a figure's title, of a panel's, of labels, of the note below."""
_DPI = 130


def new_figure(width: float, height: float, title: str, note: str = "") -> Any:
    """Return a matplotlib figure without axes; it lays its panels out so that no text is cut off.

    Args:
        width: In inches.
        height: In inches.
        title: What the figure shows, at its top; lines are broken at "\\n".
        note: How to read it or what it was made of, small, at its bottom; lines are broken at "\\n".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.012, ha="left", fontsize=TITLE_SIZE, fontweight="bold", color=INK)
    if note:
        figure.supxlabel(note, x=0.012, ha="left", fontsize=NOTE_SIZE, color=MUTED)
    return figure


def dress_axes(axes: Any, *, title: str = "", xlabel: str = "", ylabel: str = "", grid: str = "y") -> Any:
    """Give axes of a chart their texts, and leave out lines that say nothing; return them.

    Args:
        axes: Of matplotlib.
        title: What the panel shows, above it on the left.
        xlabel: With the unit.
        ylabel: With the unit.
        grid: Axis whose values get lines behind the data: x, y, both, or nothing.
    """
    axes.set_title(title, loc="left", fontsize=HEADING_SIZE, color=INK)
    axes.set_xlabel(xlabel, fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(ylabel, fontsize=TEXT_SIZE, color=INK)
    axes.tick_params(labelsize=TEXT_SIZE - 0.5, colors=INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    return axes


def show_picture(axes: Any, picture: Any, *, title: str = "", **scale: Any) -> Any:
    """Show a picture or a map of values without ticks; return what `figure.colorbar` takes.

    Args:
        axes: Of matplotlib.
        picture: (H, W, 3) RGB, or (H, W) values.
        title: Above it on the left.
        **scale: `cmap`, `vmin`, `vmax`, `norm`, `extent` and `interpolation` of matplotlib's `imshow`; cells are drawn
            as squares, not blended.
    """
    shown = axes.imshow(picture, **{"cmap": SEQUENTIAL, "interpolation": "nearest", **scale})
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=TEXT_SIZE, color=INK)
    return shown


def save_figure(figure: Any, file: Path) -> Path:
    """Write a figure as PNG; a reader meets the old file or the new one, never a part. Return the file."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        figure.savefig(temporary, format="png")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return file
