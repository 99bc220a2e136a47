"""How long the steps of a detection take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Adds up what the steps of one call take.

    Attributes:
        timings: Milliseconds of the last call by step, over all its images.
    """

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def call(self) -> Iterator[None]:
        """Measure the steps of a call."""
        self._seconds = {}
        yield
        self.timings = {stage: 1e3 * seconds for stage, seconds in self._seconds.items()}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of a `with` block to a step."""
        start = time.perf_counter()
        yield
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - start
