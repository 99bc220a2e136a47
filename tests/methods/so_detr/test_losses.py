"""SO-DETR's distillation loss against its formula in float64."""

import math

import numpy as np
import pytest
import torch

from tests.methods.detr_pairs import with_region
from uavdet.methods.outputs import DETROutputs
from uavdet.methods.so_detr import SODETRDistillation

LAYERS, IMAGES, QUERIES, CLASSES = 2, 3, 6, 4


def _esiou(p, g, ratio):
    """Return the expanded SIoU of two boxes (cx, cy, w, h)."""
    reach = [min(p[i] + ratio * p[i + 2] / 2, g[i] + ratio * g[i + 2] / 2) for i in (0, 1)]
    start = [max(p[i] - ratio * p[i + 2] / 2, g[i] - ratio * g[i + 2] / 2) for i in (0, 1)]
    overlap = max(0.0, reach[0] - start[0]) * max(0.0, reach[1] - start[1])
    eiou = overlap / (ratio**2 * (p[2] * p[3] + g[2] * g[3]) - overlap)
    sx, sy = g[0] - p[0], g[1] - p[1]
    gamma = math.sin(2 * math.asin(min(abs(sx), abs(sy)) / math.hypot(sx, sy))) - 2
    cw, ch = (
        max(p[i] + p[i + 2] / 2, g[i] + g[i + 2] / 2) - min(p[i] - p[i + 2] / 2, g[i] - g[i + 2] / 2) for i in (0, 1)
    )
    distance = 2 - math.exp(gamma * (sx / cw) ** 2) - math.exp(gamma * (sy / ch) ** 2)
    shape = sum((1 - math.exp(-abs(p[i] - g[i]) / max(p[i], g[i]))) ** 4 for i in (2, 3))
    return eiou - (distance + shape) / 2


def _sigmoid(z):
    return 1 / (1 + math.exp(-z))


def _terms(student, teacher, pairs, count, *, entropy=True, ratio=1.25):
    """Return class, L1 and box terms of the last layer, summed over (image, student query, teacher query)."""
    (boxes, logits), (wanted, wanted_logits) = (
        (outputs.boxes[-1].double().numpy(), outputs.logits[-1].double().numpy()) for outputs in (student, teacher)
    )
    classes = l1 = box = 0.0
    for image, query, other in pairs:
        for z, t in zip(logits[image, query], map(_sigmoid, wanted_logits[image, other]), strict=True):
            classes -= t * math.log(_sigmoid(z)) + (1 - t) * math.log(1 - _sigmoid(z))
            classes += 0 if entropy else t * math.log(t) + (1 - t) * math.log(1 - t)
        p = max(map(_sigmoid, wanted_logits[image, other]))
        b, w = boxes[image, query], wanted[image, other]
        l1 += p * abs(b - w).sum()
        box += (p**2 if p < 0.5 else math.sqrt(p)) * (1 - _esiou(b, w, ratio))
    return np.array([classes, l1, box]) / count


def predict(seed, images=IMAGES, queries=QUERIES):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(LAYERS, images, queries, 4, generator=generator) * 0.3 + 0.2
    logits = torch.randn(LAYERS, images, queries, CLASSES, generator=generator) * 2
    return DETROutputs(boxes, logits, boxes[0], logits[0])


def head_outputs(outputs, denoising=2):
    """Return what a head in training gives, with denoising queries in front."""
    queries = outputs.boxes.shape[2]
    boxes, logits = (
        torch.cat([torch.full_like(t[:, :, :denoising], 0.9), t], 2) for t in (outputs.boxes, outputs.logits)
    )
    return boxes, logits, outputs.encoder_boxes, outputs.encoder_logits, {"dn_num_split": [denoising, queries]}


class Answering:
    """A teacher with given predictions."""

    def __init__(self, outputs):
        self.outputs = outputs

    def see(self, batch):
        return self


def batch_of(images=IMAGES, boxes=5):
    return {"img": torch.rand(images, 3, 8, 8), "cls": torch.zeros(boxes, 1)}


def losses(student, teacher, batch=None, **settings):
    method = SODETRDistillation(SODETRDistillation.Args(**settings))
    method.teacher = Answering(teacher)
    given = method.losses(None, batch or batch_of(student.boxes.shape[1]), head_outputs(student))
    return torch.stack(list(given.values()))


