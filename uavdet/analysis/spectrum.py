"""`uavdet analyze spectrum`: spectra of objects' features by size, as in SET's Fig. 2 (CVPR 2025).

How sizes are made to compare (`uavdet.analysis.windows`):

* Crop: every object is seen through a window of the same number of cells, centred on the cell that holds the
  object's centre: 128 pixels of the network's input, twice the side of AI-TOD's largest objects, and at least 8 cells.
  Nothing is resampled: interpolation would take high frequencies from small objects alone. Beyond the map's border the
  features are mirrored. The paper crops without saying how.
* Window: the window's mean is taken off each channel, and Hann's window multiplied, so that the crop's borders make no
  frequencies. Amplitudes are divided by the root of the window's energy: white noise has its standard deviation.
* Channel: the one with the highest energy in the window, as in the paper, or the mean over all channels.
* Mean: of the logarithm (base 10) of the amplitude, over all objects of a size. Windows without an object in their
  inner half, as many as an image has objects, are the background that objects have to stand out from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import SIZES, Samples, describe_size, open_samples, size_of
from uavdet.analysis.table import write_rows
from uavdet.analysis.windows import background_centres, crop_windows, log_spectra, radial_profile, window_side
from uavdet.arguments import defaults_of

BACKGROUND = "background"
_CHUNK = 64  # windows at a time: all of a crowded image's would take gigabytes
_HEADER = ("level", "stride", "size", "objects", "cycles_per_cell", "cycles_per_pixel", "log10_amplitude", "deviation")


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
            dict(zip(_HEADER, (level.name, level.stride, size, mean.windows, *values), strict=True))
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


def analyze_spectrum(options: Mapping[str, Any]) -> SpectrumReport:
    """Compare the spectra of objects' features by size, at every level that enters the head.

    Args:
        options: See `uavdet.analysis.command.run_analyze`.

    Raises:
        UsageError: An option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        DataError: The split holds no object, or a damaged file.
    """
    from uavdet.analysis.spectrum_figure import draw_spectra

    options = {**defaults_of("analyze"), **options}
    samples = open_samples(options)
    with new_results("spectrum", options) as folder:
        levels, counts, images = measure_spectra(samples, options["channel"])
        report = SpectrumReport(levels, counts, images, options["channel"], folder)
        write_rows(folder / "spectrum.csv", report.rows(), _HEADER)
        draw_spectra(report, folder / "spectrum.png", describe_subject(options))
    return report


@torch.no_grad()
def measure_spectra(samples: Samples, channel: str) -> tuple[list[LevelSpectra], dict[str, int], int]:
    """Return the spectra of each level, the number of objects by size, and of images.

    Args:
        samples: The detector and its images.
        channel: `strongest` or `mean`; see `log_spectra`.
    """
    random = np.random.default_rng(0)
    sides = [window_side(stride) for stride in samples.strides]
    found = [{size: MeanSpectrum(np.zeros((side, side))) for size in (*SIZES, BACKGROUND)} for side in sides]
    counts, images = dict.fromkeys(SIZES, 0), 0
    for sample in samples:
        images += 1
        samples.model.predict(sample.image)  # type: ignore[operator]
        sizes = [size_of(side) for side in sample.sides]
        for size in sizes:
            counts[size] += 1
        for maps, side, by_size in zip(samples.recorder.head_inputs, sides, found, strict=True):
            centres = sample.boxes[:, :2].cpu().numpy()
            empty = background_centres(sample, maps.shape[2:], side, len(sizes), random)
            labels = np.array([*sizes, *[BACKGROUND] * len(empty)])
            _collect(maps[0], np.concatenate([centres, empty]), labels, side, channel, by_size)
    levels = [
        LevelSpectra(name, stride, side, {size: mean for size, mean in by_size.items() if mean.windows})
        for name, stride, side, by_size in zip(samples.levels, samples.strides, sides, found, strict=True)
    ]
    return levels, counts, images


def _collect(
    maps: Tensor, centres: np.ndarray, labels: np.ndarray, side: int, channel: str, by_size: dict[str, MeanSpectrum]
) -> None:
    """Add the spectra of windows of a level to the means of their labels."""
    for start in range(0, len(centres), _CHUNK):
        part = slice(start, start + _CHUNK)
        spectra = log_spectra(crop_windows(maps, centres[part], side), channel)
        for label in np.unique(labels[part]):
            by_size[label].add(spectra[labels[part] == label])
