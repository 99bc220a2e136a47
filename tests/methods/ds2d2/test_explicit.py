"""The explicit losses against sums over blocks in float64, and against the energies that they reduce to."""

import pytest
import torch

from uavdet.methods.ds2d2.explicit import align, channel_scale, explicit_losses
from uavdet.methods.ds2d2.wavelet import find_wavelet
from uavdet.methods.ds2d2.weights import object_weights

HAAR = find_wavelet("haar")


def level(size, seed, channels=4):
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed))


def ones(shape):
    return torch.ones(2, 1, *shape)


def losses(student, teacher, weights=ones, normalise=False, wavelet=HAAR):
    return explicit_losses([student], [teacher], weights, wavelet, normalise=normalise)


def test_without_weights_they_are_energies():
    student, teacher = level((8, 6), 0), level((8, 6), 1)
    low, high = HAAR.decompose((student - teacher).double())
    count = student.numel()
    for loss, expected in zip(
        losses(student, teacher), (4 * low.square().sum() / count, 4 / 3 * high.square().sum() / count), strict=True
    ):
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    total = 3 * losses(student, teacher)[1] / 4 + losses(student, teacher)[0] / 4
    assert total.item() == pytest.approx((student - teacher).square().mean().item(), rel=1e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_they_are_the_written_out_sums(normalise):
    sizes = [(8, 8), (5, 4)]
    students, teachers = ([level(size, seed + place) for place, size in enumerate(sizes)] for seed in (0, 10))
    boxes, image = torch.tensor([[0.3, 0.4, 0.2, 0.5], [0.7, 0.7, 0.1, 0.1]]), torch.tensor([0, 1])
    given = explicit_losses(
        students, teachers, lambda shape: object_weights(boxes, image, 2, shape), HAAR, normalise=normalise
    )
    low = high = 0.0
    for student, teacher in zip(students, teachers, strict=True):
        s, t = student.double(), teacher.double()
        if normalise:
            spread = (t - t.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3), keepdim=True).sqrt()
            s, t = s / spread, t / spread
        (sl, sh), (tl, th) = HAAR.decompose(s), HAAR.decompose(t)
        weight = object_weights(boxes, image, 2, tuple(sl.shape[2:])).double()
        low += ((sl - tl) ** 2 * weight).mean()
        high += ((sh - th) ** 2 * weight.unsqueeze(2)).mean()
    assert [loss.item() for loss in given] == pytest.approx([low.item(), high.item()], rel=1e-6)


def test_equal_maps_have_no_distance_and_no_gradient():
    teacher = level((6, 6), 0)
    student = teacher.clone().requires_grad_()
    low, high = losses(student, teacher, normalise=True)
    (low + high).backward()
    assert low.item() == high.item() == 0
    assert student.grad.eq(0).all()


def test_the_unit_of_a_loss_is_the_teachers_own_spread():
    student, teacher = level((8, 8), 0), level((8, 8), 1)
    scaled = losses(student * 1e3, teacher * 1e3, normalise=True)
    torch.testing.assert_close(losses(student, teacher, normalise=True), scaled)


def test_an_aligned_map_has_the_teachers_statistics_and_an_equal_one_stays():
    student, teacher = level((8, 8), 0) * 40 + 7, level((4, 6), 1) * 0.1 - 3
    aligned = align(student, teacher)
    torch.testing.assert_close(aligned.mean((0, 2, 3)), teacher.mean((0, 2, 3)))
    torch.testing.assert_close(aligned.std((0, 2, 3), correction=0), teacher.std((0, 2, 3), correction=0))
    torch.testing.assert_close(align(teacher, teacher), teacher)
    torch.testing.assert_close(align(student * 1e3, teacher), aligned)


def test_aligned_and_normalised_they_are_distances_of_standardised_maps():
    student, teacher = level((8, 8), 0) * 9 + 1, level((8, 8), 1) * 0.2
    given = losses(align(student, teacher), teacher, normalise=True)
    standardised = [
        (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), correction=0, keepdim=True) for x in (student, teacher)
    ]
    torch.testing.assert_close(given, losses(*standardised))


def test_channels_that_do_not_vary_are_not_blown_up():
    teacher = level((8, 8), 0)
    teacher[:, 1] = 3.0
    scale = channel_scale(teacher)
    assert scale[0, 1, 0, 0] > 0.05
    assert channel_scale(torch.zeros(1, 2, 4, 4)).min() > 0


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_features_in_half_precision_are_finite(dtype, normalise):
    student, teacher = ((level((8, 8), seed) * 1e3).to(dtype).requires_grad_() for seed in (0, 1))
    low, high = losses(student, teacher, normalise=normalise)
    (low + high).backward()
    assert low.dtype is torch.float32
    assert torch.isfinite(low)
    assert torch.isfinite(high)
    assert torch.isfinite(student.grad).all()


def test_what_lies_in_an_ignored_region_moves_no_statistics():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    regions = torch.tensor([[[0.0, 0.0, 1.0, 0.5]], [[0.0, 0.0, 0.0, 0.0]]])  # the upper half of the first image
    others = student.clone(), teacher.clone()
    for maps in others:
        maps[0, :, :4] = 50 * torch.randn(3, 4, 8)
    for first, second in ((student, others[0]), (teacher, others[1])):
        torch.testing.assert_close(channel_scale(first, regions), channel_scale(second, regions))
    aligned, other = align(student, teacher, regions), align(*others, regions)
    torch.testing.assert_close(aligned[1], other[1])
    torch.testing.assert_close(aligned[0, :, 4:], other[0, :, 4:])
    kept = aligned.movedim(1, 0).flatten(1)[:, torch.arange(32, 128)]
    wanted = teacher.movedim(1, 0).flatten(1)[:, torch.arange(32, 128)]
    torch.testing.assert_close(kept.mean(1), wanted.mean(1))
    torch.testing.assert_close(kept.std(1, correction=0), wanted.std(1, correction=0))


@pytest.mark.parametrize("channels", [slice(0, 1), slice(None)])
def test_channels_that_do_not_vary_have_finite_gradients(channels):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    student[:, channels] = 0.25
    student.requires_grad_()
    align(student, teacher).square().sum().backward()
    assert torch.isfinite(student.grad).all()
