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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import SIZES, Samples, open_samples, size_of
from uavdet.analysis.spectrum_figure import draw_spectra
from uavdet.analysis.spectrum_report import (
    BACKGROUND,
    HEADER,
    LevelSpectra,
    MeanSpectrum,
    SpectrumReport,
)
from uavdet.analysis.table import write_rows
from uavdet.analysis.windows import background_centres, crop_windows, log_spectra, window_side
from uavdet.arguments import defaults_of

_CHUNK = 64  # windows at a time: all of a crowded image's would take gigabytes


def analyze_spectrum(options: Mapping[str, Any]) -> SpectrumReport:
    """Compare the spectra of objects' features by size, at every level that enters the head.

    Args:
        options: See `uavdet.analysis.command.run_analyze`.

    Raises:
        UsageError: An option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        DataError: The split holds no object, or a damaged file.
    """
    options = {**defaults_of("analyze"), **options}
    samples = open_samples(options)
    with new_results("spectrum", options) as folder:
        levels, counts, images = measure_spectra(samples, options["channel"])
        report = SpectrumReport(levels, counts, images, options["channel"], folder)
        write_rows(folder / "spectrum.csv", report.rows(), HEADER)
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
