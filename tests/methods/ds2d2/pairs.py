"""Small students, teachers and amplifiers for the tests of spectral distillation."""

from types import SimpleNamespace

import torch

from tests.batches import make_labels
from tests.methods.detr_pairs import NAMES, Mounting, build, fit_statistics, save, scenes, sharpen
from uavdet.methods.ds2d2 import DS2D2
from uavdet.methods.ds2d2.amplifier_file import mark_amplifier
from uavdet.methods.ds2d2.wavelet import find_wavelet
from uavdet.nn.detector import targets_from_batch


class Trainer(Mounting):
    """What the method asks of a trainer while it gets ready."""

    def __init__(self, model, side=64):
        super().__init__(model)
        self.args, self.device = SimpleNamespace(imgsz=side), torch.device("cpu")


PLAN = SimpleNamespace(options={"multi_scale": 0.0, "rect": False, "imgsz": 64}, methods=[None])


def mount(model, side=64, **settings):
    """Return the method, checked and ready for a student, and its trainer."""
    method, trainer = DS2D2(DS2D2.Args(**settings)), Trainer(model, side)
    method.check(PLAN, trainer.teachers)
    method.prepare(trainer)
    return method, trainer


def student_outputs(model, batch):
    """Return what a student says of a batch, denoising queries included."""
    if hasattr(model.model[-1], "query_pos_head"):
        return model.predict(batch["img"], batch=targets_from_batch(batch))
    return model.predict(batch["img"])


def losses(method, model, batch):
    """Return the method's losses after a training pass of the student."""
    return method.losses(model, batch, student_outputs(model, batch))


@torch.no_grad()
def warm_up(model, images):
    """Give a random YOLO statistics that fit its features, and opinions on some images."""
    fit_statistics(model, images)
    head = model.model[-1]
    for boxes, scores in zip(head.cv2, head.cv3, strict=True):
        boxes[-1].weight.normal_(0, 0.05)
        scores[-1].weight.normal_(0, 0.2)
        scores[-1].bias.fill_(-2.0)
    return model


def save_teacher(folder, name="rtdetr-n.yaml", seed=7, images=None, wavelet=None, padding="replicate"):
    """Write a teacher with opinions, or with `wavelet` an amplifier of that teacher."""
    images = scenes(4, 64) if images is None else images
    model = build(name, seed)
    (sharpen if hasattr(model.model[-1], "query_pos_head") else warm_up)(model, images)
    if wavelet:
        mark_amplifier(model, find_wavelet(wavelet, padding))
        torch.manual_seed(seed + 1)
        for key, weight in model.model[-1].named_parameters():
            if not key.startswith("input_proj"):
                weight.data += 0.02 * torch.randn_like(weight)
    return save(model, folder / f"{'amplifier' if wavelet else 'teacher'}-{seed}-{name}-{wavelet}.pt")


def batch_of(images, boxes=3, seed=0):
    """Return a batch of images with some boxes in each."""
    generator = torch.Generator().manual_seed(seed)
    return {"img": images, **make_labels((boxes,) * len(images), len(NAMES), generator)}
