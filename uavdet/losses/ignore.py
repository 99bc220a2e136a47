"""Which predictions lie in ignored regions: the one place that losses and training methods ask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SHARE = 0.5
_CHUNK = 32  # regions at a time: every cell of a feature map against hundreds of them would take gigabytes
_EDGE = 1e-6  # regions are half-open; the right and the bottom border of the image belong to it


def regions_of_batch(batch: dict[str, Any]) -> Tensor | None:
    """Return the ignored regions of a batch, padded to the same number an image.

    Args:
        batch: `img` (B, C, H, W), `ignore_bboxes` (M, 4) xyxy divided by the image size, not overlapping within an
            image, and `ignore_batch_idx` (M,), sorted. Without these entries no image has a region.

    Returns:
        (B, R, 4) float32 xyxy on the device of `img`, padded with empty boxes; None where no image has a region.
    """
    boxes = batch.get("ignore_bboxes")
    if boxes is None or not len(boxes):
        return None
    device, images = batch["img"].device, batch["img"].shape[0]
    index = batch["ignore_batch_idx"].to(device, dtype=torch.long)
    counts = torch.bincount(index, minlength=images)
    place = torch.arange(len(index), device=device) - (counts.cumsum(0) - counts)[index]
    padded = torch.zeros(images, int(counts.max()), 4, device=device)
    padded[index, place] = boxes.to(device).float()
    return padded


def in_ignored_region(boxes: Tensor, regions: Tensor | None) -> Tensor:
    """Return which boxes lie in an ignored region: their centre does, or at least half of their area.

    Only the part of a box inside the image counts, as detections are clipped to it. Such a prediction, where it
    matches no object, is not pushed to background: what it sees may be an object that the annotators left out.
    Predictions that match an object train as always.

    Args:
        boxes: (..., B, Q, 4), normalised cxcywh; also the cells of a feature map, written as boxes.
        regions: As `regions_of_batch` returns them.

    Returns:
        (..., B, Q) bool.
    """
    if regions is None:
        return torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    boxes = boxes.detach().float().unsqueeze(-2)
    side = boxes[..., 2:].clamp(min=0)
    top_left, bottom_right = ((boxes[..., :2] + sign * side / 2).clamp(0, 1) for sign in (-1, 1))
    centre = ((top_left + bottom_right) / 2).clamp(max=1 - _EDGE)
    area = (bottom_right - top_left).prod(-1).squeeze(-1)
    centred, covered = torch.zeros_like(area, dtype=torch.bool), torch.zeros_like(area)
    for some in regions.split(_CHUNK, 1):
        low, high = some[:, None, :, :2], some[:, None, :, 2:]
        centred |= ((centre >= low) & (centre < high)).all(-1).any(-1)
        overlap = (torch.minimum(bottom_right, high) - torch.maximum(top_left, low)).clamp(min=0)
        covered += overlap.prod(-1).sum(-1)
    return centred | ((area > 0) & (covered >= _SHARE * area))


def ignored_cells(shape: tuple[int, int], regions: Tensor | None) -> Tensor | None:
    """Return which cells of a feature map lie in ignored regions, by the rule of `in_ignored_region`.

    Args:
        shape: (h, w) of the map.
        regions: As `regions_of_batch` returns them.

    Returns:
        (B, 1, h, w) bool, or None where no image has a region.
    """
    if regions is None:
        return None
    height, width = shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    cells = torch.stack([x / width, y / height, torch.full_like(x, 1 / width), torch.full_like(y, 1 / height)], -1)
    boxes = cells.view(-1, 4).to(regions.device).expand(len(regions), -1, -1)
    return in_ignored_region(boxes, regions).view(-1, 1, height, width)
