"""ThumbDet's three losses (Pattern Recognition 138, 109424): moments (Eq. 5), logits (Eq. 7) and features (Eq. 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from uavdet.losses.ignore import ignored_cells


def moment_distance(image: Tensor, thumbnail: Tensor, variance: float) -> Tensor:
    """Return how far a thumbnail's channels are from the image's in mean and variance, averaged over both.

    Mean over images and channels of `(mean_x - mean_y)^2 + variance * (var_x - var_y)^2`, with unbiased variances of
    pixel values in [0, 1] (the paper's sigma; its released code computes variances). The released code divides both
    inputs by 255 although they are in [0, 1] already, which makes its value 65,025 times smaller; a weight of 1.538e-5
    has the same effect. The moments describe images, not labels, so ignored regions count like all pixels.

    Args:
        image: (B, C, H, W).
        thumbnail: (B, C, h, w).
        variance: Weight of the variances, the paper's lambda: 0.1 there.

    Returns:
        A scalar in the precision of the inputs.
    """
    means = (image.mean((2, 3)) - thumbnail.mean((2, 3))).square()
    variances = (image.var((2, 3)) - thumbnail.var((2, 3))).square()
    return (means + variance * variances).mean()


def logit_distance(
    student: Tensor, teacher: Tensor, divergence: Callable[[Tensor, Tensor], Tensor], count: Tensor | float
) -> Tensor:
    """Return the distance of the student's classes from the teacher's over pairs of queries.

    Args:
        student: (M, C) logits.
        teacher: (M, C) logits of the same queries.
        divergence: Distance of each class, (M, C).
        count: Number of pairs to divide the sum by.

    Returns:
        A scalar; for no pairs a zero that depends on the student's predictions.
    """
    return divergence(student, teacher).sum() / count


def feature_distance(student: Sequence[Tensor], teacher: Sequence[Tensor], regions: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of feature maps, the student's enlarged to the teacher's size.

    Mean over the values of a level, then over the levels. Cells in ignored regions are left out.

    Args:
        student: Maps (B, C_i, h_i, w_i).
        teacher: Maps (B, C_i, H_i, W_i), as many.
        regions: As `uavdet.losses.ignore.regions_of_batch` returns them.

    Returns:
        A scalar in float32, or in the precision of the inputs where that is higher.
    """
    return torch.stack([_level_distance(*pair, regions) for pair in zip(student, teacher, strict=True)]).mean()


def _level_distance(student: Tensor, teacher: Tensor, regions: Tensor | None) -> Tensor:
    student, teacher = (maps if maps.dtype == torch.float64 else maps.float() for maps in (student, teacher))
    height, width = teacher.shape[2:]
    enlarged = F.interpolate(student, (height, width), mode="bilinear", align_corners=False)
    difference = (enlarged - teacher).square()
    ignored = ignored_cells((height, width), regions)
    if ignored is None:
        return difference.mean()
    kept = ~ignored
    return (difference * kept).sum() / (kept.sum() * teacher.shape[1]).clamp(min=1)
