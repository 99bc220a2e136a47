"""The feature levels that enter a detector's head, and which of them `levels=` names."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from uavdet.analysis.samples import level_name
from uavdet.errors import UsageError
from uavdet.methods.features import FeatureRecorder, look_at_empty_image

_SIDE = 256  # pixels; a multiple of every stride


def head_strides(module: nn.Module) -> list[int]:
    """Return how many pixels of the network's input a cell of each level that enters the head spans, finest first."""
    copied = copy.deepcopy(module).cpu().float()
    recorder = FeatureRecorder(copied)
    look_at_empty_image(copied, _SIDE)
    return [_SIDE // maps.shape[-1] for maps in recorder.head_inputs]


def choose_levels(given: Sequence[str], strides: Sequence[int]) -> list[int]:
    """Return the places of the levels that `levels=` names; all of them where it names none.

    Args:
        given: Strides in pixels, or places counted from 0; a number that is both is a stride.
        strides: Of the model's levels.

    Raises:
        UsageError: The model has no such level, or one is named twice.
    """
    chosen = []
    for word in given:
        number = int(word) if word.isdigit() else -1
        if number not in strides and not 0 <= number < len(strides):
            listed = ", ".join(map(str, strides))
            raise UsageError(
                f"levels={word} is no level of the model, whose levels have the strides {listed}. "
                f"Give strides, or places from 0 to {len(strides) - 1}."
            )
        chosen.append(strides.index(number) if number in strides else number)
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"levels={','.join(given)} names a level twice. Give each level once.")
    return sorted(chosen) or list(range(len(strides)))


def level_names(levels: Sequence[int], strides: Sequence[int]) -> str:
    """Return levels as a table names them: P3+P4+P5."""
    return "+".join(level_name(strides[level]) for level in levels)