@pytest.mark.parametrize(("boxes", "count"), [(5, 5), (0, 1), (1, 1), (1000, 1000)])
def test_the_release_is_reproduced(boxes, count):
    student, teacher = predict(0), predict(1)
    pairs = [(IMAGES - 1, query, query) for query in range(QUERIES)]
    expected = 0.1 * IMAGES * _terms(student, teacher, pairs, count) * (1, 5, 2)
    given = losses(student, teacher, batch_of(boxes=boxes), pairing="index", images="last", weight="0.1")
    np.testing.assert_allclose(given.numpy(), expected, rtol=1e-5)


def test_all_images_are_the_mean_of_the_release_over_which_is_last():
    student, teacher = predict(0), predict(1)
    turned = [
        losses(
            *(
                DETROutputs(o.boxes.roll(k, 1), o.logits.roll(k, 1), o.boxes[0], o.logits[0])
                for o in (student, teacher)
            ),
            pairing="index",
            images="last",
        )
        for k in range(IMAGES)
    ]
    given = losses(student, teacher, pairing="index", entropy=True)
    torch.testing.assert_close(given, torch.stack(turned).mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("expansion", [1.0, 1.25, 1.5])
def test_the_default_compares_what_corresponds(expansion):
    student = predict(0)
    teacher = DETROutputs(
        (student.boxes + 0.01).flip(2), (student.logits * 1.1).flip(2), student.encoder_boxes, student.encoder_logits
    )
    pairs = [(image, query, QUERIES - 1 - query) for image in range(IMAGES) for query in range(QUERIES)]
    expected = 0.1 * _terms(student, teacher, pairs, 5, entropy=False, ratio=expansion) * (1, 5, 2)
    given = losses(student, teacher, expansion=expansion)
    np.testing.assert_allclose(given.numpy(), expected, rtol=2e-3, atol=1e-6)


def test_all_layers_add_up_from_the_end():
    student, teacher = predict(0), predict(1)
    deep = DETROutputs(
        torch.cat([teacher.boxes[:1] * 0.5, teacher.boxes]),
        torch.cat([teacher.logits[:1], teacher.logits]),
        *[None] * 2,
    )
    both = losses(student, deep, layers="all", pairing="index")
    first = DETROutputs(student.boxes[:1], student.logits[:1], None, None)
    wanted = DETROutputs(teacher.boxes[:1], teacher.logits[:1], None, None)
    torch.testing.assert_close(both, losses(student, teacher, pairing="index") + losses(first, wanted, pairing="index"))


@pytest.mark.parametrize("layers", ["last", "all"])
def test_equal_networks_have_no_distance_in_whatever_order(layers):
    student = predict(0)
    order = torch.randperm(QUERIES, generator=torch.Generator().manual_seed(2))
    teacher = DETROutputs(student.boxes[:, :, order], student.logits[:, :, order], None, None)
    assert losses(student, teacher, layers=layers).abs().max() < 1e-6


def test_with_the_entropy_its_floor_is_the_entropy():
    student = predict(0)
    p = student.logits[-1].double().sigmoid()
    floor = -(p * p.log() + (1 - p) * (1 - p).log()).sum() / 5
    given = losses(student, student, weight=1, entropy=True)
    torch.testing.assert_close(given, torch.tensor([floor, 0, 0]).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pairing", ["hungarian", "index"])
def test_the_order_of_a_batch_does_not_matter(pairing):
    student, teacher = predict(0), predict(1)
    turned = [DETROutputs(o.boxes.flip(1), o.logits.flip(1), None, None) for o in (student, teacher)]
    torch.testing.assert_close(losses(student, teacher, pairing=pairing), losses(*turned, pairing=pairing))


@pytest.mark.parametrize("pairing", ["hungarian", "index"])
def test_teacher_queries_in_an_ignored_region_take_no_part(pairing):
    student, teacher = predict(0), predict(1)
    teacher.boxes[:, 1, 2] = torch.tensor([0.9, 0.9, 0.05, 0.05])
    region = with_region(batch_of(), 1, [0.85, 0.85, 1.0, 1.0])
    elsewhere = with_region(batch_of(), 1, [0.0, 0.0, 0.01, 0.01])
    plain = losses(student, teacher, pairing=pairing)
    torch.testing.assert_close(losses(student, teacher, elsewhere, pairing=pairing), plain)
    within = losses(student, teacher, region, pairing=pairing)
    assert not torch.allclose(within, plain)
    teacher.boxes[:, 1, 2] += 0.01
    teacher.logits[:, 1, 2] += 1
    torch.testing.assert_close(losses(student, teacher, region, pairing=pairing), within)
    everything = with_region(batch_of(1), 0, [0.0, 0.0, 1.0, 1.0])
    assert losses(predict(0, images=1), predict(1, images=1), everything, pairing=pairing).abs().max() == 0


@pytest.mark.parametrize(("students", "teachers"), [(4, 9), (9, 4)])
@pytest.mark.parametrize("pairing", ["hungarian", "index"])
def test_numbers_of_queries_may_differ(students, teachers, pairing):
    given = losses(predict(0, queries=students), predict(1, queries=teachers), pairing=pairing)
    assert torch.isfinite(given).all()
    assert (given > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_predictions_give_finite_losses_and_gradients(dtype, sign):
    student, teacher = predict(0), predict(1)
    boxes, logits = student.boxes.to(dtype), torch.full_like(student.logits, 50.0 * sign, dtype=dtype)
    boxes[:, 0, 0, 2:] = 0
    boxes.requires_grad_()
    logits.requires_grad_()
    wanted = DETROutputs(teacher.boxes, torch.full_like(teacher.logits, -50.0 * sign), None, None)
    with torch.autocast("cpu", torch.bfloat16 if dtype is torch.float32 else dtype):
        total = losses(DETROutputs(boxes, logits, boxes[0], logits[0]), wanted, weight=1).sum()
    assert total.dtype == torch.float32
    total.backward()
    assert torch.isfinite(total)
    for leaf in (boxes, logits):
        assert torch.isfinite(leaf.grad).all()


def test_gradients_pull_towards_the_teacher_and_only_in_the_layers_that_learn():
    student, teacher = predict(0), predict(1)
    boxes, logits = student.boxes.requires_grad_(), student.logits.requires_grad_()
    losses(student, teacher).sum().backward()
    assert boxes.grad[0].abs().max() == logits.grad[0].abs().max() == 0
    assert (boxes.grad[-1].abs().amax((1, 2)) > 0).all()
    assert (logits.grad[-1].abs().amax((1, 2)) > 0).all()
    assert teacher.boxes.grad is None


class Blind:
    """A teacher that must not be asked."""

    def see(self, batch):
        raise AssertionError("the teacher was asked")


@pytest.mark.parametrize(
    ("settings", "epoch", "share"),
    [
        ({}, 0, 1.0),
        ({}, 5, 0.5),
        ({}, 9, 0.1),
        ({"weight": "0.1:constant"}, 9, 1.0),
        ({"weight": "0.1:constant:4:8"}, 3, 0.0),
        ({"weight": "0.1:cosine"}, 5, 0.5),
        ({"weight": 0}, 0, 0.0),
    ],
)
def test_the_weight_follows_its_schedule(settings, epoch, share):
    student, teacher = predict(0), predict(1)
    full = losses(student, teacher, weight=0.1)
    method = SODETRDistillation(SODETRDistillation.Args(**settings))
    method.teacher = Answering(teacher) if share else Blind()
    method.epoch_start(epoch, 10)
    student.boxes.requires_grad_()
    given = method.losses(None, batch_of(), head_outputs(student))
    assert list(given) == ["so_detr_kd_class_loss", "so_detr_kd_l1_loss", "so_detr_kd_box_loss"]
    torch.testing.assert_close(torch.stack(list(given.values())), full * share)
    assert sum(given.values()).requires_grad


def test_without_outputs_there_is_no_loss():
    method = SODETRDistillation(SODETRDistillation.Args())
    assert sum(method.losses(None, batch_of(), None).values()) == 0


@pytest.mark.parametrize("term", ["class", "l1", "box"])
def test_each_term_has_a_weight_of_its_own(term):
    student, teacher = predict(0), predict(1)
    names = ["class", "l1", "box"]
    plain, changed = losses(student, teacher), losses(student, teacher, **{f"{term}_weight": 0})
    for index, name in enumerate(names):
        assert changed[index] == (0 if name == term else plain[index])
