"""A way around wrong and slow gradients of BatchNorm on CPUs.

For a batch of one image, PyTorch's CPU kernels (seen in 2.15) misread the gradient that enters BatchNorm2d where its
memory is laid out channels last and the input's is not, in training and in evaluation: its values come back at other
cells. For several images they are right but slow: 10 ms where a copy and the fast kernel take 3 (2 images, 256 channels
of 80x80, bfloat16). A DETR's head makes such gradients, as it flattens its maps to (B, H * W, C) right behind a
BatchNorm.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def make_gradients_contiguous(model: nn.Module) -> None:
    """Let every BatchNorm2d of a model get its gradients in the layout of its maps, where that is the plain one.

    Args:
        model: Any network. It gets forward hooks, which do nothing on other devices, for maps in channels-last
            layout, and where no gradient is taken.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(_watch_gradient)


def _watch_gradient(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
    if output.requires_grad and output.device.type == "cpu" and output.is_contiguous():
        output.register_hook(_contiguous)


def _contiguous(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous()  # None where a branch behind has no gradient
