"""The frequency branch of dual-domain fusion blocks: what it puts out, and the blocks without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from uavdet.nn.ddf import DDF, EquivariantDDF, FrequencyModulation
from uavdet.nn.spectral import RealSpectrum, radial_bands


@dataclass(frozen=True)
class FrequencyBlock:
    """A block with a frequency branch.

    Attributes:
        name: Name of its row in the model.
        block: The block.
    """

    name: str
    block: DDF | EquivariantDDF

    @property
    def owner(self) -> FrequencyModulation | EquivariantDDF:
        """The module that adds the branch to the spatial features."""
        return self.block.kernel.modulation if isinstance(self.block, DDF) else self.block


def frequency_blocks(network: nn.Module) -> list[FrequencyBlock]:
    """Return the blocks of a network that have a frequency branch."""
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, DDF | EquivariantDDF)]
    return [FrequencyBlock(name.removeprefix("model."), module) for name, module in found]


@dataclass(frozen=True)
class BranchLook:
    """What a block makes of a batch.

    Attributes:
        spatial: (B, c, H, W) what the spatial side adds to the sum of both: the released block's beta S, or the
            equivariant block's features.
        frequency: (B, c, H, W) what the frequency branch adds: alpha |IFFT(...)|, or the filtered features.
        gains: (B, c, bands) how the branch scales its bands, of an equivariant block; None of the released one.
        effect: (B,) how much of the block's output energy changes when the branch is zero.
    """

    spatial: Tensor
    frequency: Tensor
    gains: Tensor | None
    effect: Tensor

    @property
    def share(self) -> Tensor:
        """The branch's share of the energy of both, (B,) in [0, 1]."""
        own, other = _energy(self.frequency), _energy(self.spatial)
        return own / (own + other).clamp(min=1e-30)


def _energy(maps: Tensor) -> Tensor:
    return maps.double().square().flatten(1).sum(1)


@torch.no_grad()
def look_at_branch(found: FrequencyBlock, given: Tensor) -> BranchLook:
    """Run a block twice, as it is and without its branch, and return what the branch does.

    Args:
        found: The block.
        given: (B, C, H, W) what enters it.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    compute = found.owner.frequency_branch

    def record(features: Tensor) -> Tensor:
        seen.append((features, compute(features)))
        return seen[-1][1]

    with replaced_branch(found.owner, record):
        output = found.block(given)
    with without_branches([found]):
        plain = found.block(given)
    features, branch = seen[0]
    effect = _energy(output - plain) / _energy(output).clamp(min=1e-30)
    owner = found.owner
    if isinstance(owner, FrequencyModulation):
        return BranchLook(owner.beta * features, owner.alpha * branch, None, effect)
    basis = radial_bands(features.shape[2], features.shape[3], owner.bands, features)
    return BranchLook(features, branch, owner.gains(RealSpectrum(features), basis), effect)


@contextmanager
def replaced_branch(owner: nn.Module, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Have a module call another function in the place of its `frequency_branch`."""
    changed: Any = owner
    changed.frequency_branch = function  # of the object, which comes before the method of its class
    try:
        yield
    finally:
        del changed.frequency_branch


@contextmanager
def without_branches(blocks: Sequence[FrequencyBlock]) -> Iterator[None]:
    """Have blocks run with frequency branches that are zero."""
    with ExitStack() as stack:
        for found in blocks:
            stack.enter_context(replaced_branch(found.owner, _zeros))
        yield


def _zeros(features: Tensor) -> Tensor:
    return torch.zeros_like(features, dtype=torch.float32)
