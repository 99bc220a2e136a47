"""The set criterion of RT-DETR with SO-DETR's expanded IoU.

Per prediction set (encoder proposals, every decoder layer, denoising queries):

    classification  varifocal loss, alpha 0.75, gamma 2, target q = expanded IoU of the matched pair
    L1              5 * sum |b - t| / N
    box             2 * sum (1 - expanded SIoU) / N, or 2 * sum (1 - GIoU) / N for the plain model

where N is the number of matched objects, averaged over the ranks of a distributed run. Everything is float32.
Queries, denoising ones too, that match no object and lie in an ignored region (`losses.ignore`) give no loss.
Sources: RT-DETR (arXiv 2304.08069), VarifocalNet (arXiv 2008.13367), SO-DETR (arXiv 2504.11470, section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from uavdet.losses.boxes import adaptive_expansion, expanded_iou, expanded_siou, giou
from uavdet.losses.ignore import in_ignored_region
from uavdet.losses.matching import Matches, denoising_matches, match


@dataclass(frozen=True)
class LossGains:
    """Weights of the three terms; RT-DETR's values."""

    classification: float = 1.0
    l1: float = 5.0
    box: float = 2.0


def varifocal_loss(logits: Tensor, quality: Tensor, positive: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the varifocal loss of every class of every query, not reduced.

    Positives weigh their target quality, negatives `alpha * p^gamma`. As in SO-DETR's release the weight is part of
    the differentiated formula.

    Args:
        logits: (..., C).
        quality: (..., C), the target score; 0 for negatives.
        positive: (..., C), 1 where the class is the matched object's.
        alpha: Weight of negatives.
        gamma: Focusing power of negatives.

    Returns:
        (..., C) in float32.
    """
    logits = logits.float()
    weight = alpha * logits.sigmoid() ** gamma * (1 - positive) + quality * positive
    return weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


class DetectionCriterion(nn.Module):
    """Computes the losses of one training step.

    Args:
        num_classes: Number of classes.
        expansion: 1 for plain IoU and GIoU (RT-DETR), a ratio above 1 for SO-DETR's fixed expansion, or 'adaptive'
            for `uavdet.losses.boxes.adaptive_expansion`.
        box_loss: 'giou' or 'siou' (expanded SIoU); by default 'giou' at expansion 1, as in RT-DETR, else 'siou'.
        gains: Weights of the terms.
        alpha: Varifocal alpha. 0.75 in RT-DETR; Ultralytics passes 0.25.
        gamma: Varifocal gamma. 2.0 in RT-DETR; Ultralytics passes 1.5.

    Attributes:
        terms: Where the detector keeps the losses of the running step.
    """

    terms: dict[str, Tensor]

    def __init__(
        self,
        num_classes: int,
        expansion: float | str = 1.0,
        box_loss: str | None = None,
        gains: LossGains | None = None,
        alpha: float = 0.75,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.expansion, self.gains = num_classes, expansion, gains or LossGains()
        self.alpha, self.gamma, self.terms = alpha, gamma, {}
        self.box_loss = box_loss or ("giou" if expansion == 1 else "siou")

    def forward(
        self,
        boxes: Tensor,
        logits: Tensor,
        targets: dict[str, Any],
        denoising: tuple[Tensor, Tensor, dict[str, Any]] | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name.

        Args:
            boxes: (L, B, Q, 4) normalised cxcywh; the encoder's proposals first, the last decoder layer last.
            logits: (L, B, Q, C).
            targets: `bboxes` (N, 4), `cls` (N,), `gt_groups` (objects an image), `image_size` (width, height) and
                optionally `ignore_regions` (B, R, 4), see `losses.ignore.regions_of_batch`.
            denoising: Boxes and logits of the denoising queries (L', B, Q', ...) and their data, in training.

        Returns:
            `loss_class`, `loss_bbox` and `loss_giou` of the last layer; the sums over the other sets with the suffix
            `_aux`; the same six of the denoising queries with the suffix `_dn`. A batch without objects gives zero
            box losses that still depend on the predictions, so that distributed runs see every parameter used.
        """
        sets = [(boxes, logits, match(boxes, logits, targets), "")]
        if denoising is not None:
            dn_boxes, dn_logits, meta = denoising
            matches = denoising_matches(len(dn_boxes), meta).to(boxes.device)
            sets.append((dn_boxes, dn_logits, matches, "_dn"))
        matched = [len(matches) / len(set_boxes) for set_boxes, _, matches, _ in sets]
        # A rank without a box has no denoising queries, but takes part in the average of their number.
        counts = average_over_ranks([*matched, 0.0][:2], boxes.device)
        losses: dict[str, Tensor] = {}
        for (set_boxes, set_logits, matches, suffix), count in zip(sets, counts, strict=False):
            terms = self._terms(set_boxes, set_logits, targets, matches) / count.clamp(min=1)
            for name, gain, per_layer in zip(("class", "bbox", "giou"), self._gain_values(), terms, strict=True):
                losses[f"loss_{name}{suffix}"] = gain * per_layer[-1]
                losses[f"loss_{name}_aux{suffix}"] = gain * per_layer[:-1].sum()
        return losses

    def _gain_values(self) -> tuple[float, float, float]:
        return self.gains.classification, self.gains.l1, self.gains.box

    def _terms(self, boxes: Tensor, logits: Tensor, targets: dict[str, Any], matches: Matches) -> Tensor:
        """Return the summed classification, L1 and box terms of every prediction set, (3, L)."""
        where = (matches.layer, matches.image, matches.query)
        matched, wanted = boxes.float()[where], targets["bboxes"].float()[matches.target]
        ratio = self._ratio(wanted, targets["image_size"])
        quality = expanded_iou(matched.detach(), wanted, ratio)
        positive = torch.zeros(logits.shape, dtype=torch.float32, device=logits.device)
        positive[(*where, targets["cls"][matches.target])] = 1.0
        scores = torch.zeros_like(positive)
        scores[(*where, targets["cls"][matches.target])] = quality
        classification = varifocal_loss(logits, scores, positive, self.alpha, self.gamma)
        if (regions := targets.get("ignore_regions")) is not None:
            ignored = in_ignored_region(boxes, regions)
            ignored[where] = False
            classification = classification.masked_fill(ignored.unsqueeze(-1), 0.0)
        classification = classification.sum((1, 2, 3))
        zero = boxes.float().flatten(1).sum(1) * 0.0
        l1 = zero.index_add(0, matches.layer, (matched - wanted).abs().sum(-1))
        box = zero.index_add(0, matches.layer, 1 - self._similarity(matched, wanted, ratio))
        return torch.stack([classification, l1, box])

    def _ratio(self, wanted: Tensor, image_size: tuple[int, int]) -> Tensor | float:
        return adaptive_expansion(wanted, image_size) if self.expansion == "adaptive" else float(self.expansion)

    def _similarity(self, matched: Tensor, wanted: Tensor, ratio: Tensor | float) -> Tensor:
        """Return what the box loss draws to 1."""
        return giou(matched, wanted) if self.box_loss == "giou" else expanded_siou(matched, wanted, ratio)


def average_over_ranks(values: list[float], device: torch.device) -> Tensor:
    """Return `values` averaged over the ranks of a distributed run, (len(values),).

    The average of the gradients over ranks then equals the gradient of the whole batch over its own normaliser.
    """
    tensor = torch.tensor(values, dtype=torch.float32, device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor
