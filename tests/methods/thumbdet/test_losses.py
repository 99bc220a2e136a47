"""ThumbDet's losses against their formulas, written out in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from uavdet.methods.soft_targets import bernoulli_divergence, softmax_divergence
from uavdet.methods.thumbdet.losses import feature_distance, logit_distance, moment_distance

# Moments -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [0.0, 0.1, 100.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_moments_are_those_of_equation_5(variance, batch):
    generator = np.random.default_rng(0)
    image, thumbnail = generator.random((batch, 3, 8, 12)), generator.random((batch, 3, 2, 3))
    expected = 0.0
    for x, y in zip(image, thumbnail, strict=True):
        for c in range(3):
            means = (x[c].sum() / 96 - y[c].sum() / 6) ** 2
            spread_x = ((x[c] - x[c].mean()) ** 2).sum() / 95
            spread_y = ((y[c] - y[c].mean()) ** 2).sum() / 5
            expected += (means + variance * (spread_x - spread_y) ** 2) / 3 / batch
    given = moment_distance(torch.from_numpy(image), torch.from_numpy(thumbnail), variance)
    assert float(given) == pytest.approx(expected, rel=1e-12)


def test_moments_of_the_same_pixels_agree_in_any_order():
    image = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    shuffled = image.flatten(2)[..., torch.randperm(64)].view_as(image)
    assert float(moment_distance(image, shuffled, 0.1)) < 1e-24


def test_moments_do_not_depend_on_the_order_of_a_batch():
    image, thumbnail = torch.rand(3, 3, 8, 8, dtype=torch.float64), torch.rand(3, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(
        moment_distance(image, thumbnail, 1), moment_distance(image.flip(0), thumbnail.flip(0), 1)
    )


# Logits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("pairs", [1, 7])
def test_logits_are_bernoulli_divergences_a_pair(temperature, pairs):
    generator = np.random.default_rng(1)
    student, teacher = generator.normal(size=(pairs, 4)) * 3, generator.normal(size=(pairs, 4)) * 3
    expected = 0.0
    for s, t in zip(student.ravel() / temperature, teacher.ravel() / temperature, strict=True):
        p, q = 1 / (1 + math.exp(-t)), 1 / (1 + math.exp(-s))
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        expected += -p * math.log(q) - (1 - p) * math.log(1 - q) - entropy
    given = logit_distance(
        torch.from_numpy(student),
        torch.from_numpy(teacher),
        lambda a, b: bernoulli_divergence(a, b, temperature),
        pairs,
    )
    assert float(given) == pytest.approx(expected / pairs, rel=1e-5)


def test_the_softmax_form_is_the_paper_s():
    generator = np.random.default_rng(2)
    student, teacher = generator.normal(size=(5, 4)), generator.normal(size=(5, 4))
    p, q = (np.exp(z / 2) / np.exp(z / 2).sum(-1, keepdims=True) for z in (teacher, student))
    expected = (p * np.log(p / q)).sum() / 5
    given = logit_distance(
        torch.from_numpy(student), torch.from_numpy(teacher), lambda a, b: softmax_divergence(a, b, 2.0), 5
    )
    assert float(given) == pytest.approx(expected, rel=1e-5)


def test_no_pairs_give_a_zero_that_depends_on_the_student():
    student = torch.rand(4, 3, requires_grad=True)
    distance = logit_distance(student[:0], torch.rand(0, 3), bernoulli_divergence, 1.0)
    distance.backward()
    assert distance == 0
    assert (student.grad == 0).all()


# Features ------------------------------------------------------------------------------------------------------------


def bilinear(maps, height, width):
    """Enlarge (C, h, w) to (C, height, width): pixel centres aligned, borders repeated."""
    out = np.zeros((maps.shape[0], height, width))
    for i in range(height):
        for j in range(width):
            y = max((i + 0.5) * maps.shape[1] / height - 0.5, 0)
            x = max((j + 0.5) * maps.shape[2] / width - 0.5, 0)
            top, left = int(y), int(x)
            down, right = min(top + 1, maps.shape[1] - 1), min(left + 1, maps.shape[2] - 1)
            upper = maps[:, top, left] * (1 - x + left) + maps[:, top, right] * (x - left)
            lower = maps[:, down, left] * (1 - x + left) + maps[:, down, right] * (x - left)
            out[:, i, j] = upper * (1 - y + top) + lower * (y - top)
    return out


def levels(seed, sizes, channels=(3, 5)):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(2, c, *size)) for c, size in zip(channels, sizes, strict=True)]


def as_tensors(maps):
    return [torch.from_numpy(level) for level in maps]


def test_features_are_those_of_equation_8():
    student, teacher = levels(0, [(4, 3), (2, 2)]), levels(1, [(8, 6), (4, 4)])
    means = []
    for s, t in zip(student, teacher, strict=True):
        enlarged = np.stack([bilinear(image, *t.shape[2:]) for image in s])
        means.append(((enlarged - t) ** 2).mean())
    given = feature_distance(as_tensors(student), as_tensors(teacher))
    assert float(given) == pytest.approx(sum(means) / 2, rel=1e-12)


def test_cells_in_ignored_regions_are_left_out():
    student, teacher = levels(2, [(4, 4), (2, 2)]), levels(3, [(8, 8), (4, 4)])
    regions = torch.tensor([[[0.0, 0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0, 0.0]]])  # the left half of the first image
    means = []
    for s, t in zip(student, teacher, strict=True):
        enlarged = F.interpolate(torch.from_numpy(s), t.shape[2:], mode="bilinear").numpy()
        squares = (enlarged - t) ** 2
        half = t.shape[3] // 2
        kept = np.concatenate([squares[0, :, :, half:].ravel(), squares[1].ravel()])
        means.append(kept.mean())
    given = feature_distance(as_tensors(student), as_tensors(teacher), regions)
    assert float(given) == pytest.approx(sum(means) / 2, rel=1e-12)


def test_a_batch_that_is_ignored_throughout_gives_a_zero_that_depends_on_the_student():
    student = [torch.rand(1, 3, 2, 2, requires_grad=True)]
    distance = feature_distance(student, [torch.rand(1, 3, 4, 4)], torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))
    distance.backward()
    assert distance == 0
    assert (student[0].grad == 0).all()


def test_equal_features_agree():
    maps = [torch.rand(2, 3, 8, 8, dtype=torch.float64)]
    assert feature_distance(maps, maps) == 0


def test_half_precision_is_compared_in_float32():
    maps = [torch.rand(1, 3, 8, 8, dtype=torch.bfloat16)]
    assert feature_distance(maps, [level * 2 for level in maps]).dtype == torch.float32
