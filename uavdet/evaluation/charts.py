"""Curves and matrices of a report as PNG files, drawn without a display and without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_DPI = 120
_LEGEND_BESIDE = 12
_SMALLEST_CELL_TEXT = 5.0


def _new_figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_precision_recall(
    file: Path, curves: Mapping[str, np.ndarray], mean: np.ndarray, recalls: np.ndarray, title: str
) -> None:
    """Draw precision over recall, a line for each class and a thick one for their mean.

    Args:
        file: The PNG to write.
        curves: Class name to precision (R,).
        mean: (R,) mean over the classes; NaN where there is none.
        recalls: (R,).
        title: Above the axes.
    """
    import matplotlib as mpl

    beside = len(curves) > _LEGEND_BESIDE
    figure = _new_figure(9.5 if beside else 7.5, 5.5)
    axes = figure.add_subplot()
    colours = mpl.colormaps["tab10" if len(curves) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    for row, (name, precision) in enumerate(curves.items()):
        style = ("-", "--", ":")[row // len(colours) % 3]
        label = f"{name} {100 * precision.mean():.1f}"
        axes.plot(recalls, precision, style, color=colours[row % len(colours)], linewidth=1.2, label=label)
    if np.isfinite(mean).all():
        label = f"mean of classes {100 * mean.mean():.1f}"
        axes.plot(recalls, mean, color="black", linewidth=2.5, label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)} if beside else {"loc": "best"}
        axes.legend(title="AP50 in %", fontsize=8, **place)
    figure.savefig(file, format="png")


def draw_confusion(file: Path, matrix: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draw a confusion matrix: counts as numbers, the share of each row as colour.

    Args:
        file: The PNG to write.
        matrix: (K, K) counts, annotated class by detected class.
        names: K names of rows and columns.
        title: Above the axes.
    """
    totals = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    side = float(np.clip(3.5 + 0.5 * len(names), 6, 20))
    figure = _new_figure(side + 1, side)
    axes = figure.add_subplot()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="detected", ylabel="annotated", title=title)
    axes.title.set_fontsize(9)
    size = max(_SMALLEST_CELL_TEXT, 10 - len(names) / 6)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            ink = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=ink)
    figure.colorbar(picture, ax=axes, label="share of the row", shrink=0.8)
    figure.savefig(file, format="png")
