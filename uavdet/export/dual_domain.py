"""The dual-domain block as an exported graph computes it: the same arithmetic, without cutting and joining maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from uavdet.export.folding import pixel_layer
from uavdet.nn.ddf import DDF


class GraphDDF(nn.Module):
    """`DDF` with a convolution for each of its two paths.

    The block that trains splits what one convolution gives and concatenates what another reads: four copies of the
    largest map behind the stem, two of them between memory layouts. Here both convolutions are two, by channels, and
    the second ones are added, which runtimes do while they convolve.

    Args:
        block: The block to replace, fused, with channels on both paths.
    """

    def __init__(self, block: DDF) -> None:
        super().__init__()
        row: Any = block
        self.f, self.i = row.f, row.i
        first, last, count = row.mix_in.conv, row.mix_out.conv, row.sizes[0]
        weight, bias = first.weight.data[:, :, 0, 0], _bias(first)
        self.frequency_in = pixel_layer(weight[:count], bias[:count])
        self.spatial_in = pixel_layer(weight[count:], bias[count:])
        self.kernel = block.kernel
        weight = last.weight.data[:, :, 0, 0]
        self.frequency_out = pixel_layer(weight[:, :count])
        self.spatial_out = pixel_layer(weight[:, count:], _bias(last))
        self.activations = nn.ModuleList([block.mix_in.act, block.mix_out.act])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        activate_in, activate_out = self.activations
        frequency, spatial = activate_in(self.frequency_in(x)), activate_in(self.spatial_in(x))
        return activate_out(self.frequency_out(self.kernel(frequency)) + self.spatial_out(spatial))


def _bias(convolution: Any) -> Tensor:
    """Return the bias of a convolution that a batch normalisation was folded into."""
    bias: Tensor = convolution.bias.data
    return bias


def replace_dual_domain(detector: Any) -> None:
    """Replace the `DDF` rows of a fused detector."""
    for name, row in list(detector.model.named_children()):
        if type(row) is DDF and row.sizes[1]:
            setattr(detector.model, name, GraphDDF(row))
