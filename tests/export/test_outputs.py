"""Layouts of inputs and outputs, with numbers worked by hand."""

import numpy as np
import pytest
import torch

from uavdet.export.outputs import DeepStreamRows, DetectionRows, PictureInput, RawOutputs, select_pairs

BOXES = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.5, 0.5]]])
SCORES = torch.tensor([[[0.1, 0.9, 0.3], [0.8, 0.05, 0.2]]])


def test_pairs_come_best_first_with_their_class():
    boxes, scores, classes = select_pairs(BOXES, SCORES, 4)
    assert scores[0, :, 0].tolist() == pytest.approx([0.9, 0.8, 0.3, 0.2])
    assert classes[0, :, 0].tolist() == [1, 0, 2, 2]
    assert boxes[0].tolist() == [BOXES[0, index].tolist() for index in (0, 1, 0, 1)]


def test_detections_are_rows_of_normalised_boxes():
    rows = DetectionRows(1)(BOXES, SCORES)
    np.testing.assert_allclose(rows[0].numpy(), [[0.5, 0.5, 0.2, 0.4, 0.9, 1.0]], rtol=1e-6)


def test_deepstream_rows_are_corners_in_pixels():
    rows = DeepStreamRows(2, (100, 200))(BOXES, SCORES)  # 100 high, 200 wide
    expected = [[80, 30, 120, 70, 0.9, 1], [0, 50, 100, 100, 0.8, 0]]
    np.testing.assert_allclose(rows[0].numpy(), expected, rtol=1e-5)


def test_raw_outputs_are_untouched():
    boxes, scores = RawOutputs()(BOXES, SCORES)
    assert boxes is BOXES
    assert scores is SCORES


def test_wrappers_leave_their_inputs_alone():
    boxes, scores = BOXES.clone(), SCORES.clone()
    DeepStreamRows(2, (100, 200))(boxes, scores)
    assert torch.equal(boxes, BOXES)
    assert torch.equal(scores, SCORES)


def test_pictures_become_scaled_rgb_planes():
    picture = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)  # one pixel, blue 10, green 20, red 30
    np.testing.assert_allclose(
        PictureInput()(picture).numpy(), np.array([30, 20, 10]).reshape(1, 3, 1, 1) / 255, rtol=1e-6
    )


def test_grey_pictures_have_one_plane():
    picture = torch.tensor([[[[51]]]], dtype=torch.uint8)
    np.testing.assert_allclose(PictureInput()(picture).numpy(), [[[[0.2]]]], rtol=1e-6)
