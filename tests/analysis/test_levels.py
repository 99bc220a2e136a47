"""Feature levels: their strides, and the names that `levels=` takes."""

import pytest

from uavdet.analysis.levels import choose_levels, head_strides, level_names
from uavdet.engine.families import build_model, load_model_config
from uavdet.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], [0, 1, 2, 3]), (["0"], [0]), (["16", "4"], [0, 2]), (["1", "32"], [1, 3]), (["2"], [2])],
)
def test_levels_are_strides_or_places(given, expected):
    assert choose_levels(given, [4, 8, 16, 32]) == expected


def test_a_number_that_is_both_is_a_stride():
    assert choose_levels(["4"], [2, 4, 8, 16, 32]) == [1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["7"], "levels=7 is no level of the model, whose levels have the strides 8, 16, 32. Give strides, or places"),
        (["-1"], "levels=-1 is no level"),
        (["P3"], "levels=P3 is no level"),
        (["8", "0"], "levels=8,0 names a level twice"),
    ],
)
def test_other_levels_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        choose_levels(given, [8, 16, 32])


@pytest.mark.parametrize(
    ("name", "strides"),
    [("rtdetr-n.yaml", [8, 16, 32]), ("so-detr-n-thumb4.yaml", [32, 64, 128]), ("yolo11n.yaml", [8, 16, 32])],
)
def test_strides_are_those_of_the_maps_that_enter_the_head(name, strides):
    assert head_strides(build_model(load_model_config(name))) == strides


def test_levels_are_called_by_their_powers_of_two():
    assert level_names([0, 2], [8, 16, 32]) == "P3+P5"
