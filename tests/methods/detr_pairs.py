"""Small students and teachers for the tests of methods that compare the decoders of two DETRs."""

import cv2
import torch
from torch import nn

from tests.batches import make_batch
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.engine.checkpoint import Checkpoint, describe_model, save_checkpoint
from uavdet.engine.families import build_model, load_model_config
from uavdet.methods.extras import StudentExtras
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.teacher import TeacherPool

NAMES = {0: "person", 1: "car"}


def build(name="rtdetr-n.yaml", seed=0, queries=30, names=NAMES):
    """Return a detector with random weights, its denoising queries few."""
    torch.manual_seed(seed)
    model = build_model(load_model_config(name), nc=len(names), queries=queries)
    model.names = dict(names)
    return model


def scenes(count=3, side=128):
    """Return the images of small synthetic scenes, (count, 3, side, side)."""
    config = {"size": (160, 128), "objects": 8, "min_size": 8, "max_size": 40}
    frames = [Scene(SceneConfig(seed=seed, **config)).render(0).image for seed in range(count)]
    return torch.stack([torch.from_numpy(cv2.resize(f, (side, side))).permute(2, 0, 1) / 255 for f in frames])


@torch.no_grad()
def fit_statistics(model, images):
    """Give a random detector the statistics of its features of some images, and leave it in evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    model.train()
    model.predict(images)
    model.eval()


@torch.no_grad()
def sharpen(model, images, seed=0):
    """Give a random detector opinions on some images: it is sure of a quarter of its queries, and moves its anchors."""
    generator = torch.Generator().manual_seed(seed)
    head = model.model[-1]
    fit_statistics(model, images)
    for scores in (head.enc_score_head, *head.dec_score_head):
        scores.weight.normal_(0, 0.5, generator=generator)
    for boxes in (head.enc_bbox_head, *head.dec_bbox_head):
        boxes.layers[-1].weight.normal_(0, 0.1, generator=generator)
    model.train()
    _, logits, _, _, _ = model.predict(images)
    for scores, layer in zip(head.dec_score_head, logits, strict=True):
        scores.bias -= layer.amax(-1).quantile(0.75)
    return model.eval()


def save(model, file):
    """Write a detector as a checkpoint."""
    return save_checkpoint(Checkpoint(model.state_dict(), describe_model(model)), file)


def save_teacher(folder, name="rtdetr-n.yaml", seed=7, images=None, **settings):
    """Write a teacher with random weights, and with opinions on some images if they are given."""
    model = build(name, seed, **settings)
    if images is not None:
        sharpen(model, images, seed)
    return save(model, folder / f"teacher-{seed}-{name}.pt")


class Mounting:
    """What a method asks of a trainer while it gets ready."""

    def __init__(self, model, names=NAMES):
        self.model = model
        self.teachers = TeacherPool(names)
        self.student_extras = StudentExtras()
        self.recorder = None

    def student_features(self):
        self.recorder = self.recorder or FeatureRecorder(self.model)
        return self.recorder


def mount(method, model, **settings):
    """Return a method, ready for a student."""
    ready = method(method.Args(**settings))
    ready.prepare(Mounting(model))
    return ready


def scene_batch(images=3, side=64, boxes=2, seed=0):
    """Return a batch of noise with some boxes in every image."""
    return make_batch((boxes,) * images, side, len(NAMES), seed)


def with_region(batch, image, box):
    """Return a batch with one ignored region, xyxy divided by the image size."""
    return {**batch, "ignore_bboxes": torch.tensor([box]), "ignore_batch_idx": torch.tensor([float(image)])}


def freeze_statistics(model):
    """Let a model in training mode use its running statistics, as an evaluated teacher does."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def add(losses):
    """Return the sum of a method's losses."""
    return sum(losses.values())
