"""Pairs the queries of a student with those of a teacher.

A DETR's queries are the best proposals of its own encoder, in the order of their scores, so query i of one network and
query i of another look at different places. What corresponds is found as objects are found in training: by an
assignment of least cost, with the terms and weights of RT-DETR's matcher (`uavdet.losses.matching`).
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from uavdet.losses.boxes import giou
from uavdet.losses.matching import classification_cost

QueryPairs = tuple[Tensor, Tensor, Tensor]
"""Index tensors of the same length: image, student query, teacher query; they index (B, Q, ...) directly."""

_UNUSABLE = 1e4  # the cost of a pair whose predictions are not finite


def pairing_cost(
    student_boxes: Tensor, student_logits: Tensor, teacher_boxes: Tensor, teacher_logits: Tensor
) -> Tensor:
    """Return the matcher's cost, 2 class + 5 L1 + 2 (1 - GIoU), of every student query beside every teacher query.

    The class term is the matcher's, averaged over the teacher's probabilities: for a teacher that is certain of one
    class it is the matcher's own cost of an object of that class, and for one that sees nothing it is zero, so that
    boxes alone decide. With equal networks every query is paired with itself.

    Args:
        student_boxes: (B, Q, 4), normalised cxcywh.
        student_logits: (B, Q, C).
        teacher_boxes: (B, T, 4).
        teacher_logits: (B, T, C).

    Returns:
        (B, Q, T) in float32; values that are not finite are replaced by a large cost.
    """
    every_class = torch.arange(student_logits.shape[-1], device=student_logits.device)
    class_cost = classification_cost(student_logits, every_class) @ teacher_logits.float().sigmoid().mT
    student_boxes, teacher_boxes = student_boxes.float().unsqueeze(2), teacher_boxes.float().unsqueeze(1)
    distance = (student_boxes - teacher_boxes).abs().sum(-1)
    cost = 2 * class_cost + 5 * distance + 2 * (1 - giou(student_boxes, teacher_boxes))
    return cost.nan_to_num(nan=_UNUSABLE, posinf=_UNUSABLE, neginf=_UNUSABLE)


@torch.no_grad()
def pair_queries(
    student_boxes: Tensor,
    student_logits: Tensor,
    teacher_boxes: Tensor,
    teacher_logits: Tensor,
    keep: Tensor | None = None,
) -> QueryPairs:
    """Pair queries one to one within each image, at the least total cost.

    Args:
        student_boxes: (B, Q, 4), normalised cxcywh.
        student_logits: (B, Q, C).
        teacher_boxes: (B, T, 4).
        teacher_logits: (B, T, C).
        keep: (B, T) bool, the teacher queries that take part; None means all. Where there are more of them than
            student queries, the teacher's most confident take part: a student that sees nothing yet is nearest to
            the queries that see nothing, and those with objects would be left over.

    Returns:
        Image, student query and teacher query of each pair, int64 on the device of the boxes, sorted by image; in an
        image with K teacher queries that take part there are min(Q, K) pairs.
    """
    with torch.autocast(student_boxes.device.type, enabled=False):
        costs = pairing_cost(student_boxes, student_logits, teacher_boxes, teacher_logits).cpu()
    ranked = teacher_logits.float().amax(-1).argsort(dim=1, descending=True, stable=True).cpu()
    takes_part = torch.ones_like(ranked, dtype=torch.bool) if keep is None else keep.cpu()
    images, students, teachers = [], [], []
    for image, (cost, kept, order) in enumerate(zip(costs, takes_part, ranked, strict=True)):
        columns = order[kept[order]][: len(cost)].sort().values
        rows, chosen = (torch.from_numpy(index) for index in linear_sum_assignment(cost[:, columns].numpy()))
        images.append(torch.full_like(rows, image))
        students.append(rows)
        teachers.append(columns[chosen])
    device = student_boxes.device
    return torch.cat(images).to(device), torch.cat(students).to(device), torch.cat(teachers).to(device)


def pair_by_rank(queries: int, keep: Tensor) -> QueryPairs:
    """Pair query i of the student with query i of the teacher, as SO-DETR's release does.

    Args:
        queries: Number of the student's queries.
        keep: (B, T) bool, the teacher queries that take part.
    """
    image, query = keep[:, :queries].nonzero(as_tuple=True)
    return image, query, query
