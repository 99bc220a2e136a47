"""Gradients through BatchNorm of one image and of several, in the layout that a DETR's head makes."""

import copy

import pytest
import torch
from torch import nn

from uavdet.engine.families import build_model, load_model_config
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


def test_one_image_trains_a_detector_as_the_same_image_twice_does():
    torch.manual_seed(0)
    model = build_model(load_model_config("rtdetr-n.yaml"), nc=2).double().train()
    make_gradients_contiguous(model)
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    once, twice = (gradients_of(model, image.repeat(images, 1, 1, 1)) for images in (1, 2))
    wrong = [name for name, value in once.items() if (value - twice[name]).norm() > 1e-4 * twice[name].norm() + 1e-9]
    assert not wrong


def gradients_of(model, images):
    """Gradients of the loss of the same object in every image, without denoising."""
    count = len(images)
    batch = {
        "img": images,
        "cls": torch.zeros(count, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]).repeat(count, 1),
        "batch_idx": torch.arange(count).float(),
    }
    model.zero_grad()
    sum(model.detection_loss(batch, model.predict(images)).values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
