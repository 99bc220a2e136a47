"""How far what a frozen head says of the student's features is from what it says of the teacher's own (CrossKD).

With p and q the class probabilities from the teacher's and the student's features and w = max_c p:

    L = [sum |q - p| BCE(q, p) + sum w (1 - GIoU)] / max(1, sum w)

The classification term is the quality focal loss with beta = 1, DS2D2's choice. The paper divides by the number of
positive anchors, which a DETR does not have; the sum of the teacher's confidences stands in for it in every network.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from uavdet.losses.boxes import giou


@dataclass(frozen=True)
class HeadPredictions:
    """What a head predicts from feature maps.

    Attributes:
        logits: (B, N, C).
        boxes: (B, N, 4), normalised cxcywh.
        sides: (B, N, 4), the numbers that the L1 distance compares; None leaves it out.
    """

    logits: Tensor
    boxes: Tensor
    sides: Tensor | None = None


def imitation_loss(student: HeadPredictions, teacher: HeadPredictions, takes_part: Tensor) -> Tensor:
    """Return the loss, a scalar in float32; 0 where the predictions are equal.

    Args:
        student: Predictions from the student's features.
        teacher: Predictions from the teacher's, without gradient.
        takes_part: (B, N) bool.
    """
    target, logits = teacher.logits.float().sigmoid(), student.logits.float()
    confidence = target.amax(-1) * takes_part
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    distance = ((logits.sigmoid() - target).abs() * entropy).sum(-1) * takes_part
    box = 1 - giou(student.boxes, teacher.boxes)
    if student.sides is not None and teacher.sides is not None:
        box = box + (student.sides.float() - teacher.sides.float()).abs().sum(-1)
    return (distance + confidence * box).sum() / confidence.sum().clamp(min=1)
