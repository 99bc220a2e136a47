"""KD-DETR's terms against a formula in float64."""

import math

import numpy as np
import pytest
import torch

from uavdet.methods.kd_detr.losses import point_terms
from uavdet.methods.soft_targets import bernoulli_divergence, softmax_divergence


def _sigmoid(z):
    return 1 / (1 + math.exp(-z))


def _giou(a, b):
    low, high = ([box[i] + sign * box[i + 2] / 2 for box in (a, b) for i in (0, 1)] for sign in (-1, 1))
    overlap = math.prod(max(0.0, min(high[i], high[i + 2]) - max(low[i], low[i + 2])) for i in (0, 1))
    union = a[2] * a[3] + b[2] * b[3] - overlap
    hull = math.prod(max(high[i], high[i + 2]) - min(low[i], low[i + 2]) for i in (0, 1))
    return overlap / union - (hull - union) / hull


def _bernoulli(s, t):
    s, t = np.array([_sigmoid(z) for z in s]), np.array([_sigmoid(z) for z in t])
    return (t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))).sum()


def _softmax(s, t):
    s, t = np.exp(s) / np.exp(s).sum(), np.exp(t) / np.exp(t).sum()
    return (t * np.log(t / s)).sum()


def answers(seed, images=2, points=5, classes=3):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(images, points, 4, generator=generator) * 0.3 + 0.2
    return boxes, torch.randn(images, points, classes, generator=generator) * 2


@pytest.mark.parametrize(
    ("divergence", "formula"), [(bernoulli_divergence, _bernoulli), (softmax_divergence, _softmax)]
)
def test_the_terms_equal_the_formula(divergence, formula):
    student, teacher, weight = answers(0), answers(1), torch.rand(2, 5)
    expected = np.zeros(3)
    for image in range(2):
        for point in range(5):
            box, z = (part[image, point].double().numpy() for part in student)
            wanted, t = (part[image, point].double().numpy() for part in teacher)
            expected += float(weight[image, point]) * np.array(
                [formula(z, t), abs(box - wanted).sum(), 1 - _giou(box, wanted)]
            )
    given = point_terms(student, teacher, weight, divergence)
    np.testing.assert_allclose(given.numpy(), expected, rtol=1e-5)


def test_equal_answers_have_no_distance_and_no_points_no_loss():
    student = answers(0)
    assert point_terms(student, student, torch.ones(2, 5), bernoulli_divergence).abs().max() < 1e-5
    assert point_terms(answers(0), answers(1), torch.zeros(2, 5), bernoulli_divergence).abs().max() == 0
    empty = answers(0, points=0)
    assert point_terms(empty, empty, torch.ones(2, 0), bernoulli_divergence).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_answers_give_finite_losses_and_gradients(dtype):
    boxes, logits = answers(0)
    boxes[..., 2:] = 0
    boxes, logits = boxes.to(dtype).requires_grad_(), torch.full_like(logits, 50.0, dtype=dtype).requires_grad_()
    wanted = answers(1)[0], torch.full_like(answers(1)[1], -50.0)
    total = point_terms((boxes, logits), wanted, torch.ones(2, 5), bernoulli_divergence).sum()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(boxes.grad).all()
    assert torch.isfinite(logits.grad).all()
