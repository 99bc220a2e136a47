"""1x1 convolutions folded into what reads them."""

import pytest
import torch
from torch import nn

from uavdet.export.folding import fold_projection, folding_saves, pixel_layer


def make_projection(given, width):
    projection = nn.Sequential(nn.Conv2d(given, width, 1, bias=False), nn.BatchNorm2d(width)).eval()
    norm = projection[1]
    for part in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(part)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return projection


@pytest.mark.parametrize("projection", [nn.Identity(), make_projection(5, 8)])
def test_a_folded_projection_does_to_pixels_what_both_layers_do(projection):
    torch.manual_seed(0)
    layer = nn.Linear(8, 6)
    image = torch.randn(2, 8 if isinstance(projection, nn.Identity) else 5, 3, 4)
    with torch.no_grad():
        expected = layer(projection(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(fold_projection(layer, projection)(image), expected, atol=1e-5, rtol=1e-5)


def test_the_projection_stays_as_it_is():
    projection = make_projection(5, 8)
    before = {key: value.clone() for key, value in projection.state_dict().items()}
    fold_projection(nn.Linear(8, 6), projection)
    assert all(torch.equal(value, before[key]) for key, value in projection.state_dict().items())
    assert projection[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "width", "readers", "saves"),
    [
        (256, 256, 4, True),  # 4 products of 256 x 256 a pixel, in the place of 5
        (256, 256, 1, True),
        (384, 256, 4, False),  # 4 of 384 x 256 against 384 x 256 and 4 of 256 x 256
        (128, 256, 7, True),
        (320, 256, 4, True),
        (320, 256, 7, False),
    ],
)
def test_a_projection_is_folded_where_that_takes_less_arithmetic(given, width, readers, saves):
    apart, folded = width * (given + readers * width), width * readers * given
    assert (folded <= apart) is saves
    assert folding_saves(make_projection(given, width), readers) is saves


def test_a_layer_of_pixels_may_have_no_bias():
    layer = pixel_layer(torch.eye(3))
    image = torch.randn(1, 3, 2, 2)
    assert layer.bias is None
    torch.testing.assert_close(layer(image), image)
