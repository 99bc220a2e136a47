"""Plots as SVG text, for a page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 22, 26, 34
_COLOURS = ("#2f6fb0", "#d9822b", "#4f9a63", "#a05fa8")
_GREY, _INK = "#c9ced6", "#333a45"
_BINS_AN_OCTAVE = 4
_MOST_CLASSES = 30


def _svg(body: Sequence[str], height: int = HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="11" fill="{_INK}">' + "".join(body) + "</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _bar(x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{colour}" '
        f'fill-opacity="{opacity}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = _GREY, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashed}/>'


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], float(_LEFT)
    for name, colour in zip(names, _COLOURS, strict=False):
        parts += [_bar(x, 6, 10, 10, colour, 0.75), _text(x + 14, 15, name, "start")]
        x += 26 + 6.2 * len(name)
    return parts


def _frame(highest: float, label: str) -> list[str]:
    """Return the axes of a histogram, with the highest count at the left."""
    floor = HEIGHT - _BOTTOM
    return [
        _line(_LEFT, floor, WIDTH - _RIGHT, floor, _INK),
        _line(_LEFT, _TOP, _LEFT, floor, _INK),
        _text(_LEFT - 5, _TOP + 4, f"{highest:,.0f}", "end"),
        _text(_LEFT - 5, floor, "0", "end"),
        _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, label),
    ]


def plot_classes(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Plot objects of each class, a bar a split, the most frequent class first.

    Args:
        counts: Split to class name to number of objects.
    """
    splits = list(counts)
    totals = {name: sum(counts[split].get(name, 0) for split in splits) for name in counts[splits[0]]} if splits else {}
    shown = sorted(totals, key=lambda name: -totals[name])[:_MOST_CLASSES]
    highest = max((counts[split][name] for split in splits for name in shown), default=0)
    left, thick = 140, 10
    row = thick * max(len(splits), 1) + 8
    parts = _legend(splits)
    for number, name in enumerate(shown):
        y = _TOP + number * row
        parts.append(_text(left - 6, y + row / 2, name if len(name) <= 20 else f"{name[:19]}…", "end"))
        for index, (split, colour) in enumerate(zip(splits, _COLOURS, strict=False)):
            length = (WIDTH - left - 70) * counts[split][name] / highest if highest else 0
            parts.append(_bar(left, y + index * thick, length, thick - 1, colour, 0.75))
            parts.append(_text(left + length + 4, y + index * thick + 9, f"{counts[split][name]:,}", "start"))
    if len(totals) > len(shown):
        parts.append(_text(left, _TOP + len(shown) * row + 12, f"and {len(totals) - len(shown)} more", "start"))
    return _svg(parts, _TOP + len(shown) * row + 24)


def plot_sizes(sides: Mapping[str, np.ndarray], marks: Mapping[str, float]) -> str:
    """Plot histograms of the square root of the area over a logarithmic axis.

    Args:
        sides: Name to square roots of areas in pixels.
        marks: Text to the size in pixels at which a dashed line stands.
    """
    octaves = 11  # 1 to 2,048 px
    edges = 2.0 ** (np.arange(octaves * _BINS_AN_OCTAVE + 1) / _BINS_AN_OCTAVE)
    counted = {name: np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] for name, v in sides.items()}
    highest = max((int(count.max()) for count in counted.values()), default=0)
    step, room = (WIDTH - _LEFT - _RIGHT) / (len(edges) - 1), HEIGHT - _TOP - _BOTTOM
    parts = [*_legend(list(sides)), *_frame(highest, "square root of the area, pixels")]
    for counts, colour in zip(counted.values(), _COLOURS, strict=False):
        for index in np.flatnonzero(counts):
            tall = room * counts[index] / highest
            parts.append(_bar(_LEFT + index * step, _TOP + room - tall, step, tall, colour, 0.5))
    ticks = [(_LEFT + octave * _BINS_AN_OCTAVE * step, 2**octave) for octave in range(octaves + 1)]
    parts += [_text(x, HEIGHT - _BOTTOM + 13, str(size)) for x, size in ticks]
    for number, (text, size) in enumerate(marks.items()):
        x = _LEFT + np.log2(size) * _BINS_AN_OCTAVE * step
        parts += [
            _line(x, _TOP, x, _TOP + room, _INK, "3 3"),
            _text(x + 3, _TOP + 10 + 13 * (number % 2), text, "start"),
        ]
    return _svg(parts)


def plot_counts(counts: np.ndarray, queries: int | None) -> str:
    """Plot a histogram of objects an image, with a line at the number of queries.

    Args:
        counts: (I,) objects of each image.
        queries: Queries of the model, or None.
    """
    last = max(int(counts.max(initial=0)), queries or 0, 1)
    edges = np.linspace(0, last + 1, min(last + 1, 60) + 1)
    counted, _ = np.histogram(counts, edges)
    highest = int(counted.max())
    span, room = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = span / len(counted)
    parts = [_text(_LEFT, 15, "images by number of objects", "start"), *_frame(highest, "objects an image")]
    for index in np.flatnonzero(counted):
        tall = max(room * counted[index] / highest, 1.0)
        parts.append(_bar(_LEFT + index * step, _TOP + room - tall, step - 0.5, tall, _COLOURS[0], 0.75))
    ticks = np.linspace(0, last, 6).round().astype(int)
    parts += [_text(_LEFT + tick / (last + 1) * span, HEIGHT - _BOTTOM + 13, str(tick)) for tick in ticks]
    if queries is not None:
        x = _LEFT + queries / (last + 1) * span
        parts += [
            _line(x, _TOP, x, _TOP + room, "#b3261e"),
            _text(x - 4, _TOP + 10, f"{queries} queries", "end", "#b3261e"),
        ]
    return _svg(parts)
