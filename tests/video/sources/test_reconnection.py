"""How long a lost stream is waited for."""

import random

import numpy as np
import pytest

from uavdet.errors import UsageError
from uavdet.video.sources import Reconnection


@pytest.mark.parametrize(
    ("failures", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (10_000, 30.0)]
)
def test_waits_double_up_to_their_bound_and_are_drawn_evenly(failures, bound):
    numbers = random.Random(0)
    waits = [Reconnection().delay(failures, numbers) for _ in range(4000)]
    assert 0 <= min(waits) < bound / 100
    assert bound * 0.99 < max(waits) <= bound
    # Mean and spread of an even distribution: bound / 2 and bound / sqrt(12).
    np.testing.assert_allclose([np.mean(waits), np.std(waits)], [bound / 2, bound / 12**0.5], rtol=0.05)


def test_retries_are_spent_after_as_many_failures_in_a_row_or_never():
    assert [Reconnection(max_retries=2).is_exhausted(failures) for failures in range(5)] == [False] * 3 + [True] * 2
    assert Reconnection(max_retries=0).is_exhausted(1)
    assert not Reconnection().is_exhausted(10**9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"stall_timeout": 0},
        {"stall_timeout": float("nan")},
        {"stall_timeout": float("inf")},
        {"first_delay": -1},
        {"longest_delay": 0},
    ],
)
def test_numbers_that_are_not_allowed_are_refused(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}=.* is not allowed"):
        Reconnection(**wrong)
