"""Detectors with SET mounted on them, as a trainer does it, for the tests of the method."""

import copy
import functools
from types import SimpleNamespace

import torch
from ultralytics.cfg import get_cfg

from tests.batches import make_batch
from tests.methods.detr_pairs import Mounting, build, scenes, sharpen
from tests.methods.ds2d2.pairs import warm_up
from uavdet.methods.outputs import is_detr
from uavdet.methods.spectral_enhancement import SpectralEnhancement


def network(name="rtdetr-n.yaml"):
    """Return a detector with opinions on some scenes, in training mode."""
    return copy.deepcopy(_made(name))


@functools.cache
def _made(name):
    model = build(name, queries=None if "yolo" in name else 20)
    model.args = get_cfg()
    (sharpen if is_detr(model) else warm_up)(model, scenes(2, 64))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1
    return model.train()


def mount(model, side=64, epoch=0, epochs=1, **settings):
    """Return the method, mounted on a detector and in some epoch; it perturbs from the first one."""
    if settings.get("perturbation", True):
        settings = {"start_epoch": 0, **settings}
    method, trainer = SpectralEnhancement(SpectralEnhancement.Args(**settings)), Mounting(model)
    trainer.args = SimpleNamespace(imgsz=side)
    method.prepare(trainer)
    model.auxiliary_losses.functions.append(method.losses)
    model.student_extras = trainer.student_extras
    method.epoch_start(epoch, epochs)
    return method


def batch_of(counts=(3, 2), side=64, seed=0):
    """Return a batch of scenes with some boxes in the top left quarter of each: background is left at every level."""
    batch = make_batch(counts, side, seed=seed)
    batch["bboxes"][:, :2] /= 2
    return {**batch, "img": scenes(len(counts), side)}


def step(model, method, batch, seed=0):
    """Return the method's losses and the model's own terms, after its forward pass; denoising is drawn by `seed`."""
    torch.manual_seed(seed)
    outputs = model.training_outputs(batch)
    model.plain_loss(batch, outputs)
    return method.losses(model, batch, outputs), model.loss_terms


def numbers(losses):
    """Return losses as numbers, by name."""
    return {name: loss.item() for name, loss in losses.items()}


def norm_buffers(module):
    """Return what batch normalisation layers remember, by name."""
    return {name: value.clone() for name, value in module.named_buffers()}
