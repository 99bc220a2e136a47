"""The figures of `uavdet analyze saliency`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.boxes import MARK, corners, outline
from uavdet.analysis.figure import COLOURS, GRID, MUTED, TEXT_SIZE, dress_axes, new_figure, save_figure, show_picture
from uavdet.analysis.saliency_report import PATCH, REACH, SaliencyReport
from uavdet.analysis.samples import describe_size

_MISSED = "#56B4E9"
_NOTE_WIDTH = 13.0  # inches that the note below needs
_LEAST = 0.1  # times the map's mean, the end of the colour scale


def draw_patches(report: SaliencyReport, file: Path, subject: str) -> None:
    """Write the figure of means: a row a level with the mean patch of each size, and the shares in box and ring.

    Args:
        report: What was measured.
        file: The PNG.
        subject: Of which model and which data, for the note.
    """
    counts = report.counts()
    figure = new_figure(
        max(2.15 * len(counts) + 5.4, _NOTE_WIDTH),
        2.6 * len(report.patches) + 1.6,
        f"Saliency around objects by size: where the {_what(report)} lie that an object's score rests on",
        f"{subject}: {report.images} images. Saliency: L2 norm over the channels of the gradient of the object's class "
        f"score (before the sigmoid). Found: IoU \u2265 0.5 and score \u2265 {report.conf:g}.\n"
        f"Patches are {REACH} box sides wide and high, the white square is the object's box; each map is divided by "
        "its mean. \u03a3: mean over the objects of the sum within the box, as the paper gives it.\n"
        "Ring: up to one box side, at least one cell, around the box. Black ticks: the box's share if the saliency "
        "were even over the image.",
    )
    grid = figure.add_gridspec(len(report.patches), len(counts) + 1, width_ratios=[*[1.0] * len(counts), 2.0])
    for row, level in enumerate(report.patches):
        panels = [figure.add_subplot(grid[row, column]) for column in range(len(counts))]
        _draw_level(figure, panels, report, level)
        _draw_shares(figure.add_subplot(grid[row, -1]), report, level, legend=row == 0)
    save_figure(figure, file)


def _what(report: SaliencyReport) -> str:
    return "features" if report.gradient == "features" else "pixels"


def _draw_level(figure: Any, panels: list[Any], report: SaliencyReport, level: str) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    counts = report.counts()
    means = {size: report.patches[level][size].mean for size in counts if report.patches[level][size].objects}
    highest = max([float(np.nanmax(mean)) for mean in means.values()] or [1.0])
    scale = LogNorm(_LEAST, max(highest, 10 * _LEAST))
    shown, first, last = None, PATCH * (REACH // 2) / REACH - 0.5, PATCH / REACH
    for axes, (size, (found, number)) in zip(panels, counts.items(), strict=True):
        title = f"{describe_size(size)}\nfound {found} of {number}"
        if size not in means:
            show_picture(axes, np.full((PATCH, PATCH), np.nan), title=title)
            axes.text(
                0.5, 0.5, "none rests on\nthis level", transform=axes.transAxes, ha="center", va="center", color=MUTED
            )
            continue
        here = report.patches[level][size].objects
        if here < found:
            title = f"{describe_size(size)}\n{here} of {found} found"
        title += f", \u03a3 {report.means(level, size)['in_box']:.3g}"
        shown = show_picture(axes, means[size].clip(_LEAST), title=title, norm=scale)
        axes.set_facecolor(GRID)
        axes.add_patch(Rectangle((first, first), last, last, fill=False, edgecolor="white", linewidth=1.4))
    panels[0].set_ylabel(level, fontsize=TEXT_SIZE)
    if shown is not None:
        bar = figure.colorbar(shown, ax=panels, label="\u00d7 the map's mean", shrink=0.8, pad=0.01)
        bar.ax.minorticks_off()


def _draw_shares(axes: Any, report: SaliencyReport, level: str, *, legend: bool) -> None:
    """Draw bars of the shares in box and ring by size."""
    dress_axes(axes, title=f"{level}: share of an object's saliency", ylabel="%")
    sizes = list(report.counts())
    means = [report.means(level, size) for size in sizes]
    for offset, (name, label) in enumerate((("share_in_box", "in the box"), ("share_in_ring", "in the ring"))):
        heights = [100 * mean.get(name, 0.0) for mean in means]
        axes.bar(np.arange(len(sizes)) + 0.38 * offset - 0.19, heights, 0.36, color=COLOURS[offset], label=label)
    for place, mean in enumerate(means):
        if "area_of_box" in mean:
            even = 100 * mean["area_of_box"]
            axes.plot([place - 0.37, place - 0.01], [even, even], color="black", linewidth=2)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_ylim(0, 100)
    if legend:
        axes.legend(fontsize=9, frameon=False)


def draw_examples(report: SaliencyReport, file: Path, subject: str) -> None:
    """Write the figure of examples: each image, and the saliency of all its found objects on it.

    Args:
        report: What was measured.
        file: The PNG.
        subject: Of which model and which data, for the note.
    """
    height, width = report.examples[0].heat.shape
    count = len(report.examples)
    figure = new_figure(
        2 * 5.0 + 1.2,
        (5.0 * height / width + 0.4) * count + 1.7,
        f"Saliency of found objects: the {_what(report)} that their scores rest on",
        f"{subject}. Boxes: solid found (IoU \u2265 0.5, score \u2265 {report.conf:g}), dashed blue missed.\n"
        "Right: sum over the found objects, each adding up to 1"
        + (", all levels together." if report.gradient == "features" else "."),
    )
    panels = np.array(figure.subplots(count, 2, squeeze=False))
    for row, example in enumerate(report.examples):
        boxes, found = corners(example.sample.boxes), example.found
        title = f"{example.sample.name}: found {int(found.sum())} of {len(found)}"
        show_picture(panels[row, 0], example.sample.picture, title=title)
        heat = np.sqrt(example.heat / max(np.percentile(example.heat, 99.8), 1e-12)).clip(0, 1)
        shown = show_picture(panels[row, 1], heat, title="saliency", vmin=0, vmax=1)
        for axes, colour in zip(panels[row], (MARK, "white"), strict=True):
            outline(axes, boxes[found], (height, width), colors=colour)
            outline(axes, boxes[~found], (height, width), colors=_MISSED, linewidths=1.3, linestyles=(0, (2, 1.2)))
    bar = figure.colorbar(shown, ax=panels, location="bottom", shrink=0.4, aspect=40, pad=0.01)
    bar.set_ticks([0, 1], labels=["none", "most (square root scale)"])
    save_figure(figure, file)
