"""Ultralytics' criteria, with ignored regions: an unmatched prediction in one gives no classification loss.

Each keeps the terms of its last loss, differentiable, in `terms`; a detector empties it after the step.
"""

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
        terms: The losses that the last call returned.
    """

    regions: Tensor | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.terms: dict[str, Tensor] = {}

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the losses by name; see Ultralytics' RTDETRDetectionLoss."""
        self.terms = super().forward(*args, **kwargs)
        return self.terms

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
        terms: The box, class and distribution losses of the last call, an image.
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
        self.terms: dict[str, Tensor] = {}

    def loss(self, preds: dict[str, Tensor], batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of a batch times its size, and the items to report."""
        self.regions = regions_of_batch(batch)
        self.size = batch["img"].shape[-1], batch["img"].shape[-2]
        return super().loss(preds, batch)

    def get_assigned_targets_and_loss(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return assignment, losses and items; see Ultralytics' v8DetectionLoss."""
        found = super().get_assigned_targets_and_loss(*args, **kwargs)
        self.terms = dict(zip(self.loss_names, found[1], strict=True))
        return found

    def _bce_outside_regions(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = self.plain_bce(logits, targets)
        if self.regions is None:
            return loss
        corners = self.assigner.boxes / logits.new_tensor([*self.size, *self.size], dtype=torch.float32)
        boxes = torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
        ignored = in_ignored_region(boxes, self.regions) & self.assigner.background
        return loss.masked_fill(ignored.unsqueeze(-1), 0.0)


class RegionE2ELoss(E2ELoss):
    """The criterion of YOLOs with two heads as Ultralytics has it.

    Attributes:
        terms: The losses of the last call, an image: those of both heads, weighted.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, RegionYOLOLoss)
        self.terms: dict[str, Tensor] = {}

    def __call__(self, preds: Any, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of a batch times its size, and the items to report."""
        found = super().__call__(preds, batch)
        one, many = self.one2one.terms, self.one2many.terms
        self.terms = {name: many[name] * self.o2m + one[name] * self.o2o for name in one}
        self.one2one.terms = self.one2many.terms = {}
        return found


def yolo_criterion(model: nn.Module) -> Any:
    """Return the criterion of a YOLO detector: of one head, or of the two of end-to-end models."""
    two_heads = getattr(model.model[-1], "one2one_cv2", None) is not None  # type: ignore[index]
    return RegionE2ELoss(model) if two_heads else RegionYOLOLoss(model)
