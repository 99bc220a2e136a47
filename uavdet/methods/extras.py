"""Modules that train with a student and are gone after training: projectors, adapters."""

from __future__ import annotations

from typing import Any

from torch import nn


class StudentExtras(nn.ModuleDict):
    """The extras of a run, by name; attached to the model as `student_extras` while it trains.

    They are in the optimizer, under the distributed wrapper, and in the state that resuming restores. Copies of the
    model leave them behind, so the moving average, the checkpoints and exports hold the plain network.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> StudentExtras:
        return StudentExtras()
