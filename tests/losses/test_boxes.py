"""The IoU family against formulas in float64 written from the papers."""

import math

import numpy as np
import pytest
import torch

from uavdet.losses.boxes import adaptive_expansion, expanded_iou, expanded_siou, giou, iou, siou_penalty


def _corners(box, ratio=1.0):
    cx, cy, w, h = box
    return cx - w * ratio / 2, cy - h * ratio / 2, cx + w * ratio / 2, cy + h * ratio / 2


def _iou(a, b, ratio=1.0):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _corners(a, ratio), _corners(b, ratio)
    overlap = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return overlap / (ratio**2 * (a[2] * a[3] + b[2] * b[3]) - overlap)


def _enclosing(a, b):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _corners(a), _corners(b)
    return max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)


def _giou(a, b):
    width, height = _enclosing(a, b)
    value = _iou(a, b)
    union = (a[2] * a[3] + b[2] * b[3]) / (1 + value)
    return value - (width * height - union) / (width * height)


def _siou_penalty(a, b):
    sx, sy = b[0] - a[0], b[1] - a[1]
    sine = min(abs(sx), abs(sy)) / math.hypot(sx, sy)
    gamma = math.sin(2 * math.asin(sine)) - 2
    width, height = _enclosing(a, b)
    distance = 2 - math.exp(gamma * (sx / width) ** 2) - math.exp(gamma * (sy / height) ** 2)
    shape = sum((1 - math.exp(-abs(a[i] - b[i]) / max(a[i], b[i]))) ** 4 for i in (2, 3))
    return (distance + shape) / 2


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    first = np.concatenate([rng.uniform(0.2, 0.8, (400, 2)), rng.uniform(0.01, 0.3, (400, 2))], 1)
    second = first + rng.normal(0, 0.03, first.shape)
    second[:, 2:] = np.abs(second[:, 2:]) + 0.005
    return first, second


@pytest.mark.parametrize("ratio", [1.0, 1.25, 2.0])
def test_expanded_iou_equals_the_formula(pairs, ratio):
    expected = [_iou(a, b, ratio) for a, b in zip(*pairs, strict=True)]
    given = expanded_iou(*(torch.from_numpy(p) for p in pairs), ratio)
    np.testing.assert_allclose(given.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_giou_equals_the_formula(pairs):
    expected = [_giou(a, b) for a, b in zip(*pairs, strict=True)]
    np.testing.assert_allclose(giou(*(torch.from_numpy(p) for p in pairs)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_expanded_siou_equals_the_formula(pairs):
    expected = [_iou(a, b, 1.25) - _siou_penalty(a, b) for a, b in zip(*pairs, strict=True)]
    np.testing.assert_allclose(expanded_siou(*(torch.from_numpy(p) for p in pairs), 1.25).numpy(), expected, atol=1e-5)


# SO-DETR's own table: boxes of a width, shifted along x, IoU before and after expansion by 1.25.
@pytest.mark.parametrize(
    ("width", "shift", "plain", "expanded"),
    [(8, 2, 0.600, 0.667), (8, 4, 0.333, 0.429), (8, 8, 0.0, 0.111), (96, 2, 0.959, 0.967)],
)
def test_expansion_forgives_offsets_as_published(width, shift, plain, expanded):
    first = torch.tensor([100.0, 100.0, width, width])
    second = torch.tensor([100.0 + shift, 100.0, width, width])
    assert iou(first, second) == pytest.approx(plain, abs=1e-3)
    assert expanded_iou(first, second, 1.25) == pytest.approx(expanded, abs=1e-3)


def test_concentric_boxes_keep_their_iou():
    first, second = torch.tensor([5.0, 5, 2, 4]), torch.tensor([5.0, 5, 3, 3])
    torch.testing.assert_close(expanded_iou(first, second, 1.25), iou(first, second))


@pytest.mark.parametrize("function", [iou, giou, lambda a, b: expanded_siou(a, b, 1.25)])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]),
        ([0.5, 0.5, 0.0, 0.1], [0.5, 0.5, 0.2, 0.0]),
        ([0.1, 0.1, 1e-9, 1e-9], [0.9, 0.9, 1e-9, 1e-9]),
        ([0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]),
        ([0.5, 0.5, 0.2, 0.2], [0.5, 0.9, 0.2, 0.2]),
    ],
)
def test_degenerate_boxes_have_finite_values_and_gradients(function, first, second):
    first = torch.tensor(first, requires_grad=True)
    value = function(first, torch.tensor(second))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(first.grad).all()


def test_equal_boxes_are_perfect():
    box = torch.tensor([0.4, 0.6, 0.05, 0.02])
    assert iou(box, box) == pytest.approx(1, abs=1e-5)
    assert expanded_siou(box, box, 1.25) == pytest.approx(1, abs=1e-5)
    assert siou_penalty(box, box) == pytest.approx(0, abs=1e-5)


def test_no_boxes_give_no_values():
    empty = torch.zeros(0, 4)
    for value in (iou(empty, empty), giou(empty, empty), expanded_siou(empty, empty, torch.zeros(0))):
        assert value.shape == (0,)


def test_half_precision_boxes_are_computed_in_float32():
    box = torch.tensor([0.4, 0.6, 0.05, 0.02], dtype=torch.bfloat16)
    assert giou(box, box).dtype == torch.float32


def test_adaptive_ratio_falls_smoothly_to_one():
    sides = torch.tensor([1.0, 8, 32, 96, 400]) / 640
    boxes = torch.stack([torch.full_like(sides, 0.5)] * 2 + [sides, sides], 1)
    ratio = adaptive_expansion(boxes, (640, 640))
    expected = [1 + 0.25 / (1 + (s / 32) ** 2) for s in (1, 8, 32, 96, 400)]
    torch.testing.assert_close(ratio, torch.tensor(expected))
    assert (ratio[1:] < ratio[:-1]).all()
    forgiven = (ratio - 1) * sides * 640
    assert forgiven.max() <= 4.0 + 1e-4, "never forgives more than four pixels"


def test_adaptive_ratio_counts_pixels_of_a_stretched_image():
    box = torch.tensor([0.5, 0.5, 0.1, 0.1])
    assert adaptive_expansion(box, (640, 320)) == pytest.approx(1 + 0.25 / (1 + 64 * 32 / 1024))
