"""Weights of losses that change over a run: `WEIGHT[:SCHEDULE[:START[:END]]]`, as in `0.1:linear:0:50`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """A weight over the epochs of a run.

    Attributes:
        weight: Its value in the first epoch in which it acts.
        shape: constant; linear, which falls in equal steps; or cosine, which falls slowly, fast, slowly. Both fall
            towards zero, which they would reach at `end`.
        start: The first epoch in which it acts, from 0.
        end: The epoch before which it ends; None means the end of the run.
    """

    weight: float = 1.0
    shape: str = "constant"
    start: int = 0
    end: int | None = None

    def at(self, epoch: int, epochs: int) -> float:
        """Return the weight in an epoch, from 0, of a run of `epochs`."""
        end = epochs if self.end is None else min(self.end, epochs)
        if not self.start <= epoch < end:
            return 0.0
        passed = (epoch - self.start) / (end - self.start)
        falling = {"constant": 1.0, "linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2}
        return self.weight * falling[self.shape]

    def __str__(self) -> str:
        tail = [] if self.end is None else [str(self.end)]
        start = [str(self.start)] if self.start or tail else []
        shape = [self.shape] if self.shape != "constant" or start else []
        return ":".join([f"{self.weight:g}", *shape, *start, *tail])


def read_schedule(value: Any) -> Schedule:
    """Read a number, or text `WEIGHT[:SCHEDULE[:START[:END]]]`.

    Raises:
        ValueError: It is neither; the message says what is allowed.
    """
    if isinstance(value, Schedule):
        return value
    parts = str(value).split(":")
    allowed = f"it is a weight of at least 0, or WEIGHT:{'|'.join(SCHEDULES)}:START:END with epochs from 0"
    try:
        weight = float(parts[0])
        start, end = (int(parts[i]) if len(parts) > i else None for i in (2, 3))
    except ValueError:
        raise ValueError(allowed) from None
    shape = parts[1] if len(parts) > 1 else "constant"
    ordered = (start or 0) >= 0 and (end is None or end > (start or 0))
    if len(parts) > 4 or shape not in SCHEDULES or not math.isfinite(weight) or weight < 0 or not ordered:
        raise ValueError(allowed)
    return Schedule(weight, shape, start or 0, end)


Weight = Annotated[Schedule, BeforeValidator(read_schedule)]
"""The type of a method's weight setting."""
