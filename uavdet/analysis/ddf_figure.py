"""The figures of `uavdet analyze ddf`: what frequency branches do, and the maps that they put out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.boxes import corners, outline
from uavdet.analysis.ddf_report import BlockLooks, DDFReport
from uavdet.analysis.difference_bars import WHISKERS, draw_differences
from uavdet.analysis.figure import (
    COLOURS,
    INK,
    MUTED,
    NOTE_SIZE,
    TEXT_SIZE,
    dress_axes,
    new_figure,
    save_figure,
    show_picture,
)


def draw_branches(file: Path, report: DDFReport, protocol: str, subject: str) -> Path:
    """Draw AP by size without the branches, their scales after training, and their share of the energy.

    Args:
        file: The PNG to write.
        report: What was measured.
        protocol: Which of its protocols to draw.
        subject: Of which model and which data, for the note.
    """
    figure = new_figure(
        15.5,
        4.9 * len(report.blocks),
        "What the frequency branch of dual-domain fusion does, and what detection loses without it",
        f"{subject}: {report.scores.images} for AP. {WHISKERS}",
    )
    panels = figure.subplots(len(report.blocks), 3, squeeze=False, width_ratios=(1.5, 1.1, 1))
    for block, (differences, scales, energy) in zip(report.blocks, panels, strict=True):
        dress_axes(differences, title=f"{block.name}: change of AP ({protocol})\nwhen its frequency branch is zero")
        differences.set_ylabel("AP points above (+) or\nbelow (-) the intact model", fontsize=TEXT_SIZE)
        draw_differences(differences, report.scores, protocol, [(block.name, "")])
        _draw_alpha(scales, block) if block.gains is None else _draw_gains(scales, block.name, block.gains)
        _draw_energy(energy, block)
    return save_figure(figure, file)


def _draw_alpha(axes: Any, block: BlockLooks) -> None:
    """Draw how the scales of the two branches are spread over the channels."""
    alpha, beta = block.alpha, block.beta
    count = len(alpha)  # type: ignore[arg-type]
    title = f"{block.name}: scales after training\nof {count} channels (new: alpha 0, beta 1)"
    dress_axes(axes, title=title, xlabel="value", ylabel="channels")
    both = np.concatenate([alpha, beta])
    edges = np.linspace(min(both.min(), 0.0) - 1e-3, max(both.max(), 1.0) + 1e-3, 41)
    axes.hist(alpha, edges, color=COLOURS[1], label="alpha: frequency branch")
    axes.hist(beta, edges, color=COLOURS[0], alpha=0.75, label="beta: spatial branch")
    axes.legend(fontsize=NOTE_SIZE)


def _draw_gains(axes: Any, name: str, gains: np.ndarray) -> None:
    """Draw how the gains (c, bands) of an equivariant block are spread over the channels, band by band."""
    channels, count = gains.shape
    title = f"{name}: gains after training (new: 0)\nof {channels} channels, mean over images"
    dress_axes(axes, title=title, xlabel="middle of the band, cycles a cell", ylabel="gain of the frequency branch")
    frequencies = np.linspace(0, 0.5, count)
    low, middle, high = np.percentile(gains, (5, 50, 95), axis=0)
    spread = "5 % to 95 % of the channels"
    axes.fill_between(frequencies, low, high, color=COLOURS[1], alpha=0.35, linewidth=0, label=spread)
    axes.plot(frequencies, middle, color=COLOURS[1], linewidth=2, marker="o", markersize=4, label="median channel")
    axes.axhline(0, color=INK, linewidth=1.2)
    axes.legend(fontsize=NOTE_SIZE)


def _draw_energy(axes: Any, block: BlockLooks) -> None:
    """Draw, a dot for each image, the branch's share of the energy and what of the output goes with it."""
    rows = [np.array(list(values.values())) * 100 for values in (block.share, block.effect)]
    dress_axes(axes, title=f"{block.name}: energy of the frequency branch\na dot an image, {len(rows[0])} images")
    axes.set_ylabel("% of the energy", fontsize=TEXT_SIZE)
    for place, (values, colour) in enumerate(zip(rows, COLOURS[1:3], strict=True)):
        spread = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
        axes.scatter(place + spread, values, s=22, color=colour, edgecolor="white", linewidth=0.5)
        axes.hlines(values.mean(), place - 0.3, place + 0.3, color=INK, linewidth=1.5)
        axes.annotate(
            f"mean {values.mean():.2g} %",
            (place + 0.3, values.mean()),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=NOTE_SIZE,
        )
    labels = ["its share of both\nbranches' energy", "change of the block's\noutput without it"]
    axes.set_xticks([0, 1], labels, fontsize=NOTE_SIZE)
    axes.set_xlim(-0.6, 2.0)
    axes.set_ylim(bottom=0)


def draw_branch_maps(file: Path, block: BlockLooks, subject: str) -> Path:
    """Draw images beside the mean magnitude of a block's spatial and frequency branch.

    Args:
        file: The PNG to write.
        block: What was seen of it.
        subject: Of which model and which data, for the note.
    """
    figure = new_figure(
        11.5,
        3.5 * len(block.pictures) + 1.0,
        f"{block.name}: where the spatial and the frequency branch are strong",
        f"{subject}. Magnitude of what each branch adds to the sum, mean over the channels.\n"
        "Every map has its own scale; the 1 % largest values are shown as one colour.",
    )
    panels = figure.subplots(len(block.pictures), 3, squeeze=False, width_ratios=(1, 1.14, 1.14))
    for axes, (sample, spatial, frequency) in zip(panels, block.pictures, strict=True):
        share = block.share[sample.name]
        height, width = sample.picture.shape[:2]
        show_picture(axes[0], sample.picture, title=f"{sample.name}, annotated: {len(sample.boxes)}")
        outline(axes[0], corners(sample.boxes), (height, width))
        sides = ((axes[1], "spatial", spatial, 1 - share), (axes[2], "frequency", frequency, share))
        for panel, name, values, part in sides:
            shown = show_picture(
                panel,
                values,
                title=f"{name} branch, {100 * part:.2g} % of the energy",
                vmin=0,
                vmax=max(float(np.quantile(values, 0.99)), 1e-12),
            )
            bar = figure.colorbar(shown, ax=panel, shrink=0.85, pad=0.02)
            bar.ax.tick_params(labelsize=NOTE_SIZE - 1, colors=MUTED)
            bar.outline.set_visible(False)
    return save_figure(figure, file)
