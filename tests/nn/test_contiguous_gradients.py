"""Gradients through BatchNorm of one image and of several, in the layout that a DETR's head makes."""

import copy

import pytest
import torch
from torch import nn

from uavdet.nn.contiguous_gradients import make_gradients_contiguous


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("images", [1, 2])
def test_gradients_through_a_flattened_map_are_those_of_differences(images, training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)).double().train(training)
    make_gradients_contiguous(model)
    maps = torch.randn(images, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(images, 20, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda given: (model(given).flatten(2).permute(0, 2, 1) * weights).sum(), maps)


def test_outputs_stay_and_copies_work_the_same():
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    image = torch.rand(1, 3, 4, 4)
    expected = model(image)
    make_gradients_contiguous(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(copied(image), expected)
