"""Background smoothing, against the formula written out pixel by pixel in float64."""

import math

import numpy as np
import pytest
import torch

from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing, kernel_size

STRIDES = [2, 4, 8, 16, 32, 64, 128]


def convolve(maps, weight, bias):
    """Return a convolution of (C, H, W) with zeros around it, one output at a time."""
    side = weight.shape[2]
    padded = np.pad(maps, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    out = np.empty((weight.shape[0], *maps.shape[1:]))
    for channel in range(weight.shape[0]):
        for row in range(maps.shape[1]):
            for column in range(maps.shape[2]):
                window = padded[:, row : row + side, column : column + side]
                out[channel, row, column] = (window * weight[channel]).sum() + bias[channel]
    return out


def smoothed(block, features, kept, final_relu=False):
    """Return P * M + (1 - M) * [Pbg + We * ReLU(Wr * Pbg)] of one image, in float64."""
    weights = [p.detach().double().numpy() for p in (block.reduce.weight, block.reduce.bias)]
    expand = [p.detach().double().numpy() for p in (block.expand.weight, block.expand.bias)]
    features, kept = features.double().numpy(), kept.numpy()
    background = np.where(kept, 0.0, features)
    change = convolve(np.maximum(convolve(background, *weights), 0), *expand)
    change = np.maximum(change, 0) if final_relu else change
    return torch.from_numpy(np.where(kept, features, background + change))


def example(channels=8, shape=(6, 9), batch=2, share=0.3):
    torch.manual_seed(0)
    return torch.randn(batch, channels, *shape), torch.rand(batch, 1, *shape) < share


@pytest.mark.parametrize("final_relu", [False, True])
@pytest.mark.parametrize(("stride", "shape"), [(2, (4, 4)), (8, (6, 9)), (16, (7, 3)), (64, (3, 5))])
def test_the_formula(stride, shape, final_relu):
    features, kept = example(shape=shape, batch=1 if stride == 2 else 3)
    block = BackgroundSmoothing(8, stride, reduction=2, final_relu=final_relu).double()
    found = block(features.double(), kept).detach()
    for image, cells, result in zip(features, kept, found, strict=True):
        torch.testing.assert_close(result, smoothed(block, image, cells, final_relu), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_maps_without_objects_and_maps_full_of_them(share):
    features, kept = example(share=share)
    block = BackgroundSmoothing(8, 8)
    found = block(features, kept).detach()
    if share:
        assert torch.equal(found, features)
    else:
        torch.testing.assert_close(found[0].double(), smoothed(block, features[0], kept[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, math.inf, math.nan, -3e38])
def test_kept_cells_are_copies_whatever_the_background_holds(value, dtype):
    features, kept = example()
    features = torch.where(kept, features, value).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = BackgroundSmoothing(8, 16)(features, kept)
    assert found.dtype == dtype
    integers = {torch.float32: torch.int32, torch.bfloat16: torch.int16}[dtype]
    cells = kept.expand_as(features)
    assert torch.equal(found.view(integers)[cells], features.view(integers)[cells])


@pytest.mark.parametrize("value", [math.inf, math.nan, 7.0])
def test_what_objects_look_like_does_not_reach_the_background(value):
    features, kept = example()
    block = BackgroundSmoothing(8, 16)
    changed = torch.where(kept, torch.tensor(value), features)
    cells = ~kept.expand_as(features)
    assert torch.equal(block(features, kept)[cells], block(changed, kept)[cells])


def test_gradients_pass_kept_cells_and_train_the_block():
    features, kept = example()
    features = torch.where(kept, math.nan, features).requires_grad_()
    block = BackgroundSmoothing(8, 8)
    found = torch.where(kept, 0, block(features, kept)).sum() + torch.where(kept, features, 0).nan_to_num().sum()
    found.backward()
    assert torch.isfinite(features.grad).all()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in block.parameters())


def test_the_memory_layout_stays():
    features, kept = example()
    found = BackgroundSmoothing(8, 8)(features.contiguous(memory_format=torch.channels_last), kept)
    assert found.is_contiguous(memory_format=torch.channels_last)


# Kernels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "sides"),
    [
        ("eq4", [1, 3, 3, 5, 5, 7, 7]),
        ("3", [3] * 7),
        ("5", [5] * 7),
        ("7", [7] * 7),
        ("smaller", [None, 1, 1, 3, 3, 5, 5]),
    ],
)
def test_kernels_by_stride(rule, sides):
    for stride, side in zip(STRIDES, sides, strict=True):
        if side is None:
            with pytest.raises(ValueError, match="not usable at stride 2"):
                kernel_size(stride, rule)
        else:
            assert kernel_size(stride, rule) == kernel_size(float(stride), rule) == side


@pytest.mark.parametrize("stride", [1, 3, 7, 12, 20, 24, 31, 63, 65, 127, 129, 1000])
def test_kernels_of_other_strides_follow_the_formula(stride):
    assert kernel_size(stride) == 2 * math.floor(math.log2(stride) / 2) + 1
    if stride > 2:
        assert kernel_size(stride, "smaller") == 2 * math.floor(math.log2(stride + 1) / 2) - 1


@pytest.mark.parametrize("stride", [0, -8, 0.5, 12.5, math.nan, math.inf, None, "8", True])
def test_strides_that_are_none_are_refused(stride):
    with pytest.raises(ValueError, match=r"stride=.* is not usable: a level's stride is a whole number from 1 on"):
        kernel_size(stride)


@pytest.mark.parametrize("rule", ["eq5", "9", "", 3])
def test_unknown_rules_are_refused(rule):
    with pytest.raises(ValueError, match="is not usable: give eq4, smaller, 3, 5, 7"):
        kernel_size(8, rule)


@pytest.mark.parametrize("reduction", [0, -1, 9])
def test_reductions_that_leave_no_channel_are_refused(reduction):
    with pytest.raises(ValueError, match="is not usable with 8 channels: give 1 to 8"):
        BackgroundSmoothing(8, 8, reduction)


@pytest.mark.parametrize(
    ("stride", "parameters"), [(4, 295_232), (8, 295_232), (16, 819_520), (32, 819_520), (64, 1_605_952)]
)
def test_parameters_of_a_level(stride, parameters):
    assert sum(p.numel() for p in BackgroundSmoothing(256, stride).parameters()) == parameters


def test_parameters_of_three_levels():
    blocks = [BackgroundSmoothing(256, stride) for stride in (8, 16, 32)]
    assert sum(p.numel() for block in blocks for p in block.parameters()) == 1_934_272
