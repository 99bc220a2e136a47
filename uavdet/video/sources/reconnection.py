"""When a stream that was lost is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from uavdet.errors import UsageError


@dataclass(frozen=True)
class Reconnection:
    """How streams are waited for and tried again.

    Attributes:
        max_retries: Attempts in a row without a frame after which a stream is given up; None never gives up.
        stall_timeout: Seconds without a frame, or without an answer, after which a stream counts as lost.
        first_delay: Longest wait before the first attempt, in seconds; it doubles with every further one.
        longest_delay: Longest wait of all, in seconds.

    Raises:
        UsageError: A number is not allowed.
    """

    max_retries: int | None = None
    stall_timeout: float = 10.0
    first_delay: float = 0.5
    longest_delay: float = 30.0

    def __post_init__(self) -> None:
        retries = self.max_retries
        if retries is not None and (isinstance(retries, bool) or not isinstance(retries, int) or retries < 0):
            raise UsageError(
                f"max_retries={retries} is not allowed. Give a whole number of at least 0, or None to try for ever."
            )
        for name in ("stall_timeout", "first_delay", "longest_delay"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{name}={value} is not allowed. Give seconds, more than 0.")

    def is_exhausted(self, failures: int) -> bool:
        """Return whether so many failed attempts in a row are too many."""
        return self.max_retries is not None and failures > self.max_retries

    def delay(self, failures: int, random_numbers: random.Random) -> float:
        """Return how many seconds to wait after a number of failed attempts in a row, from 1.

        The wait is drawn evenly from nothing up to the bound ("full jitter"): cameras that were lost together do not
        come back together. Source: M. Brooker, "Exponential Backoff And Jitter", 2015.
        """
        bound = min(self.longest_delay, self.first_delay * 2.0 ** min(failures - 1, 60))
        return random_numbers.uniform(0.0, bound)
