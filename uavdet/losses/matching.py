"""Hungarian matching of predictions to objects, for all prediction sets of a step at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from uavdet.losses.boxes import giou

_ALPHA, _GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class Matches:
    """Which prediction is which object, over all prediction sets.

    Each tensor is (M,): the prediction set, the image, the query, and the object's row among the batch's objects.
    """

    layer: Tensor
    image: Tensor
    query: Tensor
    target: Tensor

    def __len__(self) -> int:
        return self.target.numel()

    def count_per_layer(self, layers: int) -> Tensor:
        """Return the number of matches of each prediction set, (layers,)."""
        return torch.bincount(self.layer, minlength=layers)

    def to(self, device: torch.device) -> Matches:
        """Return the matches on another device."""
        return Matches(*(t.to(device) for t in (self.layer, self.image, self.query, self.target)))


def classification_cost(logits: Tensor, classes: Tensor) -> Tensor:
    """Return RT-DETR's focal-style cost of giving each query each object's class.

    Args:
        logits: (..., Q, C).
        classes: (N,) class ids.

    Returns:
        (..., Q, N) in float32: focal loss of a positive minus that of a negative.
    """
    score = logits.float().sigmoid()[..., classes]
    negative = (1 - _ALPHA) * score**_GAMMA * -(1 - score + 1e-8).log()
    positive = _ALPHA * (1 - score) ** _GAMMA * -(score + 1e-8).log()
    return positive - negative


def matching_cost(boxes: Tensor, logits: Tensor, target_boxes: Tensor, target_classes: Tensor) -> Tensor:
    """Return RT-DETR's matching cost: 2 class + 5 L1 + 2 (1 - GIoU), with plain GIoU for every model.

    Args:
        boxes: (L, Q, 4), normalised cxcywh.
        logits: (L, Q, C).
        target_boxes: (N, 4).
        target_classes: (N,).

    Returns:
        (L, Q, N) in float32; values that are not finite are replaced by a large cost.
    """
    boxes, target_boxes = boxes.float().unsqueeze(-2), target_boxes.float()
    distance = (boxes - target_boxes).abs().sum(-1)
    cost = 2 * classification_cost(logits, target_classes) + 5 * distance + 2 * (1 - giou(boxes, target_boxes))
    return cost.nan_to_num(nan=1e4, posinf=1e4, neginf=1e4)


@torch.no_grad()
def match(boxes: Tensor, logits: Tensor, targets: dict[str, Any]) -> Matches:
    """Match every prediction set to the objects of its image, each on its own.

    Args:
        boxes: (L, B, Q, 4).
        logits: (L, B, Q, C).
        targets: As `uavdet.nn.detector.targets_from_batch` returns them.

    Returns:
        For each set and image, min(Q, N) pairs, on the device of `boxes`.
    """
    groups: list[int] = targets["gt_groups"]
    starts = [sum(groups[:image]) for image in range(len(groups))]
    costs = [
        matching_cost(boxes[:, i], logits[:, i], targets["bboxes"][s : s + n], targets["cls"][s : s + n])
        for i, (s, n) in enumerate(zip(starts, groups, strict=True))
    ]
    rows = []
    for image, (start, cost) in enumerate(zip(starts, _to_host(costs), strict=True)):
        for layer, matrix in enumerate(cost):
            query, target = linear_sum_assignment(matrix)
            rows.append((layer, image, torch.from_numpy(query), torch.from_numpy(target) + start))
    return _collect(rows).to(boxes.device)


def _to_host(costs: list[Tensor]) -> list[np.ndarray]:
    """Bring matrices of different shapes to the host in one transfer."""
    flat = torch.cat([cost.flatten() for cost in costs]).cpu().numpy()
    parts = np.split(flat, np.cumsum([cost.numel() for cost in costs])[:-1])
    return [part.reshape(cost.shape) for part, cost in zip(parts, costs, strict=True)]


def _collect(rows: list[tuple[int, int, Tensor, Tensor]]) -> Matches:
    if not rows:
        return Matches(*(torch.empty(0, dtype=torch.long) for _ in range(4)))
    layer = torch.cat([torch.full_like(query, index) for index, _, query, _ in rows])
    image = torch.cat([torch.full_like(query, index) for _, index, query, _ in rows])
    return Matches(layer, image, torch.cat([r[2] for r in rows]), torch.cat([r[3] for r in rows]))


def denoising_matches(layers: int, meta: dict[str, Any]) -> Matches:
    """Return the pairs of the denoising queries, known by construction: query i denoises object `dn_gt_idx[i]`.

    Args:
        layers: Number of decoder layers.
        meta: Denoising data of the decoder: `dn_pos_idx`, `dn_gt_idx` (a tensor an image) and `dn_num_group`.
    """
    rows = []
    for image, (query, target) in enumerate(zip(meta["dn_pos_idx"], meta["dn_gt_idx"], strict=True)):
        rows += [(layer, image, query, target.repeat(meta["dn_num_group"])) for layer in range(layers)]
    return _collect(rows)
