"""The layouts of exported outputs, against rows written out by hand."""

import numpy as np
import pytest

from uavdet.errors import CheckpointError
from uavdet.export.layouts import check_rows, decode_outputs

ROW = np.array([[[0.5, 0.25, 0.2, 0.1, 0.9, 2.0]]], dtype=np.float32)
PIXELS = np.array([[[80.0, 20.0, 120.0, 30.0, 0.9, 2.0]]], dtype=np.float32)  # in 100 x 200


def test_rows_of_no_detection_stay_empty():
    assert decode_outputs([np.zeros((2, 0, 6))], "deepstream", (100, 200), 3).shape == (2, 0, 6)


@pytest.mark.parametrize(("output", "given"), [("detections", ROW), ("deepstream", PIXELS)])
def test_rows(output, given):
    np.testing.assert_allclose(decode_outputs([given], output, (100, 200), 3), ROW, atol=1e-6)


def test_raw_boxes_and_scores_become_the_best_pairs():
    boxes = np.array([[[0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2]]])
    scores = np.array([[[0.1, 0.7, 0.3], [0.2, 0.05, 0.6]]])
    expected = [[0.1, 0.1, 0.1, 0.1, 0.7, 1], [0.2, 0.2, 0.2, 0.2, 0.6, 2]]
    np.testing.assert_allclose(decode_outputs([boxes, scores], "raw", (64, 64), 3)[0], expected, atol=1e-6)


@pytest.mark.parametrize(("rows", "given"), [(None, 2), (1, 1), (3, 3), (300, 6)])
def test_raw_outputs_become_as_many_rows_as_there_are_pairs_at_most(rows, given):
    scores = np.array([[[0.1, 0.7, 0.3], [0.2, 0.05, 0.6]]])
    found = decode_outputs([np.zeros((1, 2, 4)), scores], "raw", (64, 64), 3, rows)[0]
    np.testing.assert_allclose(found[:, 4], [0.7, 0.6, 0.3, 0.2, 0.1, 0.05][:given], atol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        ([], "detections"),
        ([np.zeros((1, 5, 7))], "detections"),
        ([np.zeros((1, 5, 3)), np.zeros((1, 5, 4))], "raw"),
        ([np.zeros((1, 5, 4))], "raw"),
        ([np.zeros((5, 6))], "deepstream"),
    ],
)
def test_other_shapes_are_refused(outputs, output):
    with pytest.raises(CheckpointError, match="The file's outputs have the shapes"):
        decode_outputs(outputs, output, (64, 64), 3)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.nan, "1 of 1 detections of 'x' are NaN or infinite"),
        (3, np.inf, "are NaN or infinite"),
        (4, 2.5, "A score of 'x' is 2.5, not 0 to 1"),
        (5, 3.0, "has the class 3, of 3 classes"),
        (5, 0.5, "has the class 0.5"),
    ],
)
def test_numbers_that_are_no_detections_are_refused(place, value, message):
    row = ROW[0].copy()
    row[0, place] = value
    check_rows(ROW[0], 3, "x")
    with pytest.raises(CheckpointError, match=message):
        check_rows(row, 3, "x")
