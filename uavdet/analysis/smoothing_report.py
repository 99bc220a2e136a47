"""What `uavdet analyze smoothing` measured, as rows and as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.radial_bands import Bands

BEFORE, UNTRAINED, AFTER = "before", "untrained", "after"
"""States of a background: as the neck gives it, smoothed by a block before it has learned anything, and by the block.

The second is measured where the blocks are trained here: what changes from it to the third has been learned.
"""
BAND_HEADER = ("level", "stride", "state", "band", "frequencies", "energy", "share", "times_before", "of_the_mean")
CURVE_HEADER = ("level", "stride", "state", "cycles_per_cell", "cycles_per_pixel", "energy_of_a_bin")


@dataclass(frozen=True)
class BackgroundSpectrum:
    """The spectrum of a level's background in one state, averaged over images.

    Attributes:
        bands: (bands,) energy of each band: its part of the mean square of the features.
        mean: The part of the first band that is the features' mean over the map, which no smoothing takes away.
        curve: (rings,) energy of a bin by radial frequency; see `ring_frequencies`.
    """

    bands: np.ndarray
    mean: float
    curve: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(bands,) shares of the energy; zeros where there is none."""
        return self.bands / max(float(self.bands.sum()), 1e-30)


@dataclass(frozen=True)
class LevelSmoothing:
    """What smoothing does to one level.

    Attributes:
        name: The level, e.g. P3.
        stride: In pixels of the network's input.
        kernel: Side of the block's kernels in cells.
        frequencies: (rings,) of the curves, in cycles a cell.
        states: Spectra by state.
    """

    name: str
    stride: int
    kernel: int
    frequencies: np.ndarray
    states: dict[str, BackgroundSpectrum]

    def times(self, state: str) -> np.ndarray:
        """Return the factors by which the bands' energies change from before to a state; NaN where there was none."""
        before = self.states[BEFORE].bands
        return np.divide(self.states[state].bands, before, out=np.full(len(before), np.nan), where=before > 0)


@dataclass(frozen=True)
class SmoothingReport:
    """What was measured.

    Attributes:
        levels: Of each level that has a block, finest first.
        bands: Where the bands lie.
        images: How many images were looked at.
        origin: Where the blocks come from, as text.
        folder: Where `smoothing.png`, `smoothing.csv` and `curves.csv` are.
    """

    levels: list[LevelSmoothing]
    bands: Bands
    images: int
    origin: str
    folder: Path

    def band_rows(self) -> list[dict[str, Any]]:
        """Return a row for every level, state and band."""
        found = []
        for level in self.levels:
            for state, spectrum in level.states.items():
                means = np.eye(1, len(spectrum.bands))[0] * spectrum.mean  # zero frequency is in the first band
                columns = (spectrum.bands, spectrum.shares, level.times(state), means)
                for place, name in enumerate(self.bands.names):
                    values = (level.name, level.stride, state, name, self.bands.describe(place))
                    numbers = (_number(column[place]) for column in columns)
                    found.append(dict(zip(BAND_HEADER, (*values, *numbers), strict=True)))
        return found

    def curve_rows(self) -> list[dict[str, Any]]:
        """Return a row for every level, state and radial frequency."""
        return [
            dict(
                zip(
                    CURVE_HEADER,
                    (level.name, level.stride, state, float(frequency), float(frequency) / level.stride, float(energy)),
                    strict=True,
                )
            )
            for level in self.levels
            for state, spectrum in level.states.items()
            for frequency, energy in zip(level.frequencies, spectrum.curve, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "images": self.images,
            "blocks": self.origin,
            "levels": {
                level.name: {
                    state: {
                        "energy": dict(zip(self.bands.names, spectrum.bands.tolist(), strict=True)),
                        "share": dict(zip(self.bands.names, spectrum.shares.tolist(), strict=True)),
                        "mean": spectrum.mean,
                    }
                    for state, spectrum in level.states.items()
                }
                for level in self.levels
            },
            "save_dir": self.folder,
        }

    def table(self) -> str:
        """Return the shares of the bands before and after, and how their energies change, as text for people."""
        lines = [
            f"Background of {self.images} images; smoothing blocks {self.origin}. Shares of the features' energy by "
            f"frequency band ({self.bands.unit}), before and after smoothing, and the energy's own change:",
            f"{'level':9} {'band':10} {'frequencies':>15} {'before':>8} {'after':>8} {'energy':>9}",
        ]
        for level in self.levels:
            before, after = (level.states[state].shares for state in (BEFORE, AFTER))
            for place, name in enumerate(self.bands.names):
                shares = f"{before[place]:>8.1%} {after[place]:>8.1%} {_factor(level.times(AFTER)[place]):>9}"
                lines.append(f"{level.name:9} {name:10} {self.bands.describe(place):>15} {shares}")
        return "\n".join([*lines, f"\nFigure, smoothing.csv and curves.csv: {self.folder}"])


def _factor(value: float) -> str:
    return "-" if np.isnan(value) else f"x {value:.2f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
