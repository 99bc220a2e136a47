"""Every prediction of a detector for one image, still in the graph, and which of them finds which object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from uavdet.losses.boxes import iou
from uavdet.methods.outputs import is_detr

OVERLAP = 0.5
"""Least IoU of a prediction that finds an object."""


@dataclass(frozen=True)
class Predictions:
    """What a head says of one image, before anything is selected.

    Attributes:
        boxes: (Q, 4) cxcywh, divided by the size of the network's input.
        logits: (Q, C) class scores before the sigmoid.
    """

    boxes: Tensor
    logits: Tensor


def read_predictions(model: nn.Module, outputs: Any, size: tuple[int, int]) -> Predictions:
    """Return the queries of a DETR's last layer, or the anchors of a YOLO.

    Args:
        model: Ours, stock RT-DETR or stock YOLO, in evaluation mode.
        outputs: What its head returned for a batch of one image.
        size: (height, width) of the network's input in pixels.
    """
    raw = outputs[1]
    if is_detr(model):
        return Predictions(raw[0][-1, 0], raw[1][-1, 0])
    head: Any = model.model[-1]  # type: ignore[index]
    if "one2one" in raw:
        raw = raw["one2one" if head.end2end else "one2many"]
    boxes = head._get_decode_boxes(raw)[0].T
    if head.end2end or head.xyxy:
        boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    return Predictions(boxes / boxes.new_tensor([size[1], size[0]] * 2), raw["scores"][0].T)


@dataclass(frozen=True)
class Found:
    """The objects that predictions find; each tensor is (M,), and no prediction finds two.

    Attributes:
        object: Rows of the objects.
        prediction: Rows of the predictions.
        scores: Of the object's class, after the sigmoid.
        overlaps: IoU of prediction and object.
    """

    object: np.ndarray
    prediction: np.ndarray
    scores: np.ndarray
    overlaps: np.ndarray


@torch.no_grad()
def find_objects(predictions: Predictions, boxes: Tensor, classes: Tensor, conf: float) -> Found:
    """Pair objects with predictions so that the sum of scores and IoUs is the greatest.

    A prediction may find an object where their IoU is at least 0.5 and the score of the object's class is at least
    `conf`.

    Args:
        predictions: Of the image.
        boxes: (N, 4) cxcywh of the objects.
        classes: (N,) class ids.
        conf: Lowest score.
    """
    scores = predictions.logits.float().sigmoid()[:, classes]
    candidates = (scores >= conf).any(1).nonzero()[:, 0]  # few of a YOLO's anchors
    scores = scores[candidates]
    overlaps = iou(predictions.boxes.float()[candidates, None], boxes.float()[None])
    gain = torch.where((overlaps >= OVERLAP) & (scores >= conf), scores + overlaps, 0.0).double().cpu().numpy()
    query, target = linear_sum_assignment(gain, maximize=True)
    kept = gain[query, target] > 0
    order = np.argsort(target[kept])
    query, target = query[kept][order], target[kept][order]
    found = (values.double().cpu().numpy()[query, target] for values in (scores, overlaps))
    return Found(target, candidates.cpu().numpy()[query], *found)
