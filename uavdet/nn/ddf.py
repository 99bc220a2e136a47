"""Dual-domain fusion (SO-DETR): spatial and frequency mixing of the concatenated stride-8 maps.

Source: SO-DETR, arXiv 2504.11470, and its released network, whose arithmetic `DDF` reproduces. `EquivariantDDF` is
this project's own variant of the same idea.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv

from uavdet.nn.registry import Channels, register, single_source
from uavdet.nn.spectral import RealSpectrum, half_spectrum_multiplicity, radial_bands, spectral_product_magnitude


def _frequency_channels(channels: int, fraction: float) -> int:
    """Return how many of the channels take the frequency path.

    Raises:
        ValueError: `fraction` leaves no channel on the path, or is above 1.
    """
    count = round(channels * fraction)
    if not 0 < fraction <= 1 or count == 0:
        raise ValueError(f"fraction={fraction} of {channels} channels is not usable: it must be in (0, 1]")
    return count


class FrequencyModulation(nn.Module):
    """SO-DETR's FFM: a spatial map multiplies the spectrum of another one, bin by bin.

    Per channel, with dense 1x1 convolutions W_a, W_b and scales alpha (0 at first) and beta (1 at first):
    `alpha * |IFFT2((W_a S + b_a) * FFT2(W_b S + b_b))| + beta * S`. At initialisation it is the identity, and only
    alpha and beta receive a gradient.

    The released block holds one more convolution whose output nothing reads; it is left out here.
    """

    export = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.response = nn.Conv2d(channels, channels, 1)
        self.signal = nn.Conv2d(channels, channels, 1)
        self.alpha = nn.Parameter(torch.zeros(channels, 1, 1))
        self.beta = nn.Parameter(torch.ones(channels, 1, 1))

    def frequency_branch(self, x: Tensor) -> Tensor:
        """Return the frequency branch before its scale alpha, (B, C, H, W) float32."""
        return spectral_product_magnitude(self.response(x), self.signal(x), matrix_form=self.export)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape and dtype."""
        return (self.alpha * self.frequency_branch(x)).to(x.dtype) + self.beta * x


class FrequencyKernel(nn.Module):
    """The path of DDF's frequency channels: 1x1, GELU, FFM of the magnitude, depthwise scale, residual, 1x1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(channels, channels, 1)
        self.modulation = FrequencyModulation(channels)
        self.scale = nn.Conv2d(channels, channels, 1, groups=channels)
        self.project_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        features = F.gelu(self.project_in(x))
        return self.project_out(F.relu(x + self.scale(features) + self.modulation(features.abs())))


@register("DDF")
class DDF(nn.Module):
    """Dual-domain fusion as SO-DETR released it.

    1x1 conv, the first quarter of the channels through `FrequencyKernel`, concatenation, 1x1 conv. The block reads a
    spatial map as a frequency response (pixel (0, 0) scales DC), so it is neither shift- nor flip-equivariant and
    means something else at every input size; `EquivariantDDF` mends both.

    Args:
        channels: Input and output channels.
        fraction: Share of the channels on the frequency path; 0.25 in the release.
    """

    def __init__(self, channels: int, fraction: float = 0.25) -> None:
        super().__init__()
        count = _frequency_channels(channels, fraction)
        self.sizes = (count, channels - count)
        self.mix_in = Conv(channels, channels, 1)
        self.kernel = FrequencyKernel(count)
        self.mix_out = Conv(channels, channels, 1)

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row `DDF, [fraction]`."""
        channels = single_source(in_channels)
        return cls(channels, *args), channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        frequency, spatial = self.mix_in(x).split(self.sizes, 1)
        return self.mix_out(torch.cat([self.kernel(frequency), spatial], 1))


@register("EquivariantDDF")
class EquivariantDDF(nn.Module):
    """Dual-domain fusion by a content-adaptive radial filter: equivariant, size-independent and cheap.

    The frequency channels pass a 1x1 convolution, a spectral filter and a second 1x1 convolution, and are added to
    themselves. The filter's response is real and depends on the radial frequency in cycles a pixel alone
    (`spectral.radial_bands`), so it commutes with circular shifts and with flips, and a network trained at 640 pixels
    applies the same filter at 1280. Its gains adapt to the image: per channel and band, a learned base gain plus a
    small function of the band's log energy, which shifts and flips leave as it is.

    The released block spends 96 % of its arithmetic on two dense 1x1 convolutions around the frequency path. The
    RepC3 row that follows begins with such convolutions itself, so they are left out here: what remains are two
    convolutions of a quarter of the channels.

    With the zero initial gains and a zero last convolution the block starts as the identity.

    Args:
        channels: Input and output channels.
        fraction: Share of the channels on the frequency path.
        bands: Radial bands between 0 and 0.5 cycles a pixel.
        hidden: Width of the function from band energies to gains.
    """

    export = False

    def __init__(self, channels: int, fraction: float = 0.25, bands: int = 8, hidden: int = 16) -> None:
        super().__init__()
        if bands < 2:
            raise ValueError(f"bands={bands} is not usable: at least 2 are needed")
        count = _frequency_channels(channels, fraction)
        self.sizes, self.bands = (count, channels - count), bands
        self.project_in = nn.Conv2d(count, count, 1)
        self.base_gain = nn.Parameter(torch.zeros(count, bands))
        self.adapt = nn.Sequential(nn.Linear(bands, hidden), nn.GELU(), nn.Linear(hidden, bands))
        self.project_out = nn.Conv2d(count, count, 1)
        nn.init.zeros_(self.project_out.weight)
        nn.init.zeros_(self.project_out.bias)  # type: ignore[arg-type]

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row `EquivariantDDF, [fraction, bands, hidden]`."""
        channels = single_source(in_channels)
        return cls(channels, *args), channels

    def gains(self, spectrum: RealSpectrum, basis: Tensor) -> Tensor:
        """Return the gain of each channel and band for the image at hand.

        Args:
            spectrum: Of (B, c, H, W) features.
            basis: (bands, H, W // 2 + 1) from `radial_bands`.

        Returns:
            (B, c, bands).
        """
        weight = (basis * half_spectrum_multiplicity(spectrum.width, basis)).flatten(1)
        total = weight.sum(1, keepdim=True)
        total = total.masked_fill(total == 0, 1.0)  # on maps of a few pixels some bands have no bin: their energy is 0
        energy = spectrum.power().flatten(2) @ (weight / total).T
        return self.base_gain + self.adapt((energy + 1e-6).log())

    def frequency_branch(self, features: Tensor) -> Tensor:
        """Return the filtered features, (B, c, H, W) float32."""
        with torch.autocast(features.device.type, enabled=False):
            spectrum = RealSpectrum(features, matrix_form=self.export)
            basis = radial_bands(spectrum.height, spectrum.width, self.bands, features)
            response = self.gains(spectrum, basis) @ basis.flatten(1)
            return spectrum.filter(response.unflatten(2, basis.shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        frequency, spatial = x.split(self.sizes, 1)
        features = F.gelu(self.project_in(frequency))
        mixed = features + self.frequency_branch(features).to(features.dtype)
        return torch.cat([frequency + self.project_out(mixed), spatial], 1)


@register("SPDConv")
class SPDConv(nn.Module):
    """Space-to-depth, then a 3x3 convolution: a stride-2 step that loses no pixel.

    The four stride-2 phases are stacked in the order (row, column) = (0, 0), (1, 0), (0, 1), (1, 1), as released.

    Args:
        in_channels: Channels of the finer map.
        out_channels: Channels of the coarser map.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Conv(4 * in_channels, out_channels, 3)

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row `SPDConv, [out_channels]`."""
        return cls(single_source(in_channels), *args), args[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W), H and W even, to (B, out, H / 2, W / 2)."""
        phases = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(phases, 1))
