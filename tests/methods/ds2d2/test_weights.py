"""Density-independent scale weights against a loop over boxes, in pixels."""

import math

import pytest
import torch

from uavdet.methods.ds2d2.weights import object_weights

SIDE = 1024  # a power of two: corners in pixels and normalised ones are the same numbers


def looped(boxes, image, images, shape, gamma):
    """Add up the share of every box in every cell of its rectangle, corners in pixels."""
    h, w = shape
    weights = torch.ones(images, 1, h, w, dtype=torch.float64)
    for (cx, cy, width, height), index in zip(boxes.double().tolist(), image.tolist(), strict=True):
        x1, y1 = (cx - width / 2) * SIDE, (cy - height / 2) * SIDE
        x2, y2 = (cx + width / 2) * SIDE, (cy + height / 2) * SIDE
        left, top = max(0, math.floor(x1 * w / SIDE)), max(0, math.floor(y1 * h / SIDE))
        right, bottom = min(w - 1, math.ceil(x2 * w / SIDE)), min(h - 1, math.ceil(y2 * h / SIDE))
        area = (right - left + 1) * (bottom - top + 1)
        weights[int(index), 0, top : bottom + 1, left : right + 1] += gamma / area
    return weights


def random_boxes(count, images=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, SIDE - 1, (count, 2), generator=generator)
    sides = torch.randint(1, 200, (count, 2), generator=generator).minimum(SIDE - corners)
    boxes = torch.cat([corners + sides / 2, sides], 1) / SIDE
    return boxes, torch.randint(0, images, (count,), generator=generator)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (20, 40), (13, 7)])
@pytest.mark.parametrize(("count", "gamma"), [(0, 1.0), (1, 1.0), (300, 1.0), (300, 0.0), (1000, 25.0)])
def test_the_sums_equal_the_loop(shape, count, gamma):
    boxes, image = random_boxes(count)
    weights = object_weights(boxes, image, 4, shape, gamma)
    assert weights.dtype is torch.float32
    torch.testing.assert_close(weights.double(), looped(boxes, image, 4, shape, gamma), rtol=1e-6, atol=1e-6)


def test_every_object_adds_one_at_every_level():
    boxes, image = random_boxes(300)
    counts = torch.bincount(image, minlength=4).double()
    for shape in ((80, 80), (40, 40), (20, 20), (10, 10)):
        added = object_weights(boxes, image, 4, shape).double().sum((1, 2, 3)) - shape[0] * shape[1]
        torch.testing.assert_close(added, counts, rtol=1e-3, atol=1e-3)


def test_a_thousand_boxes_leave_no_rest_beside_them():
    boxes = torch.tensor([[0.25, 0.25, 0.1, 0.1]]).repeat(1000, 1)
    weights = object_weights(boxes, torch.zeros(1000), 1, (64, 64))
    assert weights[0, 0, 40:, 40:].eq(1).all()


@pytest.mark.parametrize(
    "box",
    [(1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5), (1.0, 0.5, 0.5, 2.0), (0.5, 0.5, 0.0, 0.0), (1.2, 0.5, 0.1, 0.1)],
)
def test_boxes_at_and_beyond_the_border_stay_in_the_map(box):
    weights = object_weights(torch.tensor([box]), torch.zeros(1), 1, (4, 6))
    assert weights.min() >= 1
    assert weights.double().sum() - 24 == pytest.approx(1, abs=1e-5)


def test_cells_in_ignored_regions_do_not_count():
    boxes, image = random_boxes(20, 2)
    regions = torch.tensor([[[0.0, 0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    weights, plain = (object_weights(boxes, image, 2, (8, 8), 1.0, r) for r in (regions, None))
    assert weights[0, 0, :, :4].eq(0).all()
    assert torch.equal(weights[0, 0, :, 4:], plain[0, 0, :, 4:])
    assert torch.equal(weights[1], plain[1])
