"""Which cells of a map boxes touch, and how their outlines lie on a picture."""

import numpy as np
import pytest
import torch

from uavdet.analysis.boxes import corners, outline, touched_cells
from uavdet.analysis.figure import new_figure


def test_corners_of_none_and_of_one():
    assert corners(torch.zeros(0, 4)).shape == (0, 4)
    np.testing.assert_allclose(corners(torch.tensor([[0.5, 0.4, 0.2, 0.6]])), [[0.4, 0.1, 0.6, 0.7]], atol=1e-7)


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ([0, 0, 1, 1], [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ([0.3, 0.1, 0.4, 0.2], [[0, 1, 0, 0], [0, 0, 0, 0]]),
        ([0.25, 0, 0.5, 0.5], [[0, 1, 0, 0], [0, 0, 0, 0]]),
        ([0.2, 0.4, 0.6, 0.6], [[1, 1, 1, 0], [1, 1, 1, 0]]),
        ([0.9, 0.9, 1.2, 1.4], [[0, 0, 0, 0], [0, 0, 0, 1]]),
    ],
)
def test_cells_that_a_box_overlaps(box, cells):
    np.testing.assert_array_equal(touched_cells(np.array([box], float), (2, 4))[0], np.array(cells, bool))


def test_no_box_touches_no_cell():
    assert touched_cells(np.zeros((0, 4)), (2, 4)).shape == (0, 2, 4)


def test_outlines_run_along_the_borders_of_pixels():
    axes = new_figure(2, 2, "").add_subplot()
    outline(axes, np.array([[0.25, 0.5, 0.75, 1.0]]), (10, 20))
    (path,) = axes.collections[0].get_paths()
    np.testing.assert_allclose([path.vertices.min(0), path.vertices.max(0)], [[4.5, 4.5], [14.5, 9.5]])
    outline(axes, np.zeros((0, 4)), (10, 20))
