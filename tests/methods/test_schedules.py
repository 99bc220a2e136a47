"""Weights over the epochs of a run, against their formulas."""

import math

import pytest
from pydantic import BaseModel, ValidationError

from uavdet.methods.schedules import Schedule, Weight, read_schedule


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.5, Schedule(0.5)),
        ("0.5", Schedule(0.5)),
        ("0", Schedule(0.0)),
        ("1:linear", Schedule(1.0, "linear")),
        ("1e-3:cosine:5", Schedule(1e-3, "cosine", 5)),
        ("2:constant:3:10", Schedule(2.0, "constant", 3, 10)),
        (Schedule(3.0), Schedule(3.0)),
    ],
)
def test_what_is_read(given, expected):
    assert read_schedule(given) == expected
    assert read_schedule(str(expected)) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "-1",
        "nan",
        "inf",
        "1:lineal",
        "1:linear:a",
        "1:linear:5:5",
        "1:linear:5:2",
        "1:linear:-1",
        "1:linear:0:9:9",
        None,
    ],
)
def test_what_is_refused(given):
    class Args(BaseModel):
        weight: Weight

    with pytest.raises(ValidationError, match="a weight of at least 0"):
        Args(weight=given)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("2", lambda e: 2.0),
        ("2:linear", lambda e: 2 * (1 - e / 10)),
        ("2:cosine", lambda e: 1 + math.cos(math.pi * e / 10)),
        ("2:linear:4:8", lambda e: 2 * (1 - (e - 4) / 4) if 4 <= e < 8 else 0.0),
        ("2:constant:4", lambda e: 2.0 if e >= 4 else 0.0),
        ("2:linear:0:100", lambda e: 2 * (1 - e / 10)),  # a run that is shorter than the end falls to its own end
    ],
)
def test_the_weight_of_every_epoch(schedule, formula):
    for epoch in range(10):
        assert read_schedule(schedule).at(epoch, 10) == pytest.approx(formula(epoch))
