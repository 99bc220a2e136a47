"""Radial frequency bands of feature maps, which together are the whole map.

A frequency is the distance from DC in cycles a cell: 0.5 is a pattern that changes from cell to cell along an axis;
the corners of the spectrum reach 0.71 and belong to the last band. A band takes a bin whole or not at all.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uavdet.errors import UsageError
from uavdet.nn.spectral import RealSpectrum, half_spectrum_multiplicity

THIRDS = (1 / 6, 1 / 3)
"""Edges in cycles a cell that cut the frequencies up to 0.5 into three equal parts."""
ENERGY_SHARES = (0.4, 0.6, 0.9)
"""Shares of a map's energy at which SET's Fig. 1 begins and ends its mid band and begins its high band."""

_THREE, _FOUR = ("low", "mid", "high"), ("low", "mid", "upper mid", "high")


@functools.lru_cache(maxsize=64)
def radial_frequency(height: int, width: int) -> np.ndarray:
    """Return the radial frequency of each bin of the half spectrum in cycles a cell, (H, W // 2 + 1) float64."""
    vertical = np.minimum(np.arange(height), height - np.arange(height)) / height
    return np.hypot(vertical[:, None], np.arange(width // 2 + 1)[None, :] / width)


@dataclass(frozen=True)
class FixedBands:
    """Bands between fixed radial frequencies: the same filter for every image and every level.

    Attributes:
        edges: Rising, in cycles a cell; a bin at an edge belongs to the higher band.
    """

    edges: tuple[float, ...] = THIRDS

    @property
    def names(self) -> list[str]:
        """The bands by name, lowest first: low, mid, high where there are three, else their edges."""
        if len(self.edges) + 1 == len(_THREE):
            return list(_THREE)
        return [self.describe(place) for place in range(len(self.edges) + 1)]

    def describe(self, place: int) -> str:
        """Return the frequencies of a band as text."""
        bounds = [0.0, *self.edges]
        low = f"{bounds[place]:.3g}"
        return f"{low} to {self.edges[place]:.3g}" if place < len(self.edges) else f"above {low}"

    @property
    def unit(self) -> str:
        """What the numbers of `describe` count."""
        return "cycles a cell"

    def responses(self, spectrum: RealSpectrum) -> list[Tensor]:
        """Return a mask for each band, 0 or 1, (H, W // 2 + 1) float32; they add up to 1 everywhere."""
        place = np.digitize(radial_frequency(spectrum.height, spectrum.width), self.edges)
        return _masks(torch.as_tensor(place, device=spectrum.real.device), len(self.edges) + 1)


@dataclass(frozen=True)
class EnergyBands:
    """Bands between shares of a map's energy, added up from low to high frequency, as in SET's Fig. 1.

    The paper calls 40 to 60 % of the energy the mid band and what is above 90 % the high one. It leaves 60 to 90 %
    unnamed, which is "upper mid" here, so that the bands make up the whole map. Over which set of maps energy is
    measured it does not say: here it is each level of each image, all channels together. DC is in the energy, and
    always in the lowest band; a ring of equal frequency, which cannot be cut, belongs where its middle lies.

    Attributes:
        shares: Rising, within 0 and 1.
    """

    shares: tuple[float, ...] = ENERGY_SHARES

    @property
    def names(self) -> list[str]:
        """The bands by name, lowest first."""
        return list(_FOUR)

    def describe(self, place: int) -> str:
        """Return the energy of a band as text."""
        bounds = [0.0, *self.shares, 1.0]
        return f"{100 * bounds[place]:.0f} to {100 * bounds[place + 1]:.0f}"

    @property
    def unit(self) -> str:
        """What the numbers of `describe` count."""
        return "% of the energy"

    def responses(self, spectrum: RealSpectrum) -> list[Tensor]:
        """Return a mask for each band, 0 or 1, (B, 1, H, W // 2 + 1) float32; they add up to 1 everywhere."""
        energy = bin_energy(spectrum).flatten(1).double()
        ring, count = _rings(spectrum.height, spectrum.width)
        rings = torch.as_tensor(ring, device=energy.device)
        by_ring = energy.new_zeros(len(energy), count).index_add_(1, rings, energy)
        middle = (by_ring.cumsum(1) - by_ring / 2) / by_ring.sum(1, keepdim=True).clamp(min=1e-30)
        middle[:, 0] = 0.0
        place = torch.bucketize(middle[:, rings], energy.new_tensor(self.shares), right=True)
        return _masks(place.view(len(energy), 1, spectrum.height, spectrum.columns), len(self.shares) + 1)


Bands = FixedBands | EnergyBands


def _masks(place: Tensor, count: int) -> list[Tensor]:
    return [(place == band).float() for band in range(count)]


@functools.lru_cache(maxsize=64)
def _rings(height: int, width: int) -> tuple[np.ndarray, int]:
    """Return the ring of equal frequency that each bin lies in, from DC outward, (H * (W // 2 + 1),); their number."""
    frequencies, ring = np.unique(radial_frequency(height, width).round(9), return_inverse=True)
    return ring.reshape(-1), len(frequencies)


def bin_energy(spectrum: RealSpectrum) -> Tensor:
    """Return the energy of each bin, all channels together, mirrored bins counted too, (B, H, W // 2 + 1)."""
    return spectrum.power().sum(1) * half_spectrum_multiplicity(spectrum.width, spectrum.real)


def bands_of(given: str | Sequence[float]) -> Bands:
    """Return the bands that `bands=` names.

    Args:
        given: thirds, energy, or edges in cycles a cell.

    Raises:
        UsageError: Edges do not rise within 0 and 0.5, or there are more than five.
    """
    if given == "thirds":
        return FixedBands()
    if given == "energy":
        return EnergyBands()
    edges = tuple(float(edge) for edge in given)
    if not 1 <= len(edges) <= 5 or any(a >= b for a, b in zip((0.0, *edges), (*edges, 0.5), strict=True)):
        raise UsageError(
            f"bands={','.join(f'{edge:g}' for edge in edges)} is not allowed. It is thirds, energy, or up to five "
            "edges that rise between 0 and 0.5 cycles a cell. Give three equal bands: bands=thirds."
        )
    return FixedBands(edges)
