"""Windows of feature maps around objects, and their spectra; `uavdet.analysis.spectrum` says why they are so."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uavdet.analysis.boxes import corners
from uavdet.analysis.samples import Sample

_WINDOW, _FEWEST_CELLS = 128, 8  # pixels of the input, cells
_FLOOR = 1e-6  # of amplitudes, below what float32 features resolve


def window_side(stride: int) -> int:
    """Return the side in cells of the windows at a level: 128 pixels, at least 8 cells, even."""
    return max(_FEWEST_CELLS, 2 * round(_WINDOW / stride / 2))


def crop_windows(maps: Tensor, centres: np.ndarray, side: int) -> Tensor:
    """Return the windows of a map around points; beyond its border it is mirrored.

    Args:
        maps: (C, h, w).
        centres: (N, 2) xy, divided by the map's size. The cell of a point is at `side // 2` of its window.
        side: In cells.

    Returns:
        (N, C, side, side).
    """
    height, width = maps.shape[1:]
    cells = np.floor(centres * [width, height]).astype(int).clip(0, [width - 1, height - 1])
    reach = np.arange(side) - side // 2
    columns, rows = (_mirrored(cells[:, axis, None] + reach, (width, height)[axis]) for axis in (0, 1))
    picked = maps[:, torch.from_numpy(rows)[:, :, None], torch.from_numpy(columns)[:, None, :]]
    return picked.transpose(0, 1)


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Return indices with those outside of [0, length) mirrored at the border, whose cell stands twice."""
    folded = index % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def log_spectra(windows: Tensor, channel: str = "strongest") -> np.ndarray:
    """Return log amplitude spectra of windows of features.

    Args:
        windows: (N, C, n, n).
        channel: `strongest`: that of the channel with the most energy, apart from its mean, under Hann's window;
            `mean`: the mean over all channels of the logarithm.

    Returns:
        (N, n, n) float64: log10 of the amplitude, zero frequency at (n // 2, n // 2).
    """
    side = windows.shape[-1]
    line = torch.from_numpy(np.hanning(side + 1)[:-1])  # the periodic form, whose peak is the middle cell
    hann = (line[:, None] * line).to(windows.device, torch.float32)
    values = windows.float()
    values = (values - (values * hann).sum((2, 3), keepdim=True) / hann.sum()) * hann
    if channel == "strongest":
        best = values.square().sum((2, 3)).argmax(1)
        values = values[torch.arange(len(values), device=values.device), best, None]
    spectra = torch.fft.fft2(values).abs() / hann.square().sum().sqrt()
    logs = spectra.clamp(min=_FLOOR).log10().mean(1)
    return np.fft.fftshift(logs.double().cpu().numpy(), axes=(1, 2))


def radial_profile(spectra: np.ndarray) -> np.ndarray:
    """Return the means of spectra over rings of 1, 2, ..., n // 2 cycles a window.

    Args:
        spectra: (N, n, n), zero frequency in the middle. Corners beyond n // 2 cycles are on no ring.

    Returns:
        (N, n // 2).
    """
    side = spectra.shape[-1]
    place = np.arange(side) - side // 2
    ring = np.rint(np.hypot(place[:, None], place)).astype(int)
    return np.stack([spectra[:, ring == radius].mean(1) for radius in range(1, side // 2 + 1)], axis=1)


def background_centres(
    sample: Sample, shape: tuple[int, ...], side: int, count: int, random: np.random.Generator
) -> np.ndarray:
    """Return centres (at most `count`, 2) of windows whose inner half touches no object, region or padding.

    Args:
        sample: The image.
        shape: (h, w) of the map.
        side: Of the windows in cells.
        count: How many are wanted.
        random: Draws among the cells that will do.
    """
    height, width = shape
    taken = corners(sample.boxes)
    if sample.regions is not None:
        taken = np.concatenate([taken, sample.regions.cpu().numpy()])
    rows, columns = (np.arange(length) for length in (height, width))
    reach = side // 4
    left, top, right, bottom = np.array(sample.content) * [width, height, width, height]
    free = ((rows - reach >= top - 0.5) & (rows + reach <= bottom - 0.5))[:, None]
    free = free & ((columns - reach >= left - 0.5) & (columns + reach <= right - 0.5))
    for x1, y1, x2, y2 in taken * [width, height, width, height]:
        near_rows = (rows + reach + 1 > y1) & (rows - reach < y2)
        near_columns = (columns + reach + 1 > x1) & (columns - reach < x2)
        free &= ~(near_rows[:, None] & near_columns)
    cells = np.argwhere(free)
    chosen = cells[random.permutation(len(cells))[:count]]
    return (chosen[:, ::-1] + 0.5) / [width, height]
