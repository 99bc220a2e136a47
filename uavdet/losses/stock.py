"""Ultralytics' criteria, with ignored regions: an unmatched prediction in one gives no classification loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.models.utils.loss import RTDETRDetectionLoss
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

from uavdet.losses.ignore import in_ignored_region, regions_of_batch

_CERTAINLY_BACKGROUND = -1e4  # a logit whose loss and gradient as a negative are exactly zero


class RegionRTDETRLoss(RTDETRDetectionLoss):
    """RT-DETR's criterion as Ultralytics has it.

    Attributes:
        regions: Those of the batch at hand (`regions_of_batch`); set before each call.
    """

    regions: Tensor | None = None

    def _get_loss(
        self,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        gt_bboxes: Tensor,
        gt_cls: Tensor,
        gt_groups: list[int],
        postfix: str = "",
        match_indices: list[tuple[Tensor, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        if self.regions is not None:
            if match_indices is None:
                match_indices = self.matcher(pred_bboxes, pred_scores, gt_bboxes, gt_cls, gt_groups)
            ignored = in_ignored_region(pred_bboxes, self.regions)
            for image, (queries, _) in enumerate(match_indices):
                ignored[image, queries] = False
            pred_scores = pred_scores.masked_fill(ignored.unsqueeze(-1), _CERTAINLY_BACKGROUND)
        return super()._get_loss(
            pred_bboxes, pred_scores, gt_bboxes, gt_cls, gt_groups, postfix=postfix, match_indices=match_indices
        )


class _RecordingAssigner(nn.Module):
    """Assigns as its assigner does, and remembers which predictions, of which boxes, are background."""

    def __init__(self, assigner: nn.Module) -> None:
        super().__init__()
        self.assigner = assigner

    def forward(self, scores: Tensor, boxes: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Assign objects to predictions; see Ultralytics' TaskAlignedAssigner."""
        assigned = self.assigner(scores, boxes, *args, **kwargs)
        self.boxes, self.background = boxes, ~assigned[3].bool()
        return assigned


class RegionYOLOLoss(v8DetectionLoss):
    """YOLO's criterion as Ultralytics has it.

    Attributes:
        regions: Those of the batch at hand, as `regions_of_batch` returns them.
        size: (width, height) of its images in pixels.
    """

    assigner: Any
    bce: Any
    regions: Tensor | None = None
    size: tuple[int, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.assigner = _RecordingAssigner(self.assigner)
        self.plain_bce = self.bce
        self.bce = self._bce_outside_regions

    def loss(self, preds: dict[str, Tensor], batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of a batch times its size, and the items to report."""
        self.regions = regions_of_batch(batch)
        self.size = batch["img"].shape[-1], batch["img"].shape[-2]
        return super().loss(preds, batch)

    def _bce_outside_regions(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = self.plain_bce(logits, targets)
        if self.regions is None:
            return loss
        corners = self.assigner.boxes / logits.new_tensor([*self.size, *self.size], dtype=torch.float32)
        boxes = torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
        ignored = in_ignored_region(boxes, self.regions) & self.assigner.background
        return loss.masked_fill(ignored.unsqueeze(-1), 0.0)


def yolo_criterion(model: nn.Module) -> Any:
    """Return the criterion of a YOLO detector: of one head, or of the two of end-to-end models."""
    two_heads = getattr(model.model[-1], "one2one_cv2", None) is not None  # type: ignore[index]
    return E2ELoss(model, RegionYOLOLoss) if two_heads else RegionYOLOLoss(model)
