"""The terms of KD-DETR: what two decoders answer to the same queries, weighed by the teacher's confidence.

With p the teacher's confidence in a query, its highest class probability in its last layer:

    class   sum p KL(teacher's classes || student's classes)
    L1      sum p |b_student - b_teacher|
    box     sum p (1 - GIoU)

The weighting is the paper's foreground rebalance: most queries of an image see nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from uavdet.losses.boxes import giou


def point_terms(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    weight: Tensor,
    divergence: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return the class, L1 and box terms of one decoder layer, summed over the queries.

    Args:
        student: Boxes (B, P, 4), normalised cxcywh, and logits (B, P, C).
        teacher: The same of the teacher.
        weight: (B, P), the teacher's confidence; 0 for queries that take no part.
        divergence: Distance of each class, (B, P, C), of the student's logits from the teacher's.

    Returns:
        (3,) in float32.
    """
    (boxes, logits), (wanted_boxes, wanted_logits) = student, teacher
    classes = divergence(logits, wanted_logits).sum(-1)
    distance = (boxes.float() - wanted_boxes.float()).abs().sum(-1)
    terms = torch.stack([classes, distance, 1 - giou(boxes, wanted_boxes)])
    return (terms * weight).sum((1, 2))
