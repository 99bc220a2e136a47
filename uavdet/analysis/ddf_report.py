"""What `uavdet analyze ddf` measured, as rows and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.samples import Sample
from uavdet.analysis.variants import INTACT, VariantScores


@dataclass
class BlockLooks:
    """What was seen of one block, over all images.

    Attributes:
        name: Name of its row.
        share: Image to the branch's share of the energy of branch and spatial side.
        effect: Image to the share of the block's output energy that changes when the branch is zero.
        alpha: (c,) of a released block after training; None of an equivariant one.
        beta: (c,) the same of the spatial side's scale.
        gains: (c, bands) of an equivariant block, mean over images; None of a released one.
        pictures: Of a few images: the picture with its boxes, and the mean magnitude over the channels of the
            spatial side and of the branch, (h, w) each.
    """

    name: str
    share: dict[str, float] = field(default_factory=dict)
    effect: dict[str, float] = field(default_factory=dict)
    alpha: np.ndarray | None = None
    beta: np.ndarray | None = None
    gains: np.ndarray | None = None
    pictures: list[tuple[Sample, np.ndarray, np.ndarray]] = field(default_factory=list)


@dataclass(frozen=True)
class DDFReport:
    """What was measured.

    Attributes:
        blocks: What was seen of each block.
        scores: Of the intact model and of the model with zeroed branches.
        model: The model, as given.
        data: The dataset, as given.
        folder: Where the figures and tables are.
    """

    blocks: list[BlockLooks]
    scores: VariantScores
    model: str
    data: str
    folder: Path

    def score_rows(self) -> list[dict[str, Any]]:
        """Return a row for each protocol, zeroed block and size; values in [0, 1]."""
        found = []
        for protocol, metrics in self.scores.metrics.items():
            intact = self.scores.of(protocol, INTACT)
            for variant in dict.fromkeys(s.variant for s in self.scores.scores if s.variant != INTACT):
                scores = self.scores.of(protocol, variant)
                for metric in metrics:
                    score = scores[metric.name]
                    row: dict[str, Any] = {"protocol": protocol, "zeroed": variant, "metric": metric.name}
                    row |= {"objects": metric.objects, "intact": intact[metric.name].value, "without": score.value}
                    found.append(row | {"difference": score.difference, "low": score.low, "high": score.high})
        return found

    def branch_rows(self) -> list[dict[str, Any]]:
        """Return a row for each block and channel (and band): alpha and beta, or the mean gain."""
        found: list[dict[str, Any]] = []
        for block in self.blocks:
            for name in ("alpha", "beta", "gains"):
                values = getattr(block, name)
                for (channel, *band), value in np.ndenumerate(values) if values is not None else ():
                    row = {"block": block.name, "value_of": name.removesuffix("s"), "channel": channel}
                    found.append({**row, "band": band[0] if band else "", "value": float(value)})
        return found

    def energy_rows(self) -> list[dict[str, Any]]:
        """Return a row for each block and image."""
        return [
            {"block": block.name, "image": image, "share": share, "effect": block.effect[image]}
            for block in self.blocks
            for image, share in block.share.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "model": self.model,
            "data": self.data,
            "images": self.scores.images,
            "blocks": {block.name: self._summary(block) for block in self.blocks},
            "rows": self.score_rows(),
            "save_dir": self.folder,
        }

    def _summary(self, block: BlockLooks) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "images": len(block.share),
            "share": float(np.mean(list(block.share.values()))),
            "effect": float(np.mean(list(block.effect.values()))),
        }
        for name in ("alpha", "beta", "gains"):
            values = getattr(block, name)
            if values is not None:
                low, middle, high = np.percentile(values, (5, 50, 95))
                summary[name] = {"p5": low, "median": middle, "p95": high, "largest": np.abs(values).max()}
        return summary

    def table(self) -> str:
        """Return the numbers as text for people."""
        lines = []
        for block in self.blocks:
            summary = self._summary(block)
            name = "gains" if block.alpha is None else "alpha"
            spread = summary[name]
            lines.append(
                f"{block.name}: {name} {spread['median']:+.3g} in the median (5 % to 95 %: {spread['p5']:+.3g} to "
                f"{spread['p95']:+.3g}); the frequency branch has {summary['share']:.1%} of the energy of both "
                f"branches, and {summary['effect']:.1%} of the block's output goes with it ({summary['images']} images)"
            )
        for protocol, metrics in self.scores.metrics.items():
            intact = self.scores.of(protocol, INTACT)
            lines += ["", f"{protocol}, {self.scores.images} images: AP in %, and points from it without the branch"]
            lines.append(_line(["", *(metric.size for metric in metrics)]))
            lines.append(_line(["intact", *(f"{100 * intact[metric.name].value:.1f}" for metric in metrics)]))
            for variant in dict.fromkeys(s.variant for s in self.scores.scores if s.variant != INTACT):
                scores = self.scores.of(protocol, variant)
                lines.append(_line([variant, *(f"{100 * scores[m.name].difference:+.2f}" for m in metrics)]))
        return "\n".join([*lines, "", f"Figures, ap.csv, branches.csv and energy.csv: {self.folder}"])


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:24} " + " ".join(f"{cell:>10}" for cell in cells[1:])
