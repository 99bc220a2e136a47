"""Hierarchical background smoothing, HBS (SET, CVPR 2025, Eq. 2 to 4)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kernel = Literal["eq4", "smaller", "3", "5", "7"]


def kernel_size(stride: float, rule: str = "eq4") -> int:
    """Return the side of the smoothing kernels of a level, in cells, always odd.

    `eq4` is the paper's 2 * floor(log2(stride) / 2) + 1: 1 at stride 2, 3 at 4 and 8, 5 at 16 and 32, 7 at 64 and 128.
    The others are those that it compares in an ablation: one size for all levels, or with `smaller`
    2 * floor(log2(stride + 1) / 2) - 1. Eq. 4 came out best: 13.9 AP, with 13.4, 13.1 and 12.1 for 3, 5 and 7 and 13.4
    for `smaller`.

    Args:
        stride: Pixels of the network's input per cell of the level, a whole number.
        rule: "eq4", "smaller", "3", "5" or "7".

    Raises:
        ValueError: The stride is no whole number from 1 on, the rule is unknown, or it gives no kernel at this stride.
    """
    if rule not in get_args(Kernel):
        raise ValueError(f"kernel={rule!r} is not usable: give {', '.join(get_args(Kernel))}")
    number = isinstance(stride, int | float) and not isinstance(stride, bool)
    if not number or stride < 1 or not float(stride).is_integer():
        raise ValueError(f"stride={stride!r} is not usable: a level's stride is a whole number from 1 on")
    if rule.isdigit():
        return int(rule)
    pixels = int(stride)
    side = 2 * _half_exponent(pixels) + 1 if rule == "eq4" else 2 * _half_exponent(pixels + 1) - 1
    if side < 1:
        raise ValueError(f"kernel={rule!r} is not usable at stride {pixels}: it gives {side} cells. Give 'eq4'")
    return side


def _half_exponent(number: int) -> int:
    """Return floor(log2(number) / 2), exactly."""
    return (number.bit_length() - 1) // 2


class BackgroundSmoothing(nn.Module):
    """Smooths what lies around the objects on one level, with two convolutions.

    `P * M + (1 - M) * [Pbg + We * ReLU(Wr * Pbg)]`, where M marks the kept cells and Pbg = P * (1 - M). Eq. 2 and the
    released code differ in two points. Eq. 2 adds the smoothed background everywhere, so that it leaks into the kept
    cells beside it; the code, and this, masks it again. Eq. 3 has a ReLU behind the second convolution, which the code
    has not: `final_relu=True` is the equation's way.

    Weights start as PyTorch's convolutions do, as in the released code.

    Args:
        channels: Channels of the level.
        stride: Its stride in pixels; the kernel follows from it.
        reduction: r, how many times fewer channels lie between the convolutions; the paper takes 4.
        kernel: See `kernel_size`.
        final_relu: Whether a ReLU follows the second convolution.

    Raises:
        ValueError: See `kernel_size`, or the reduction leaves no channel.
    """

    def __init__(
        self, channels: int, stride: float, reduction: int = 4, kernel: str = "eq4", final_relu: bool = False
    ) -> None:
        super().__init__()
        if reduction < 1 or channels < reduction:
            raise ValueError(f"reduction={reduction} is not usable with {channels} channels: give 1 to {channels}")
        side = kernel_size(stride, kernel)
        hidden = channels // reduction
        self.channels, self.stride, self.reduction = channels, int(stride), reduction
        self.kernel, self.final_relu = kernel, final_relu
        self.reduce = nn.Conv2d(channels, hidden, side, padding=side // 2)
        self.expand = nn.Conv2d(hidden, channels, side, padding=side // 2)

    def forward(self, features: Tensor, kept: Tensor) -> Tensor:
        """Return a level with its background smoothed.

        Args:
            features: (B, C, H, W).
            kept: (B, 1, H, W) bool: cells of objects and of ignored regions. They come back bit by bit as they were,
                and count as zeros where the background beside them is smoothed.

        Returns:
            (B, C, H, W), in the type of `features`.
        """
        background = torch.where(kept, 0, features)
        change = self.expand(F.relu(self.reduce(background)))
        if self.final_relu:
            change = F.relu(change)
        return torch.where(kept, features, (background + change).to(features.dtype))
