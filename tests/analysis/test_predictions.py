"""Predictions as the heads make them, and which of them finds which object."""

import numpy as np
import pytest
import torch

from tests.analysis.detectors import write_detector
from uavdet.analysis.predictions import Predictions, find_objects, read_predictions
from uavdet.engine.loading import load_model


def predictions_of(rows):
    """Return predictions of two classes from rows (cx, cy, w, h, score, score)."""
    values = torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)
    return Predictions(values[:, :4], torch.logit(values[:, 4:]))


BOX = (0.5, 0.5, 0.2, 0.2)
NEAR = (0.52, 0.5, 0.2, 0.2)  # IoU 0.18 / 0.22
FAR = (0.6, 0.5, 0.2, 0.2)  # IoU 1/3


@pytest.mark.parametrize(
    ("rows", "objects", "expected"),
    [
        ([], [(*BOX, 0)], []),
        ([(*BOX, 0.9, 0.1)], [], []),
        ([(*BOX, 0.9, 0.1)], [(*BOX, 0)], [(0, 0)]),
        ([(*BOX, 0.9, 0.04)], [(*BOX, 1)], []),  # of another class, at a score below the lowest
        ([(*FAR, 0.9, 0.1)], [(*BOX, 0)], []),
        ([(*NEAR, 0.9, 0.1), (*BOX, 0.3, 0.1)], [(*BOX, 0)], [(0, 0)]),  # 0.9 + 0.82 is more than 0.3 + 1
        ([(*NEAR, 0.3, 0.1), (*BOX, 0.2, 0.1)], [(*BOX, 0)], [(0, 1)]),
        ([(*BOX, 0.9, 0.1)], [(*BOX, 0), (*NEAR, 0)], [(0, 0)]),  # a prediction finds one object
        ([(*BOX, 0.9, 0.1), (*NEAR, 0.8, 0.1)], [(*NEAR, 0), (*BOX, 0)], [(0, 1), (1, 0)]),
        ([(*BOX, 0.9, 0.8), (*BOX, 0.9, 0.1)], [(*BOX, 0), (*BOX, 1)], [(0, 1), (1, 0)]),
    ],
)
def test_objects_are_found_by_the_best_pairs(rows, objects, expected):
    targets = torch.tensor(objects, dtype=torch.float32).reshape(-1, 5)
    predictions = predictions_of(rows)
    found = find_objects(predictions, targets[:, :4], targets[:, 4].long(), 0.05)
    assert list(zip(found.object.tolist(), found.prediction.tolist(), strict=True)) == expected
    for place, (target, row) in enumerate(expected):
        assert found.scores[place] == pytest.approx(rows[row][4 + objects[target][4]])
        same = rows[row][:4] == objects[target][:4]
        assert found.overlaps[place] == pytest.approx(1 if same else 0.18 / 0.22)


@pytest.mark.parametrize(
    ("name", "selects"),
    [("rtdetr-n.yaml", True), ("yolo11n.yaml", False), ("yolo26n.yaml", False), ("yolo26n.yaml", True)],
)
def test_predictions_are_those_that_the_head_selects_from(name, selects, tmp_path):
    model, _ = load_model(write_detector(name, tmp_path / "x.pt"))
    model.eval()
    if "yolo" in name:
        model.model[-1].end2end = selects
    torch.manual_seed(0)
    height, width = 64, 128
    with torch.no_grad():
        outputs = model.predict(torch.rand(1, 3, height, width))
    predictions = read_predictions(model, outputs, (height, width))
    boxes, scores = predictions.boxes.double().numpy(), predictions.logits.sigmoid().double().numpy()
    rows = outputs[0][0].double().numpy()
    size = np.array([width, height, width, height])
    if not selects:  # (4 + C, A): all anchors, cxcywh in pixels
        np.testing.assert_allclose(boxes * size, rows[:4].T, atol=1e-3)
        np.testing.assert_allclose(scores, rows[4:].T, atol=1e-6)
        return
    if "yolo" in name:  # rows x1, y1, x2, y2, score, class
        rows[:, :4] = np.hstack([rows[:, :2] + rows[:, 2:4], 2 * (rows[:, 2:4] - rows[:, :2])]) / 2 / size
    for row in rows[:20]:
        found = np.abs(boxes - row[:4]).max(1) < 1e-5
        assert np.abs(scores[found, int(row[5])] - row[4]).min() < 1e-6
