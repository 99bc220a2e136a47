"""The IoU family, one function each, elementwise on boxes `(..., 4)` = (cx, cy, w, h) in any common unit.

Inputs broadcast against each other. All is computed in float32: differences of small normalised coordinates lose
everything in half precision. Sides are clamped to 1e-7, so that a box that has shrunk to a point has finite values
and gradients everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-7


def _split(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres and sides, each (..., 2), in float32, the sides clamped above zero."""
    boxes = boxes.float()
    return boxes[..., :2], boxes[..., 2:].clamp(min=_EPSILON)


def _overlap_and_union(first: Tensor, second: Tensor, ratio: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return intersection and union areas of boxes whose sides are scaled by `ratio` about their centres."""
    (centre_a, side_a), (centre_b, side_b) = _split(first), _split(second)
    if isinstance(ratio, Tensor):
        ratio = ratio.unsqueeze(-1)
    half_a, half_b = side_a * ratio / 2, side_b * ratio / 2
    reach = torch.minimum(centre_a + half_a, centre_b + half_b) - torch.maximum(centre_a - half_a, centre_b - half_b)
    overlap = reach.clamp(min=0).prod(-1)
    return overlap, 4 * (half_a.prod(-1) + half_b.prod(-1)) - overlap


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union, (...), in [0, 1]."""
    return expanded_iou(first, second, 1.0)


def expanded_iou(first: Tensor, second: Tensor, ratio: Tensor | float) -> Tensor:
    """Return the IoU of boxes grown by `ratio` about their own centres (SO-DETR, section 3.3).

    As the IoU is scale free, this is the plain IoU with the centres brought together by the factor `ratio`:
    concentric boxes keep their IoU, and only an offset of the centres is forgiven.

    Args:
        first: (..., 4).
        second: (..., 4).
        ratio: A number, or a tensor (...) with one ratio a pair.

    Returns:
        (...), in [0, 1].
    """
    overlap, union = _overlap_and_union(first, second, ratio)
    return overlap / (union + _EPSILON * _EPSILON)


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Return the generalised IoU (Rezatofighi et al. 2019), (...), in [-1, 1]."""
    overlap, union = _overlap_and_union(first, second, 1.0)
    enclosing = _enclosing_sides(first, second).prod(-1)
    return overlap / (union + _EPSILON * _EPSILON) - (enclosing - union) / (enclosing + _EPSILON * _EPSILON)


def _enclosing_sides(first: Tensor, second: Tensor) -> Tensor:
    """Return the sides of the smallest box around both, (..., 2)."""
    (centre_a, side_a), (centre_b, side_b) = _split(first), _split(second)
    right = torch.maximum(centre_a + side_a / 2, centre_b + side_b / 2)
    left = torch.minimum(centre_a - side_a / 2, centre_b - side_b / 2)
    return right - left


def siou_penalty(first: Tensor, second: Tensor) -> Tensor:
    """Return SIoU's distance and shape costs, (delta + omega) / 2 (Gevorgyan 2022), (...), at least 0.

    The distance cost is modulated by the angle between the centres; both use the boxes as they are, not expanded.
    """
    (centre_a, side_a), (centre_b, side_b) = _split(first), _split(second)
    offset = centre_b - centre_a + _EPSILON
    sine = offset.abs().amin(-1) / offset.norm(dim=-1)
    # The sine is at most 1/sqrt(2): arcsin is smooth there.
    angle = torch.sin(2 * torch.arcsin(sine))
    distance = (1 - torch.exp((angle - 2).unsqueeze(-1) * (offset / _enclosing_sides(first, second)) ** 2)).sum(-1)
    difference = (side_a - side_b).abs() / torch.maximum(side_a, side_b)
    shape = ((1 - torch.exp(-difference)) ** 4).sum(-1)
    return (distance + shape) / 2


def expanded_siou(first: Tensor, second: Tensor, ratio: Tensor | float) -> Tensor:
    """Return SIoU with the expanded IoU in the place of the IoU, as SO-DETR's box loss uses it; 1 for equal boxes.

    Args:
        first: (..., 4).
        second: (..., 4).
        ratio: A number, or a tensor (...).
    """
    return expanded_iou(first, second, ratio) - siou_penalty(first, second)


def adaptive_expansion(targets: Tensor, image_size: tuple[int, int], largest: float = 1.25) -> Tensor:
    """Return an expansion ratio a box that goes smoothly to 1 as the box grows.

    SO-DETR's fixed ratio forgives the same *fraction* of a box's side at every size: 0.2 of a 6-pixel box is a
    jitter of one pixel, which no detector avoids, but 0.2 of a 150-pixel box is an error of 30 pixels that the loss
    then hardly sees, and the paper reports that large objects lose AP. What should be forgiven is a jitter of a few
    pixels whatever the box. The forgiven offset is (ratio - 1) times the side, so the ratio must fall at least as
    1 / side. Here, with the side s = sqrt(w h) in network pixels and s0 = 32 (COCO's bound of small objects, four
    cells of the finest level):

        ratio = 1 + (largest - 1) / (1 + (s / s0)^2)

    which is `largest` for the smallest boxes, half of the way at 32 pixels, and forgives at most 4 pixels anywhere
    (at s = s0) and less and less beyond. It is smooth, so no object flips between two regimes as it is scaled.

    Args:
        targets: (..., 4) ground-truth boxes, normalised to the image.
        image_size: (width, height) of the network input in pixels.
        largest: The ratio of the smallest boxes.

    Returns:
        (...), float32, in (1, largest].
    """
    width, height = image_size
    area = (targets[..., 2].float() * width) * (targets[..., 3].float() * height)
    return 1 + (largest - 1) / (1 + area / 32.0**2)
