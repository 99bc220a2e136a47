"""What `uavdet analyze bands` measured, as rows and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.analysis.levels import level_names
from uavdet.analysis.radial_bands import Bands
from uavdet.analysis.variants import INTACT, VariantScores

MAP, BACKGROUND = "map", "background"


@dataclass(frozen=True)
class BandFilter:
    """One variant: a band of some levels, taken out or kept alone.

    Attributes:
        levels: Places of the levels, finest first.
        region: Where: the whole map, or the background alone.
        band: Place of the band, lowest first.
    """

    levels: tuple[int, ...]
    region: str
    band: int

    @property
    def name(self) -> str:
        """A name that no other filter of a run has."""
        return f"{','.join(map(str, self.levels))}/{self.region}/{self.band}"


@dataclass(frozen=True)
class BandsReport:
    """What was measured.

    Attributes:
        scores: Of the intact model and of every filter.
        filters: The variants.
        bands: Where the bands lie.
        strides: Of the model's levels, in pixels.
        energy: (levels, bands) share of each level's energy.
        keep: Whether the band was kept alone.
        model: The model, as given.
        data: The dataset, as given.
        folder: Where the figures and `bands.csv` are.
    """

    scores: VariantScores
    filters: list[BandFilter]
    bands: Bands
    strides: list[int]
    energy: list[list[float]]
    keep: bool
    model: str
    data: str
    folder: Path

    def levels_of(self, one: BandFilter) -> str:
        """Return the levels of a filter as text."""
        return level_names(one.levels, self.strides)

    def energy_of(self, one: BandFilter) -> float:
        """Return the share of the energy that a filter's band has, a mean over its levels."""
        return sum(self.energy[level][one.band] for level in one.levels) / len(one.levels)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each protocol, filter and size; values in [0, 1], None where there is none."""
        found = []
        for protocol, metrics in self.scores.metrics.items():
            intact = self.scores.of(protocol, INTACT)
            for one in self.filters:
                scores = self.scores.of(protocol, one.name)
                for metric in metrics:
                    score = scores[metric.name]
                    found.append(
                        {
                            "protocol": protocol,
                            "levels": self.levels_of(one),
                            "region": one.region,
                            "band": self.bands.names[one.band],
                            "from_to": f"{self.bands.describe(one.band)} {self.bands.unit}",
                            "energy_share": self.energy_of(one),
                            "metric": metric.name,
                            "objects": metric.objects,
                            "intact": intact[metric.name].value,
                            "filtered": score.value,
                            "difference": score.difference,
                            "low": score.low,
                            "high": score.high,
                        }
                    )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "model": self.model,
            "data": self.data,
            "images": self.scores.images,
            "filter": "keep" if self.keep else "remove",
            "bands": [f"{n}: {self.bands.describe(i)} {self.bands.unit}" for i, n in enumerate(self.bands.names)],
            "energy": {f"stride {s}": shares for s, shares in zip(self.strides, self.energy, strict=True)},
            "rows": self.rows(),
            "save_dir": self.folder,
        }

    def table(self) -> str:
        """Return the differences as text for people."""
        lines = []
        verb = "with nothing but" if self.keep else "without"
        for protocol, metrics in self.scores.metrics.items():
            intact = self.scores.of(protocol, INTACT)
            lines.append(f"{protocol}, {self.scores.images} images: AP in %, and points from it {verb} a band")
            lines.append(_line(["", *(metric.size for metric in metrics)]))
            lines.append(_line(["intact", *(f"{100 * intact[metric.name].value:.1f}" for metric in metrics)]))
            for one in self.filters:
                scores = self.scores.of(protocol, one.name)
                head = f"{self.bands.names[one.band]}, {one.region}, {self.levels_of(one)}"
                lines.append(_line([head, *(f"{100 * scores[metric.name].difference:+.1f}" for metric in metrics)]))
            lines.append("")
        return "\n".join([*lines, f"Figures and bands.csv (with 95 % intervals): {self.folder}"])


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:36} " + " ".join(f"{cell:>10}" for cell in cells[1:])
