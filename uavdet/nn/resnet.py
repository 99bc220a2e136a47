"""ResNet-18 and ResNet-50 in the "vd" form that RT-DETR and SO-DETR use, as rows of a model YAML.

Against the ResNet of He et al. (arXiv 1512.03385) this form (the ResNet-D of arXiv 1812.01187) has a stem of three 3x3
convolutions, strides the 3x3 of a bottleneck instead of its first 1x1, and averages before the 1x1 convolution of a
strided shortcut. Every convolution with batch normalisation is an Ultralytics `Conv`, which its `fuse` folds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv

from uavdet.nn.registry import Channels, register, single_source


@register("ConvReLU")
class ConvReLU(Conv):
    """Convolution, batch normalisation and ReLU: the row of the stem.

    Args:
        in_channels: Channels of the map that comes in.
        channels: Channels of the map that goes out.
        kernel: Side of the square kernel, in pixels; the padding keeps the size at stride 1.
        stride: Step in pixels: (B, in_channels, H, W) becomes (B, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(in_channels, channels, kernel, stride, act=nn.ReLU(inplace=True))

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row from `[channels, kernel, stride]`."""
        return cls(single_source(in_channels), *args), args[0]


def projection_shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Return the shortcut of a stage's first block: a 1x1 convolution, normalised; where strided, averaging before it.

    `ceil_mode` keeps the last row and column of an odd map, so that the shortcut has the size of the 3x3 branch. Those
    cells average what exists: `count_include_pad=False` says so to exported graphs, whose runtimes may divide by four.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if stride > 1:
        parts["pool"] = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    parts["project"] = Conv(in_channels, channels, 1, act=False)
    return nn.Sequential(parts)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the block of ResNet-18.

    Args:
        in_channels: Channels of the map that comes in.
        channels: Channels of the map that goes out.
        stride: Step of the first convolution.
        shortcut: The module beside them; `nn.Identity()` in every block but a stage's first.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, channels, 3, stride, act=nn.ReLU(inplace=True))
        self.conv2 = Conv(channels, channels, 3, act=False)
        self.shortcut = shortcut
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        return self.act(self.conv2(self.conv1(x)) + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """A 3x3 convolution between two 1x1 ones, beside a shortcut: the block of ResNet-50.

    Args:
        in_channels: Channels of the map that comes in.
        channels: Channels of the 3x3 convolution; four times as many go out.
        stride: Step of the 3x3 convolution.
        shortcut: The module beside them; `nn.Identity()` in every block but a stage's first.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, channels, 1, act=nn.ReLU(inplace=True))
        self.conv2 = Conv(channels, channels, 3, stride, act=nn.ReLU(inplace=True))
        self.conv3 = Conv(channels, channels * self.expansion, 1, act=False)
        self.shortcut = shortcut
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 * channels, ceil(H / stride), ceil(W / stride))."""
        return self.act(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


_BLOCKS: dict[str, type[BasicBlock] | type[BottleneckBlock]] = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


@register("ResNetStage")
class ResNetStage(nn.Sequential):
    """The blocks of one ResNet stage; the first strides and projects its shortcut.

    The projection is there even where shapes agree (the first stage of ResNet-18), as in RT-DETR's weights.

    Args:
        in_channels: Channels of the map that comes in.
        channels: Channels of the 3x3 convolutions; `out_channels` holds those that go out.
        blocks: How many blocks, at least 1.
        stride: Step of the first block: 1 or 2.
        kind: "basic" (ResNet-18) or "bottleneck" (ResNet-50).

    Raises:
        ValueError: `kind` is neither, or `blocks` is below 1.
    """

    def __init__(self, in_channels: int, channels: int, blocks: int, stride: int, kind: str) -> None:
        if kind not in _BLOCKS:
            raise ValueError(f"ResNetStage has no kind '{kind}'. Kinds: {', '.join(_BLOCKS)}.")
        if blocks < 1:
            raise ValueError(f"ResNetStage cannot have {blocks} blocks. Give 1 or more.")
        block = _BLOCKS[kind]
        out_channels = channels * block.expansion
        first = block(in_channels, channels, stride, projection_shortcut(in_channels, out_channels, stride))
        super().__init__(first, *(block(out_channels, channels, 1, nn.Identity()) for _ in range(blocks - 1)))
        self.out_channels = out_channels

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row from `[channels, blocks, stride, kind]`."""
        stage = cls(single_source(in_channels), *args)
        return stage, stage.out_channels
