"""One level of a wavelet transform of feature maps, and the high-frequency map that DS2D2 makes of it.

Haar needs no filters: for every 2 x 2 block `a b / c d`

    LL = (a + b + c + d) / 2                    low
    H0 = (a + b - c - d) / 2                    high: between rows
    H1 = (a - b + c - d) / 2                    high: between columns
    H2 = (a - b - c + d) / 2                    high: diagonal

Other bases are PyWavelets' analysis filters, centred on the same blocks, so that every band of every basis has one
cell for two cells of the map. Everything is linear: the bands of a difference are the differences of the bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from uavdet.errors import MissingDependencyError, UsageError, suggest_name

Padding = Literal["replicate", "zero"]
"""How a map goes on beyond its right and bottom border where its size is odd, or where filters reach further."""


@dataclass(frozen=True)
class Wavelet:
    """A wavelet basis.

    Attributes:
        name: Its name: haar, or PyWavelets'.
        filters: Its analysis filters, low and high, as kernels of a cross-correlation; None for Haar.
        padding: The paper's code pads with zeros, which makes an edge where there is none; `replicate` repeats the
            border cell, so that a constant map has no high frequencies at any size.
    """

    name: str = "haar"
    filters: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    padding: Padding = "replicate"

    def decompose(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the low band and the three high bands of maps.

        Args:
            maps: (B, C, H, W).

        Returns:
            (B, C, h, w) and (B, C, 3, h, w), h = ceil(H / 2), w = ceil(W / 2).
        """
        reach = (len(self.filters[0]) - 2) // 2 if self.filters else 0
        height, width = maps.shape[2:]
        padded = self._pad(maps, (reach, reach + width % 2, reach, reach + height % 2))
        return _haar(padded) if self.filters is None else _filtered(padded, self.filters)

    def high_frequency(self, maps: Tensor) -> Tensor:
        """Return the high-frequency maps that the second amplifier reads: the sum of the high bands, enlarged.

        With Haar that is `2 (a - mean(a, b, c, d))` of each block, bilinearly enlarged to the size of the input.

        Args:
            maps: (B, C, H, W).

        Returns:
            (B, C, H, W), in the type of the input.
        """
        with torch.autocast(maps.device.type, enabled=False):
            _, high = self.decompose(maps.float())
            enlarged = F.interpolate(high.sum(2), maps.shape[2:], mode="bilinear", align_corners=False)
        return enlarged.to(maps.dtype)

    def _pad(self, maps: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        if not any(sides):
            return maps
        return F.pad(maps, sides, mode="replicate" if self.padding == "replicate" else "constant")


def _haar(maps: Tensor) -> tuple[Tensor, Tensor]:
    a, b = maps[..., 0::2, 0::2], maps[..., 0::2, 1::2]
    c, d = maps[..., 1::2, 0::2], maps[..., 1::2, 1::2]
    upper, lower, left, right = a + b, c + d, a - b, c - d
    high = torch.stack([upper - lower, left + right, left - right], 2) / 2
    return (upper + lower) / 2, high


def _filtered(maps: Tensor, filters: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Tensor, Tensor]:
    """Filter every channel on its own, along the columns and then along the rows, keeping every second value."""
    batch, channels, height, width = maps.shape
    kernels = maps.new_tensor(filters).unsqueeze(1)  # (2, 1, L)
    rows = F.conv2d(maps.reshape(-1, 1, height, width), kernels.unsqueeze(-1), stride=(2, 1))
    bands = F.conv2d(rows.reshape(-1, 1, rows.shape[2], width), kernels.unsqueeze(-2), stride=(1, 2))
    bands = bands.reshape(batch, channels, 4, *bands.shape[2:])  # low-low, rows low, rows high, high-high
    return bands[:, :, 0], bands[:, :, [2, 1, 3]]


def find_wavelet(name: str, padding: Padding = "replicate", setting: str = "wavelet") -> Wavelet:
    """Return a wavelet by name: haar, or a discrete one of PyWavelets (db2, sym4, coif1, bior2.2, ...).

    Raises:
        UsageError: There is none of this name.
        MissingDependencyError: The name is not haar, and PyWavelets is not installed.
    """
    if name == "haar":
        return Wavelet(padding=padding)
    pywt = _pywavelets(name, setting)
    known = [str(entry) for entry in pywt.wavelist(kind="discrete")]
    if name not in known:
        families = ", ".join(family for family in pywt.families() if set(pywt.wavelist(family)) <= set(known))
        raise UsageError(
            f"{setting}={name} is no wavelet.{suggest_name(name, known)} Give haar, or a discrete wavelet of "
            f"PyWavelets' families {families}: {setting}=db2."
        )
    basis = pywt.Wavelet(name)
    return Wavelet(name, (tuple(basis.dec_lo[::-1]), tuple(basis.dec_hi[::-1])), padding)


def _pywavelets(name: str, setting: str) -> Any:
    try:
        import pywt
    except ImportError:
        raise MissingDependencyError(
            f"{setting}={name} needs PyWavelets, which is not installed. haar needs nothing; for the others: "
            "pip install PyWavelets, which uavdet[train] brings."
        ) from None
    return pywt
