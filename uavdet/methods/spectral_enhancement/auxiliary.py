"""The auxiliary pass of SET: the same head reads changed features, and its losses train the whole network (Eq. 9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uavdet.methods.features import FeatureRecorder
from uavdet.methods.outputs import is_detr
from uavdet.nn.detector import targets_from_batch

_DETR_BRANCHES = {"class": "loss_class", "l1": "loss_bbox", "box": "loss_giou"}
"""The branches of a DETR, M = 3, and how the names of their terms begin."""


def auxiliary_terms(
    model: Any, recorder: FeatureRecorder, maps: Sequence[Tensor], batch: Mapping[str, Any], *, denoising: bool = False
) -> dict[str, Tensor]:
    """Run the head of a model once more, on maps of our own, and return the terms of the model's loss for that.

    Objects are matched, or assigned, again. Recorded features, the head's batch statistics and the terms of the main
    pass stay as they are.

    Args:
        model: Ours, stock RT-DETR or stock YOLO, in training, after its `plain_loss` for the batch.
        recorder: Its feature recorder.
        maps: What the head reads in the place of its inputs, (B, C_i, H_i, W_i).
        batch: The batch; see `uavdet.nn.detector.targets_from_batch`.
        denoising: Whether a DETR's denoising queries take part.

    Returns:
        The weighted terms by the criterion's names, as `model.loss_terms`.
    """
    head, main, given = model.model[-1], model.loss_terms, dict(batch)
    with recorder.paused(), untouched_statistics(head):
        if is_detr(model):
            preds = head(list(maps), targets_from_batch(given) if denoising else None)
        else:
            preds = head(list(maps))
    model.plain_loss(given, preds)
    terms, model.criterion.terms = model.loss_terms, main
    return terms


@contextmanager
def untouched_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of a batch without remembering them, in training.

    The network flies with the statistics of its own features; smoothed and perturbed ones would shift them. (The
    paper's FCOS has no normalisation in its head.) Layers that are frozen in evaluation mode go on with what they
    remember.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def branch_names(model: Any) -> tuple[str, ...]:
    """Return the names of a model's branches: class, l1 and box of a DETR; box, cls and dfl (or l1) of a YOLO."""
    return tuple(_DETR_BRANCHES) if is_detr(model) else tuple(name.removesuffix("_loss") for name in model.item_names)


def branch_losses(model: Any, terms: Mapping[str, Tensor], which: str = "all") -> dict[str, Tensor]:
    """Return the loss of each branch, the sum of its terms.

    Args:
        model: The model whose terms they are.
        terms: See `uavdet.nn.detector.HookedLoss.loss_terms`.
        which: Of a DETR's terms, `final` takes those of the last layer, `matching` those of all layers and of the
            encoder, `all` those of the denoising queries too.
    """
    if not is_detr(model):
        return {name: terms[f"{name}_loss"] for name in branch_names(model)}
    losses = {}
    for branch, prefix in _DETR_BRANCHES.items():
        own = [name for name in terms if name.startswith(prefix)]
        taken = {"final": [prefix], "matching": [name for name in own if not name.endswith("_dn")], "all": own}[which]
        losses[branch] = torch.stack([terms[name] for name in taken]).sum()
    return losses
