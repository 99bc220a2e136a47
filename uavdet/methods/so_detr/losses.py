"""The terms of SO-DETR's response distillation.

With p the teacher's confidence in a query, its highest class probability, n the number of objects in the batch, and
g(p) = p^2 below 0.5 and sqrt(p) from there, summed over the pairs of queries:

    class   sum BCE(student's logits, teacher's probabilities) / n
    L1      sum p |b_student - b_teacher| / n
    box     sum g(p) (1 - expanded SIoU) / n

The jump of g at 0.5 is the release's; as the teacher is frozen, it weighs pairs and disturbs no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uavdet.losses.boxes import expanded_siou
from uavdet.methods.soft_targets import bernoulli_cross_entropy, bernoulli_divergence, confidence


def box_confidence(p: Tensor) -> Tensor:
    """Return g(p), which weighs the box term: doubtful queries hardly count, likely ones nearly fully."""
    return torch.where(p < 0.5, p.square(), p.sqrt())


def response_terms(
    student_boxes: Tensor,
    student_logits: Tensor,
    teacher_boxes: Tensor,
    teacher_logits: Tensor,
    expansion: float,
    *,
    entropy: bool,
) -> Tensor:
    """Return the three terms of paired queries, summed over the pairs and not yet divided by n.

    Args:
        student_boxes: (M, 4), normalised cxcywh.
        student_logits: (M, C).
        teacher_boxes: (M, 4).
        teacher_logits: (M, C).
        expansion: Ratio of the expanded SIoU.
        entropy: Whether the class term keeps the teacher's entropy, its floor; the gradients are the same.

    Returns:
        (3,) in float32: class, L1 and box. For no pairs a zero that depends on the student's predictions.
    """
    p = confidence(teacher_logits)
    classes = (bernoulli_cross_entropy if entropy else bernoulli_divergence)(student_logits, teacher_logits)
    distance = (student_boxes.float() - teacher_boxes.float()).abs().sum(-1)
    difference = 1 - expanded_siou(student_boxes, teacher_boxes, expansion)
    return torch.stack([classes.sum(), (p * distance).sum(), (box_confidence(p) * difference).sum()])
