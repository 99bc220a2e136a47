"""Folds 1x1 convolutions into what reads them, where that takes less arithmetic."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folding_saves(projection: nn.Module, readers: int) -> bool:
    """Return whether linear layers take less arithmetic with a projection of their common input folded into each.

    Args:
        projection: A 1x1 convolution and its batch normalisation.
        readers: How many linear layers read it, which keep its number of channels.
    """
    parts: Any = projection
    given, width = parts[0].in_channels, parts[0].out_channels
    return readers * given <= given + readers * width


def fold_projection(layer: nn.Module, projection: nn.Module) -> nn.Conv2d:
    """Return the 1x1 convolution that does to a map (B, C, H, W) what a projection and a linear layer do to its pixels.

    Args:
        layer: The linear layer.
        projection: A 1x1 convolution and its batch normalisation, or `nn.Identity`.
    """
    linear: Any = layer
    weight, bias = linear.weight.data.double(), linear.bias.data.double()
    if not isinstance(projection, nn.Identity):
        parts: Any = copy.deepcopy(projection).double()
        convolution = fuse_conv_bn_eval(parts[0], parts[1])
        bias = bias + weight @ convolution.bias.data
        weight = weight @ convolution.weight.data[:, :, 0, 0]
    return pixel_layer(weight.float(), bias.float())


def pixel_layer(weight: Any, bias: Any = None) -> nn.Conv2d:
    """Return the 1x1 convolution of a weight (O, C) and a bias (O,), or None for no bias."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    layer.weight.data = weight[:, :, None, None].clone()
    if bias is not None:
        layer.bias.data = bias.clone()  # type: ignore[union-attr]
    return layer
