"""The perturbation against Eq. 6 and 8 written out in float64, and at the edges of what numbers can hold."""

import math

import numpy as np
import pytest
import torch

from uavdet.methods.spectral_enhancement.perturbation import adversarial_perturbation, branch_gradients, unit_step

SHAPES = [[(1, 3, 5, 4)], [(3, 3, 5, 4), (3, 2, 2, 3)]]


def levels(shapes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def branches(maps):
    """Return three losses whose gradients are known: cos(P), P and P^3 / 3, each with weights of its own."""
    values = [level.float() for level in maps]
    sine = sum(level.sin().sum() for level in values)
    square = sum(level.square().sum() / 2 for level in values)
    fourth = sum(level.pow(4).sum() / 12 for level in values)
    return [sine, 0.01 * square, 100.0 * fourth]


def expected(maps, rho, norm):
    """Return Eq. 6 and 8 in float64; with norm=image each image has 1 / sqrt(2) of the length."""
    found = []
    for level in maps:
        values = level.detach().double().numpy()
        steps = []
        for gradient in (np.cos(values), 0.01 * values, 100.0 * values**3 / 3):
            if norm == "batch":
                steps.append(rho * gradient / np.sqrt((gradient**2).sum()))
            else:
                lengths = [np.sqrt((image**2).sum()) * math.sqrt(2) for image in gradient]
                steps.append(np.stack([rho * image / length for image, length in zip(gradient, lengths, strict=True)]))
        found.append(sum(steps) / 3)
    return found


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("norm", ["image", "batch"])
@pytest.mark.parametrize("rho", [1.0, 0.3])
def test_the_formula(shapes, norm, rho):
    maps = levels(shapes)
    given = adversarial_perturbation(branches(maps), maps, rho, norm)
    for eps, wanted in zip(given, expected(maps, rho, norm), strict=True):
        assert eps.dtype == torch.float32
        assert not eps.requires_grad
        np.testing.assert_allclose(eps.numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_no_branch_reaches_the_maps():
    maps = levels(SHAPES[1])
    for losses in ([torch.tensor(3.0)], [torch.ones(2, requires_grad=True).sum()], [maps[0].sum() * 0.0]):
        for eps in adversarial_perturbation(losses, maps):
            assert eps.count_nonzero() == 0


def test_a_level_that_a_branch_does_not_see_gets_nothing_of_it():
    maps = levels(SHAPES[1])
    given = adversarial_perturbation([maps[0].sum(), maps[0].sum()], maps, norm="batch")
    assert given[0].norm().item() == pytest.approx(1.0)
    assert given[1].count_nonzero() == 0


def network(values, weights):
    """Return a loss of features (1, 2, 3, 3): a small network, smooth, in any precision."""
    hidden = torch.tanh(torch.einsum("bchw,kc->bkhw", values, weights[0]))
    return (torch.einsum("bkhw,k->bhw", hidden, weights[1]).exp().sum() + 1).log()


def test_it_is_the_direction_of_steepest_ascent():
    """By central differences in float64, which know nothing of gradients."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(4, 2, generator=generator).double(), torch.randn(4, generator=generator).double()]
    values = torch.randn(1, 2, 3, 3, generator=generator).double().requires_grad_()
    eps = adversarial_perturbation([network(values, weights)], [values], norm="batch")[0].double()
    base, step, numeric = values.detach(), 1e-6, torch.zeros(values.numel()).double()
    for index in range(values.numel()):
        change = torch.zeros(values.numel()).double()
        change[index] = step
        up, down = (network(base + sign * change.view_as(base), weights) for sign in (1, -1))
        numeric[index] = (up - down) / (2 * step)
    torch.testing.assert_close(eps.flatten(), numeric / numeric.norm(), rtol=1e-5, atol=1e-6)

    def rise(direction):
        return (network(base + 1e-3 * direction / direction.norm(), weights) - network(base, weights)).item()

    others = torch.randn(200, *base.shape[1:], generator=generator).double()
    assert rise(eps) > max(rise(other.unsqueeze(0)) for other in others) > 0 > rise(-eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", ["image", "batch"])
def test_the_scale_of_the_losses_does_not_matter(dtype, norm):
    maps = levels(SHAPES[1], dtype=dtype)
    plain = adversarial_perturbation(branches(maps), maps, norm=norm)
    scaled = adversarial_perturbation([loss * 2.0**12 for loss in branches(maps)], maps, norm=norm)
    by_scaler = adversarial_perturbation(branches(maps), maps, norm=norm, scale=65536.0)
    for first, second, third in zip(plain, scaled, by_scaler, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, third)


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1.0, 1e30, 3e38])
def test_gradients_at_the_ends_of_float32_have_the_same_length(size):
    gradient = torch.full((2, 4, 3, 5), 1.0) * size
    assert unit_step(gradient, "batch").square().sum().item() == pytest.approx(1.0)
    assert unit_step(gradient, "image").square().sum((1, 2, 3)).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf, -math.inf])
def test_what_is_zero_or_not_finite_gives_zero(bad):
    gradient = torch.randn(3, 2, 4, 4)
    good = unit_step(gradient, "image")
    gradient[1] = 0.0
    gradient[1, 0, 2, 2] = bad
    image = unit_step(gradient, "image")
    assert image[1].count_nonzero() == 0
    assert torch.equal(image[[0, 2]], good[[0, 2]])
    whole = unit_step(gradient, "batch")
    assert torch.isfinite(whole).all()
    assert bool(whole.count_nonzero()) == (bad == 0.0)
    assert unit_step(torch.full((1, 1, 2, 2), bad)).count_nonzero() == 0


def test_the_strength_does_not_depend_on_the_batch():
    """An image alone, in a batch of three, and on average in the authors' batch of two."""
    gradient = torch.randn(3, 2, 6, 5) * torch.tensor([1.0, 50.0, 1e-4]).view(3, 1, 1, 1)
    together = unit_step(gradient, "image")
    for index in range(3):
        assert torch.equal(unit_step(gradient[index : index + 1], "image")[0], together[index])
    pair = unit_step(torch.randn(2, 8, 40, 40), "batch").square().sum((1, 2, 3))
    assert pair.mean().item() == pytest.approx(0.5)
    assert together[0].square().sum().item() == pytest.approx(0.5)


def test_the_graph_stays_for_the_step():
    maps = levels(SHAPES[0])
    losses = branches(maps)
    gradients = branch_gradients(losses[1], maps)
    torch.testing.assert_close(gradients[0], 0.01 * maps[0].detach())
    assert maps[0].grad is None
    adversarial_perturbation(losses, maps)
    sum(losses).backward()
    assert maps[0].grad.count_nonzero() > 0
