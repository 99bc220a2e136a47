"""Adversarial perturbation injection, API (SET, CVPR 2025, Eq. 6 and 8): steps up the losses, in feature space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["image", "batch"]

_AUTHORS_BATCH = 2  # images a GPU, in the paper and in its released code


def adversarial_perturbation(
    branches: Sequence[Tensor], maps: Sequence[Tensor], rho: float = 1.0, norm: Norm = "image", scale: float = 1.0
) -> list[Tensor]:
    """Return the perturbation of every level: the mean over the branches of their steps up (Eq. 8, lambda_m = 1 / M).

    `eps_i = 1/M sum_m rho g_im / ||g_im||` with `g_im = d L_m / d P_i`. It is of first order and detached: no gradient
    flows into it. It does not change where all losses are multiplied by one factor.

    Args:
        branches: The loss of each branch, scalars of one graph, which stays as it is. One without a graph counts as
            zero.
        maps: The levels P_i, (B, C_i, H_i, W_i), nodes of that graph.
        rho: Length of each branch's step; the paper takes 1.
        norm: See `unit_step`.
        scale: What the losses are multiplied by first, so that gradients of half precision stay in its range.

    Returns:
        float32 tensors in the shapes of `maps`.
    """
    total = [torch.zeros_like(level, dtype=torch.float32) for level in maps]
    for branch in branches:
        for index, gradient in enumerate(branch_gradients(branch * scale, maps)):
            if gradient is not None:
                total[index] += unit_step(gradient, norm)
    return [steps.mul_(rho / len(branches)) for steps in total]


def branch_gradients(loss: Tensor, maps: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradient of a loss by each level; None where the loss does not depend on it."""
    if not loss.requires_grad:
        return [None] * len(maps)
    return torch.autograd.grad(loss, list(maps), retain_graph=True, allow_unused=True)


def unit_step(gradient: Tensor, norm: Norm = "image") -> Tensor:
    """Return a gradient at the length that Eq. 6 gives it, for rho = 1.

    Lengths hold for tiny and huge values too. What is zero or not finite gives zero.

    Args:
        gradient: (B, C, H, W), of any precision.
        norm: `batch` is the released code's: the tensor as a whole has length 1, so that an image of a batch of B gets
            about 1 / sqrt(B), and more of it where its loss is steep. `image` gives every image the length that it has
            on average in the authors' batch of 2, 1 / sqrt(2), at any batch size.

    Returns:
        (B, C, H, W) float32.
    """
    values = gradient.detach().float()
    over = list(range(1 if norm == "image" else 0, values.ndim))
    share = _AUTHORS_BATCH**-0.5 if norm == "image" else 1.0
    length = torch.linalg.vector_norm(values, 2, over, keepdim=True)
    ordinary = (length > 1e-15) & (length < 1e15)
    steps = values * (share / length)
    return steps if bool(ordinary.all()) else torch.where(ordinary, steps, _extreme_step(values, over, share))


def _extreme_step(values: Tensor, over: list[int], share: float) -> Tensor:
    """Return values of any magnitude at a length, those that are zero or not finite as zero."""
    length = torch.linalg.vector_norm(values, 2, over, keepdim=True, dtype=torch.float64)
    usable = torch.isfinite(length) & (length > 0)
    root = torch.where(usable, share / length, 0.0).sqrt().float()  # float32 has room for it, and not for its square
    return torch.where(usable, values, 0.0) * root * root
