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

from uavdet.methods.ds2d2.wavelet import Wavelet

_FLOOR = 0.1
_SMALLEST = 1e-3


def channel_scale(maps: Tensor) -> Tensor:
    """Return the standard deviation of every channel over the batch, (1, C, 1, 1).

    Channels that hardly vary are not blown up by dividing by it: it is at least a tenth of the level's mean spread.

    Args:
        maps: (B, C, H, W).
    """
    variance = maps.var((0, 2, 3), keepdim=True, correction=0)
    return torch.maximum(variance.sqrt(), _FLOOR * variance.mean().sqrt()).clamp(min=_SMALLEST)


def align(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the student's map with the mean and the spread of the teacher's, channel by channel (CrossKD).

    Where the student's equals the teacher's it stays as it is.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H', W').

    Returns:
        (B, C, H, W) in float32.
    """
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = student.float(), teacher.float()
        ratio = channel_scale(teacher) / channel_scale(student)
        shift = teacher.mean((0, 2, 3), keepdim=True) - ratio * student.mean((0, 2, 3), keepdim=True)
        return ratio * student + shift  # in this form equal maps stay equal to the last bit


def explicit_losses(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    weights: Callable[[tuple[int, int]], Tensor],
    wavelet: Wavelet,
    *,
    normalise: bool,
) -> tuple[Tensor, Tensor]:
    """Return the low and the high loss, summed over levels, in float32.

    Args:
        students: Adapted maps of the student, (B, C_i, H_i, W_i).
        teachers: The teacher's, of the same shapes.
        weights: Gives the weight of every cell, (B, 1, h, w), for the shape of a band.
        wavelet: The basis.
        normalise: Whether differences are divided by the teacher's `channel_scale`; otherwise they are raw, as in
            the paper, and follow the scale of a detector's features.
    """
    low, high = students[0].new_zeros((), dtype=torch.float32), students[0].new_zeros((), dtype=torch.float32)
    for student, teacher in zip(students, teachers, strict=True):
        difference = student.float() - teacher.float()
        if normalise:
            difference = difference / channel_scale(teacher.float())
        low_band, high_bands = wavelet.decompose(difference)
        weight = weights((low_band.shape[2], low_band.shape[3]))
        low = low + (low_band.square().mean(1, keepdim=True) * weight).mean()
        high = high + (high_bands.square().mean((1, 2)).unsqueeze(1) * weight).mean()
    return low, high
