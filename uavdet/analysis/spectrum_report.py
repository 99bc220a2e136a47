"""What `uavdet analyze spectrum` measured, as rows and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.analysis.samples import describe_size
from uavdet.analysis.windows import radial_profile

BACKGROUND = "background"
HEADER = ("level", "stride", "size", "objects", "cycles_per_cell", "cycles_per_pixel", "log10_amplitude", "deviation")


@dataclass
class MeanSpectrum:
    """The mean of log amplitude spectra.

    Attributes:
        windows: How many spectra it is made of.
        total: (n, n) their sum, zero frequency in the middle.
        profiles: (windows, n // 2) their radial profiles.
    """

    total: np.ndarray
    windows: int = 0
    profiles: list[np.ndarray] = field(default_factory=list)

    def add(self, spectra: np.ndarray) -> None:
        """Take in log amplitude spectra (N, n, n)."""
        self.windows += len(spectra)
        self.total += spectra.sum(0)
        self.profiles.append(radial_profile(spectra))

    @property
    def mean(self) -> np.ndarray:
        """(n, n) mean log amplitude; NaN where there was no window."""
        return self.total / self.windows if self.windows else np.full_like(self.total, np.nan)

    @property
    def profile(self) -> np.ndarray:
        """(n // 2,) mean over the windows of their radial profiles."""
        return np.concatenate(self.profiles).mean(0)

    @property
    def deviation(self) -> np.ndarray:
        """(n // 2,) standard deviation over the windows of their radial profiles."""
        return np.concatenate(self.profiles).std(0)


@dataclass(frozen=True)
class LevelSpectra:
    """The spectra of one level.

    Attributes:
        name: The level, e.g. P3.
        stride: In pixels of the network's input.
        side: Of the windows in cells.
        by_size: The means by name of the size, `background` among them; those without a window are left out.
    """

    name: str
    stride: int
    side: int
    by_size: dict[str, MeanSpectrum]

    @property
    def frequencies(self) -> np.ndarray:
        """(side // 2,) cycles per cell of the radial profiles."""
        return np.arange(1, self.side // 2 + 1) / self.side


@dataclass(frozen=True)
class SpectrumReport:
    """What was measured.

    Attributes:
        levels: The spectra of each level, finest first.
        counts: Objects by size.
        images: How many images they are of.
        channel: `strongest` or `mean`.
        folder: Where `spectrum.png` and `spectrum.csv` are.
    """

    levels: list[LevelSpectra]
    counts: dict[str, int]
    images: int
    channel: str
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        """Return the radial profiles, a row for every level, size and frequency."""
        return [
            dict(zip(HEADER, (level.name, level.stride, size, mean.windows, *values), strict=True))
            for level in self.levels
            for size, mean in level.by_size.items()
            for values in zip(
                level.frequencies.tolist(),
                (level.frequencies / level.stride).tolist(),
                mean.profile.tolist(),
                mean.deviation.tolist(),
                strict=True,
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "images": self.images,
            "objects": self.counts,
            "channel": self.channel,
            "above_background": {level.name: _above_background(level) for level in self.levels},
            "save_dir": self.folder,
        }

    def table(self) -> str:
        """Return by level and size how far the amplitude is above the background's, as text for people."""
        lines = [
            f"{sum(self.counts.values())} objects of {self.images} images. Log10 amplitude of their features minus the "
            "background's, by frequency in cycles per cell:",
            f"{'level':6} {'size':20} {'objects':>8} {'low <1/6':>9} {'mid <1/3':>9} {'high':>9}",
        ]
        for level in self.levels:
            for size, shares in _above_background(level).items():
                numbers = " ".join(f"{value:>+9.3f}" for value in shares.values())
                lines.append(f"{level.name:6} {describe_size(size):20} {level.by_size[size].windows:>8} {numbers}")
        if any(BACKGROUND not in level.by_size for level in self.levels):
            lines.append("Levels without a window that is free of objects have no background to compare with.")
        return "\n".join([*lines, f"\nFigure and spectrum.csv: {self.folder}"])


def _above_background(level: LevelSpectra) -> dict[str, dict[str, float]]:
    """Return by size the mean of log amplitude minus the background's, in thirds of the frequencies."""
    background = level.by_size.get(BACKGROUND)
    if background is None:
        return {}
    third = np.minimum((level.frequencies * 6 - 1e-9).astype(int), 2)
    return {
        size: {
            name: float((mean.profile - background.profile)[third == place].mean())
            for place, name in enumerate(("low", "mid", "high"))
        }
        for size, mean in level.by_size.items()
        if size != BACKGROUND
    }
