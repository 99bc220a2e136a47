"""Smoothing blocks for a detector whose own ones are gone, or that never had any: they learn what its head wants.

As in SET, the blocks learn from the auxiliary loss of Eq. 9, the detector's own on smoothed features, without the
perturbation. The detector itself is frozen here, its batch normalisation included, so what is found is what smoothing
does to the features of the detector as it flies, and not what training with SET would make of them. (In a run with
methods=set the head normalises by the batch. That takes off again much of what a block adds to all of the background.
The paper's head has no normalisation.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from ultralytics.cfg import get_cfg
from ultralytics.utils import LOGGER

from uavdet.analysis.samples import Sample, Samples
from uavdet.losses.ignore import ignored_cells, regions_of_batch
from uavdet.methods.spectral_enhancement.auxiliary import auxiliary_terms
from uavdet.methods.spectral_enhancement.foreground import Mask, foreground_cells
from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing
from uavdet.nn.background import marked_levels

_BATCH = 2  # images, as in the paper
_RATE = 1e-3  # of AdamW: ten times our recipe's, as the blocks start anew and have few steps
_NEWS = 50  # batches between two lines in the log


def kept_cells(batch: dict[str, Any], shape: tuple[int, int], mask: Mask = "overlap") -> Tensor:
    """Return the cells of a map that are no background: those of objects and of ignored regions.

    Args:
        batch: As `batch_of` makes it.
        shape: (h, w) of the map.
        mask: See `foreground_cells`.

    Returns:
        (B, 1, h, w) bool.
    """
    images, _, height, width = batch["img"].shape
    kept = foreground_cells(batch["bboxes"], batch["batch_idx"], images, shape, mask, (width, height))
    ignored = ignored_cells(shape, regions_of_batch(batch))
    return kept if ignored is None else kept | ignored


def batch_of(samples: list[Sample]) -> dict[str, Any]:
    """Return images as a training batch; see `uavdet.nn.detector.targets_from_batch`."""
    device = samples[0].image.device
    regions = [torch.zeros(0, 4, device=device) if sample.regions is None else sample.regions for sample in samples]
    return {
        "img": torch.cat([sample.image for sample in samples]),
        "cls": torch.cat([sample.classes for sample in samples]),
        "bboxes": torch.cat([sample.boxes for sample in samples]),
        "batch_idx": _places([len(sample.boxes) for sample in samples], device),
        "ignore_bboxes": torch.cat(regions),
        "ignore_batch_idx": _places([len(found) for found in regions], device),
    }


def _places(counts: list[int], device: torch.device) -> Tensor:
    return torch.arange(len(counts), device=device).repeat_interleave(torch.tensor(counts, device=device))


def make_blocks(samples: Samples) -> dict[int, BackgroundSmoothing]:
    """Return new blocks with the paper's settings for a detector's levels, by their places; the same in every call.

    Where the model has marker rows, only the marked levels get one.
    """
    maps = samples.recorder.head_inputs
    marked = marked_levels(samples.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = {
            level: BackgroundSmoothing(maps[level].shape[1], samples.strides[level])
            for level in (range(len(maps)) if marked is None else marked)
        }
    return {level: block.to(samples.device) for level, block in blocks.items()}


def train_blocks(samples: Samples, steps: int) -> dict[int, BackgroundSmoothing]:
    """Return blocks that have learned for some steps, by the places of their levels; the detector stays as it is.

    Args:
        samples: The detector and images to learn from; those it has chosen are drawn in random order, again and again.
        steps: Batches of two images.
    """
    blocks = make_blocks(samples)
    parameters = [parameter for block in blocks.values() for parameter in block.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE)
    for number, batch in enumerate(_batches(samples, steps), start=1):
        with torch.no_grad():
            samples.model.predict(batch["img"])  # type: ignore[operator]
        maps = [level.detach() for level in samples.recorder.head_inputs]
        for level, block in blocks.items():
            maps[level] = block(maps[level], kept_cells(batch, (maps[level].shape[2], maps[level].shape[3])))
        loss = _auxiliary_loss(samples, maps, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number % _NEWS == 0:
            LOGGER.info(f"{number} of {steps} batches, loss {float(loss.detach()):.3f}")
    return {level: block.eval().requires_grad_(False) for level, block in blocks.items()}


def _batches(samples: Samples, steps: int) -> Iterator[dict[str, Any]]:
    """Yield batches in random order; an epoch after the other."""
    generator = torch.Generator().manual_seed(0)
    known = list(samples.chosen)
    drawn: list[int] = []
    while len(drawn) < steps * _BATCH:
        drawn += torch.randperm(len(known), generator=generator).tolist()
    samples.chosen = [known[place] for place in drawn[: steps * _BATCH]]
    waiting: list[Sample] = []
    try:
        for sample in samples:
            waiting.append(sample)
            if len(waiting) == _BATCH:
                yield batch_of(waiting)
                waiting = []
    finally:
        samples.chosen = known


def _auxiliary_loss(samples: Samples, maps: list[Tensor], batch: dict[str, Any]) -> Tensor:
    """Return the detector's loss where its head reads other maps."""
    model: Any = samples.model
    if getattr(model, "criterion", None) is None:
        model.args = getattr(model, "args", None) or get_cfg()  # a YOLO's loss reads its gains there
        model.criterion = model.init_criterion()
    model.training = True  # criteria ask it which outputs a head gives; all but the head stays in evaluation
    for module in model.model[-1].train().modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    try:
        return torch.stack(
            [term.sum() for term in auxiliary_terms(model, samples.recorder, maps, batch).values()]
        ).sum()
    finally:
        model.eval()
