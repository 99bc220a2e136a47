"""The explicit losses: weighted squared distances between the low and the high bands of two networks' maps.

    L_low  = sum over levels of mean[(LL(F_s) - LL(F_t))^2 W]
    L_high = sum over levels of mean[(H(F_s) - H(F_t))^2 W]

With W = 1 they are 4 E_LL / N and 4/3 E_H / N, where E is the energy of the difference in the bands and N the number
of values in the map: a squared error in which the high bands count a third of the low one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from uavdet.losses.ignore import ignored_cells
from uavdet.methods.ds2d2.wavelet import Wavelet

_FLOOR = 0.1
_SMALLEST = 1e-3


def channel_scale(maps: Tensor, regions: Tensor | None = None) -> Tensor:
    """Return the standard deviation of every channel over the batch, (1, C, 1, 1).

    Channels that hardly vary are not blown up by dividing by it: it is at least a tenth of the level's mean spread.

    Args:
        maps: (B, C, H, W).
        regions: Ignored regions as `uavdet.losses.ignore.regions_of_batch` returns them, whose cells do not count.
    """
    return _statistics(maps, regions)[1]


def _statistics(maps: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and scale of every channel, each (1, C, 1, 1), over the cells outside ignored regions."""
    ignored = ignored_cells((maps.shape[2], maps.shape[3]), regions)
    if ignored is None:
        variance, mean = torch.var_mean(maps, (0, 2, 3), keepdim=True, correction=0)
    else:
        kept = ~ignored
        count = kept.sum().clamp(min=1)
        mean = (maps * kept).sum((0, 2, 3), keepdim=True) / count
        variance = ((maps - mean).square() * kept).sum((0, 2, 3), keepdim=True) / count
    variance = variance.clamp(min=_SMALLEST**2)  # a constant channel would have an infinite gradient
    return mean, torch.maximum(variance.sqrt(), _FLOOR * variance.mean().sqrt())


def align(student: Tensor, teacher: Tensor, regions: Tensor | None = None) -> Tensor:
    """Return the student's map with the mean and the spread of the teacher's, channel by channel (CrossKD).

    Where the student's equals the teacher's it stays as it is.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H', W').
        regions: Ignored regions as `uavdet.losses.ignore.regions_of_batch` returns them; mean and spread are those of
            the cells outside.

    Returns:
        (B, C, H, W) in float32.
    """
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = student.float(), teacher.float()
        (mean, scale), (wanted_mean, wanted_scale) = _statistics(student, regions), _statistics(teacher, regions)
        ratio = wanted_scale / scale
        shift = wanted_mean - ratio * mean
        return ratio * student + shift  # in this form equal maps stay equal to the last bit


def explicit_losses(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    weights: Callable[[tuple[int, int]], Tensor],
    wavelet: Wavelet,
    *,
    normalise: bool,
    regions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the low and the high loss, summed over levels, in float32.

    Args:
        students: Adapted maps of the student, (B, C_i, H_i, W_i).
        teachers: The teacher's, of the same shapes.
        weights: Gives the weight of every cell, (B, 1, h, w), for the shape of a band.
        wavelet: The basis.
        normalise: Whether differences are divided by the teacher's `channel_scale`; otherwise they are raw, as in
            the paper, and follow the scale of a detector's features.
        regions: Ignored regions, whose cells do not count in this scale; in the weights they are already.
    """
    low, high = students[0].new_zeros((), dtype=torch.float32), students[0].new_zeros((), dtype=torch.float32)
    for student, teacher in zip(students, teachers, strict=True):
        difference = student.float() - teacher.float()
        if normalise:
            difference = difference / channel_scale(teacher.float(), regions)
        low_band, high_bands = wavelet.decompose(difference)
        weight = weights((low_band.shape[2], low_band.shape[3]))
        low = low + (low_band.square().mean(1, keepdim=True) * weight).mean()
        high = high + (high_bands.square().mean((1, 2)).unsqueeze(1) * weight).mean()
    return low, high
