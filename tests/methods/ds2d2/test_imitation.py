"""The imitation loss against its formula in float64."""

import math

import pytest
import torch

from uavdet.methods.ds2d2.imitation import HeadPredictions, imitation_loss


def predictions(seed, count=12, sides=True):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(2, count, 4, generator=generator) * 0.4 + 0.2
    logits = torch.randn(2, count, 3, generator=generator) * 3
    return HeadPredictions(logits, boxes, boxes if sides else None)


def generalised_iou(a, b):
    ax1, ay1, ax2, ay2 = a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2
    bx1, by1, bx2, by2 = b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2
    overlap = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    union = a[2] * a[3] + b[2] * b[3] - overlap
    enclosing = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return overlap / union - (enclosing - union) / enclosing


def written_out(student, teacher, takes_part):
    total = count = 0.0
    for image, query in takes_part.nonzero().tolist():
        best = 0.0
        for z, s in zip(teacher.logits[image, query].tolist(), student.logits[image, query].tolist(), strict=True):
            p, q = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(-s))
            total += abs(q - p) * -(p * math.log(q) + (1 - p) * math.log(1 - q))
            best = max(best, p)
        a, b = student.boxes[image, query].tolist(), teacher.boxes[image, query].tolist()
        total += best * (1 - generalised_iou(a, b))
        if student.sides is not None:
            total += best * sum(abs(x - y) for x, y in zip(a, b, strict=True))
        count += best
    return total / max(1.0, count)


@pytest.mark.parametrize("sides", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_it_is_the_written_out_sum(share, sides):
    student, teacher = predictions(0, sides=sides), predictions(1, sides=sides)
    takes_part = torch.rand(2, 12, generator=torch.Generator().manual_seed(2)) < share
    loss = imitation_loss(student, teacher, takes_part)
    assert loss.item() == pytest.approx(written_out(student, teacher, takes_part), rel=1e-5, abs=1e-9)


def test_equal_predictions_have_no_distance_and_no_gradient():
    teacher = predictions(0)
    logits, boxes = teacher.logits.clone().requires_grad_(), teacher.boxes.clone().requires_grad_()
    loss = imitation_loss(HeadPredictions(logits, boxes, boxes), teacher, torch.ones(2, 12, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max() == 0
    assert boxes.grad.abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_logits_in_half_precision_are_finite(dtype):
    logits = torch.tensor([[[1e3, -1e3], [-1e3, 1e3]]], dtype=dtype).requires_grad_()
    boxes = torch.tensor([[[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 1.0, 1.0]]])
    teacher = HeadPredictions(-logits.detach(), boxes.flip(1))
    loss = imitation_loss(HeadPredictions(logits, boxes), teacher, torch.ones(1, 2, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
