"""What is printed: lines that are kept out, and those that are not."""

import pytest
from ultralytics.utils import LOGGER

from uavdet.engine.logs import without


def test_nothing_is_kept_out_of_nothing(logged):
    with without("Freezing") as kept_out:
        pass
    assert kept_out == logged == []


def test_lines_are_kept_out_by_their_beginning_and_only_inside(logged):
    with without("Freezing layer") as kept_out:
        LOGGER.info("Freezing layer 'model.0'")
        LOGGER.info("not Freezing layer 'model.1'")
    LOGGER.info("Freezing layer 'model.2'")
    assert kept_out == ["Freezing layer 'model.0'"]
    assert logged == ["not Freezing layer 'model.1'", "Freezing layer 'model.2'"]


def test_lines_come_back_after_an_error(logged):
    with pytest.raises(KeyError), without("x"):
        raise KeyError
    LOGGER.info("x")
    assert logged == ["x"]
