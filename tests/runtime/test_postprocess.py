"""From rows to boxes in pixels, by hand."""

import numpy as np
import pytest

from uavdet.runtime.postprocess import decode_rows

NAMES = {0: "a", 1: "b"}


def test_no_rows_give_no_detections():
    found = decode_rows(np.zeros((0, 6), np.float32), (100, 200), NAMES)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.to_json() == []


def test_rows_become_pixels_inside_the_image():
    rows = np.array(
        [[0.5, 0.5, 0.2, 0.4, 0.9, 1], [0.0, 0.5, 0.2, 0.2, 0.8, 0], [0.5, 0.5, 0.1, 0.1, 0.1, 0]], np.float32
    )
    found = decode_rows(rows, (100, 200), NAMES)
    np.testing.assert_allclose(found.boxes, [[80, 30, 120, 70], [0, 40, 20, 60]], atol=1e-4)
    assert found.classes.tolist() == [1, 0]
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert len(decode_rows(rows, (9, 9), NAMES, conf=0.0, max_det=1)) == 1
    assert decode_rows(rows, (9, 9), NAMES, conf=0.0, classes=[0]).classes.tolist() == [0, 0]


def test_the_limit_counts_the_classes_that_are_kept():
    rows = np.array([[0.5, 0.5, 0.2, 0.2, 0.9, 1], [0.5, 0.5, 0.2, 0.2, 0.8, 0]], np.float32)
    assert decode_rows(rows, (9, 9), NAMES, max_det=1, classes=[0]).classes.tolist() == [0]


def test_boxes_outside_the_image_are_dropped():
    rows = np.array(
        [[1.5, 0.5, 0.2, 0.2, 0.9, 0], [0.5, 0.5, 0.2, 0.0, 0.8, 0], [0.5, 0.5, 0.2, 0.2, 0.7, 0]], np.float32
    )
    assert decode_rows(rows, (100, 100), {0: "a"}).scores.tolist() == pytest.approx([0.7])


def test_the_weaker_of_two_boxes_of_a_class_goes_where_asked_to():
    rows = np.array(
        [
            [0.50, 0.5, 0.20, 0.2, 0.9, 0],
            [0.50, 0.5, 0.20, 0.2, 0.8, 1],  # another class
            [0.51, 0.5, 0.20, 0.2, 0.7, 0],  # IoU 0.90 with the first
            [0.58, 0.5, 0.20, 0.2, 0.6, 0],  # IoU 0.43
        ],
        np.float32,
    )
    scores = [decode_rows(rows, (100, 100), NAMES, iou=iou).scores.tolist() for iou in (None, 0.95, 0.7, 0.3)]
    assert scores == [
        pytest.approx(kept) for kept in ([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.6], [0.9, 0.8])
    ]
    assert decode_rows(rows, (100, 100), NAMES, iou=0.7, max_det=3).scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
