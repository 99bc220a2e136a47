"""What validators make of a network's boxes."""

from types import SimpleNamespace

import pytest
import torch

from uavdet.engine.validator import LetterboxValidator, StretchValidator
from uavdet.evaluation.arrays import flatten_detections
from uavdet.evaluation.truth import GroundTruth, ImageTruth


@pytest.mark.parametrize("kind", [StretchValidator, LetterboxValidator])
def test_a_box_whose_sides_have_changed_places_finds_nothing_and_stops_nothing(kind):
    validator = kind.__new__(kind)
    validator.args = SimpleNamespace(single_cls=False)
    boxes = torch.tensor([[10.0, 10.0, 30.0, 40.0], [30.0, 10.0, 20.0, 40.0], [10.0, 40.0, 30.0, 10.0]])
    batch = {"im_file": ["a.jpg"], "img": torch.zeros(1, 3, 64, 64), "ori_shape": [(64, 64)]}
    batch["ratio_pad"] = [((1.0, 1.0), (0.0, 0.0))]
    pred = {"bboxes": boxes, "conf": torch.full((3,), 0.5), "cls": torch.zeros(3)}
    found = validator.detections_of([pred], batch)
    assert found["a.jpg"].boxes.tolist() == [[10, 10, 30, 40], [30, 10, 30, 40], [10, 40, 30, 40]]
    objects = torch.zeros(0, 4).numpy()
    image = ImageTruth("a.jpg", (64, 64), objects, objects[:, 0].astype(int), objects[:, 0], objects[:, 0].astype(bool))
    assert len(flatten_detections(GroundTruth([image], {0: "person"}), found).scores) == 3
