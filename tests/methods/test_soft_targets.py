"""Divergences between logits against formulas in float64."""

import numpy as np
import pytest
import torch

from uavdet.errors import UsageError
from uavdet.methods.soft_targets import (
    bernoulli_cross_entropy,
    bernoulli_divergence,
    check_form,
    confidence,
    softmax_divergence,
)


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (50, 4)), rng.normal(0, 3, (50, 4))


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_bernoulli_divergence_equals_the_formula(logits, temperature):
    s, t = (_sigmoid(z / temperature) for z in logits)
    expected = t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))
    given = bernoulli_divergence(*map(torch.from_numpy, logits), temperature)
    np.testing.assert_allclose(given.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_cross_entropy_is_the_divergence_on_the_teachers_entropy(logits):
    s, t = map(_sigmoid, logits)
    np.testing.assert_allclose(
        bernoulli_cross_entropy(*map(torch.from_numpy, logits)).numpy(),
        -t * np.log(s) - (1 - t) * np.log(1 - s),
        rtol=1e-5,
        atol=1e-6,
    )
    gradients = []
    for function in (bernoulli_cross_entropy, bernoulli_divergence):
        student = torch.from_numpy(logits[0]).requires_grad_()
        function(student, torch.from_numpy(logits[1])).sum().backward()
        gradients.append(student.grad)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_softmax_divergence_equals_the_formula(logits, temperature):
    s, t = (np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True) for z in logits)
    given = softmax_divergence(*map(torch.from_numpy, logits), temperature).sum(1)
    np.testing.assert_allclose(given.numpy(), (t * np.log(t / s)).sum(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function", [bernoulli_divergence, softmax_divergence])
def test_equal_logits_have_no_distance_and_huge_ones_are_finite(function):
    z = torch.tensor([[-50.0, -3, 0, 3, 50]])
    assert function(z, z).abs().max() == 0
    student = z.flip(-1).requires_grad_()
    value = function(student, z).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()
    assert function(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0, 3)


def test_confidence_is_the_highest_class_probability(logits):
    np.testing.assert_allclose(confidence(torch.from_numpy(logits[0])), _sigmoid(logits[0]).max(1), rtol=1e-6)
    assert confidence(torch.zeros(2, 0, 3)).shape == (2, 0)
    assert confidence(torch.zeros(2, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_softmax_over_a_single_class_is_refused():
    check_form("method.form", "softmax", {0: "a", 1: "b"})
    check_form("method.form", "bernoulli", {0: "a"})
    with pytest.raises(UsageError, match=r"^method\.form=softmax says .* Give method\.form=bernoulli\.$"):
        check_form("method.form", "softmax", {0: "a"})
