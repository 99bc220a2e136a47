"""Differences of variants from the intact model by size of objects, as bars: the chart that several analyses share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from uavdet.analysis.figure import COLOURS, INK, NOTE_SIZE
from uavdet.analysis.variants import INTACT, SizeMetric, SizeScore, VariantScores

WHISKERS = (
    "Whiskers: 95 % interval of the difference (paired bootstrap over images); where it crosses 0, the images do not "
    "tell whether there is an effect."
)
_SMALLEST_SCALE = 0.5  # points; differences that mean nothing shall not fill the panel
_GROUP = 0.8  # width of the bars of one size


def draw_differences(
    axes: Any, scores: VariantScores, protocol: str, variants: Sequence[tuple[str, str]], colours: Sequence[str] = ()
) -> None:
    """Draw a group of bars for each size of objects, with intervals, numbers, and what there is of the size below it.

    Args:
        axes: Of matplotlib.
        scores: Of all variants.
        protocol: Which protocol's to draw.
        variants: Name and label in the legend of those to draw.
        colours: One for each of them; by default those of `figure.COLOURS`.
    """
    metrics = scores.metrics[protocol]
    places = np.arange(len(metrics), dtype=float)
    width = _GROUP / max(2, len(variants))
    for number, (name, label) in enumerate(variants):
        by_metric = scores.of(protocol, name)
        offset = (number - (len(variants) - 1) / 2) * width
        colour = (colours or COLOURS)[number % len(colours or COLOURS)]
        _draw_bars(axes, places + offset, [by_metric[metric.name] for metric in metrics], width, colour, label)
    axes.axhline(0, color=INK, linewidth=1.2)
    intact = scores.of(protocol, INTACT)
    axes.set_xticks(places, [_describe(m, intact[m.name].value) for m in metrics], fontsize=NOTE_SIZE - 0.5)
    axes.set_xlim(-0.6, len(metrics) - 0.4)
    axes.margins(y=0.16)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -_SMALLEST_SCALE), max(high, _SMALLEST_SCALE))


def share_scale(panels: Iterable[Any]) -> None:
    """Give panels of differences one scale, so that their bars can be compared."""
    panels = list(panels)
    low, high = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(low), max(high))


def _describe(metric: SizeMetric, intact: float) -> str:
    plural = "object" if metric.objects == 1 else "objects"
    return f"{metric.size}\n{metric.range}\n{metric.objects:,} {plural}\nintact AP {100 * intact:.1f}"


def _draw_bars(axes: Any, places: np.ndarray, scores: list[SizeScore], width: float, colour: str, label: str) -> None:
    """Draw differences in points with their intervals, the number beyond the end of each bar and interval."""
    values, low, high = (100 * np.array([getattr(s, name) for s in scores]) for name in ("difference", "low", "high"))
    axes.bar(places, values, width * 0.92, color=colour, label=label)
    axes.vlines(places, low, high, color=INK, linewidth=1)
    for place, value, bottom, top in zip(places, values, low, high, strict=True):
        up = value >= 0
        end = np.nanmax([value, top, 0.0]) if up else np.nanmin([value, bottom, 0.0])
        axes.annotate(
            signed(value),
            (place, end),
            (0, 3 if up else -3),
            textcoords="offset points",
            ha="center",
            va="bottom" if up else "top",
            fontsize=NOTE_SIZE - 0.5,
            color=INK,
        )


def signed(value: float) -> str:
    """Return a difference with its sign and one decimal; what rounds to zero has no sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text
