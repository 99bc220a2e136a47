"""`uavdet analyze ddf`: what the frequency branch of dual-domain fusion does, and AP by size without it.

SO-DETR (arXiv 2504.11470) shows the block against no block, and never the branch alone: its scale alpha starts at 0,
and how far training moves it, and whether detections need it, is not said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uavdet.analysis.ddf_figure import draw_branch_maps, draw_branches
from uavdet.analysis.ddf_report import BlockLooks, DDFReport
from uavdet.analysis.frequency_branch import (
    BranchLook,
    FrequencyBlock,
    frequency_blocks,
    look_at_branch,
    without_branches,
)
from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import Sample, Samples, open_model, open_samples
from uavdet.analysis.table import write_rows
from uavdet.analysis.variants import Variants, find_sized_protocols, score_variants
from uavdet.arguments import defaults_of
from uavdet.errors import UsageError
from uavdet.nn.ddf import FrequencyModulation

_PICTURES = 4
_ALL = "all blocks"


class ZeroedBranches(Variants):
    """The network with the frequency branch of each block zero, and where it has several, with all of them.

    Args:
        names: Of the blocks.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = [*names, *([_ALL] if len(names) > 1 else [])]

    def watch(self, network: nn.Module) -> None:
        """Find the blocks of a network."""
        self.network, self.blocks = network, frequency_blocks(network)

    def outputs(self, batch: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield what the network detects without branches."""
        for name in self.names:
            with without_branches([found for found in self.blocks if name in {found.name, _ALL}]):
                yield name, self.network(batch["img"])


def analyze_ddf(options: Mapping[str, Any]) -> DDFReport:
    """Look at the frequency branches of a model, and score it without them.

    Args:
        options: `model`, `data`; optionally `images`, `protocol`, `samples`, and what else of `uavdet val` mode
            `analyze` has.

    Raises:
        UsageError: The model has no such branch or is an exported file, or an option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        CheckpointError: The model cannot be read.
        DataError: The data is damaged, or holds no object.
    """
    options = {**defaults_of("analyze"), **options}
    find_sized_protocols(options["protocol"])
    model = open_model(options["model"])
    names = [found.name for found in frequency_blocks(model.module)]  # type: ignore[arg-type]
    if not names:
        raise UsageError(
            f"model={options['model']} has no dual-domain fusion block, so there is no frequency branch to look at. "
            "Give a model with a DDF or EquivariantDDF row, such as those of so-detr-n.yaml and so-detr-r18.yaml."
        )
    samples = open_samples(options)
    with new_results("ddf", options) as folder:
        blocks = look_at_blocks(samples)
        with tempfile.TemporaryDirectory() as scratch:
            scores = score_variants(model, ZeroedBranches(names), options, Path(scratch))
        report = DDFReport(blocks, scores, options["model"], options["data"], folder)
        _write(report, describe_subject(options))
    return report


def _write(report: DDFReport, subject: str) -> None:
    for name, rows in (
        ("ap.csv", report.score_rows()),
        ("branches.csv", report.branch_rows()),
        ("energy.csv", report.energy_rows()),
    ):
        write_rows(report.folder / name, rows, rows[0])
    for protocol in report.scores.metrics:
        draw_branches(report.folder / f"ddf-{protocol}.png", report, protocol, subject)
    for block in report.blocks:
        draw_branch_maps(report.folder / f"maps-{block.name}.png", block, subject)


@torch.no_grad()
def look_at_blocks(samples: Samples) -> list[BlockLooks]:
    """Show the images to the model, and return what its frequency branches do."""
    blocks = frequency_blocks(samples.model)
    looks = [BlockLooks(found.name) for found in blocks]
    gains: list[list[Tensor]] = [[] for _ in blocks]
    inputs: list[Tensor] = []
    hooks = [found.block.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for found in blocks]
    try:
        shown = set(np.linspace(0, len(samples) - 1, min(_PICTURES, len(samples))).round().astype(int).tolist())
        for number, sample in enumerate(samples):
            inputs.clear()
            samples.model(sample.image)
            for found, look, seen, given in zip(blocks, looks, gains, list(inputs), strict=True):
                branch = look_at_branch(found, given)
                _note_image(look, sample, branch, shown=number in shown)
                seen.extend([] if branch.gains is None else [branch.gains[0]])
    finally:
        for hook in hooks:
            hook.remove()
    for found, look, seen in zip(blocks, looks, gains, strict=True):
        _note_scales(found, look, seen)
    return looks


def _note_image(look: BlockLooks, sample: Sample, branch: BranchLook, *, shown: bool) -> None:
    look.share[sample.name], look.effect[sample.name] = float(branch.share[0]), float(branch.effect[0])
    if shown:
        spatial, frequency = (maps[0].abs().mean(0).cpu().numpy() for maps in (branch.spatial, branch.frequency))
        look.pictures.append((sample, spatial, frequency))


def _note_scales(found: FrequencyBlock, look: BlockLooks, gains: list[Tensor]) -> None:
    owner = found.owner
    if isinstance(owner, FrequencyModulation):
        look.alpha, look.beta = (scale.detach().flatten().cpu().numpy() for scale in (owner.alpha, owner.beta))
    else:
        look.gains = torch.stack(gains).mean(0).cpu().numpy()
