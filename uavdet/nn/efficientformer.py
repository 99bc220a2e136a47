"""EfficientFormerV2 (arXiv 2212.08059) as rows of a model YAML, each giving one map, for any input size.

A stem, then four stages of convolutional blocks; the last blocks of the last two stages have attention as well. The
published network is tied to one resolution by its attention biases; here they follow the map at hand (`PositionBias`).
The S0 variant in rows, channels and strides as SO-DETR uses them:

    stem    EfficientFormerStem   [32]
    stage2  EfficientFormerStage  [32, [4, 4], same]
    stage3  EfficientFormerStage  [48, [4, 4], conv]
    stage4  EfficientFormerStage  [96, [4, 3, 3, 3, 4, 4], conv, {attention_blocks: 2, attention_stride: 2}]
    stage5  EfficientFormerStage  [176, [4, 3, 3, 4], attention, {attention_blocks: 2}]

The stages' strides are 4, 8, 16 and 32. SO-DETR normalises each map once more for its neck, in rows of
`nn.BatchNorm2d` beside this chain (`norm2` to `norm5`): the next stage reads the map as it was before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uavdet.nn.registry import Channels, register, single_source

LAYER_SCALE = 1e-5
"""Initial gain of every residual branch, as in the released networks."""

HEADS = 8
DOWNSAMPLING = ("same", "conv", "attention")


class BiasedConv(nn.Module):
    """Convolution with a bias, batch normalisation and, where asked for, GELU; the size is kept at stride 1.

    The bias is redundant in front of the normalisation, but the published weights carry it. Ultralytics' `fuse` leaves
    this module as it is, as it leaves the released backbone, so that fused parameters and GFLOPs are counted as the
    paper counts them; exporters fold the normalisation all the same.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, gelu: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.GELU() if gelu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, ceil(H / stride), ceil(W / stride))."""
        return self.act(self.bn(self.conv(x)))


def resize_bias(table: Tensor, rows: int, columns: int) -> Tensor:
    """Resample bias tables to another grid, bilinearly, in float32.

    The corners are aligned: entry 0 (no offset) stays entry 0, and the largest offset stays the largest. Every image is
    stretched to the network's input, so an offset that spans the same fraction of the grid spans the same fraction of
    the image, whatever the grid.

    Args:
        table: (heads, R, C), a bias for each distance in rows and columns.
        rows: Rows of the new grid.
        columns: Columns of the new grid.

    Returns:
        (heads, rows, columns) in float32.
    """
    table = table.float()
    if tuple(table.shape[1:]) == (rows, columns):
        return table
    return F.interpolate(table[None], size=(rows, columns), mode="bilinear", align_corners=True)[0]


def axis_distances(length: int, stride: int, device: torch.device) -> Tensor:
    """Return |query - key| in cells along one axis, flattened: (ceil(length / stride) * length,), int64.

    Keys stand on each of the `length` cells, queries on every `stride`-th, from the first.
    """
    queries = torch.arange(0, length, stride, device=device)
    return (queries[:, None] - torch.arange(length, device=device)).abs().flatten()


def expand_bias(table: Tensor, stride: int = 1) -> Tensor:
    """Spread bias tables over all pairs of a query and a key.

    The two axes are selected one after the other: their index vectors have h*h and w*w entries, where one index over
    pairs would have (h*w)^2 entries of eight bytes.

    Args:
        table: (heads, h, w), one entry for each distance on the grid of the keys.
        stride: Queries stand on every `stride`-th row and column.

    Returns:
        (heads, ceil(h / stride) * ceil(w / stride), h * w), both in row-major order.
    """
    heads, rows, columns = table.shape
    pairs = table.index_select(1, axis_distances(rows, stride, table.device))
    pairs = pairs.index_select(2, axis_distances(columns, stride, table.device))
    pairs = pairs.view(heads, -1, rows, -(-columns // stride), columns)
    return pairs.permute(0, 1, 3, 2, 4).reshape(heads, -1, rows * columns)


class PositionBias(nn.Module):
    """A learnable attention bias for each head and each distance between query and key.

    The table belongs to a base grid; for any other grid it is resampled (`resize_bias`). Nothing is cached, so a change
    of device, of precision or of weights cannot leave a stale copy behind. The word "bias" in the parameter's name
    keeps it out of weight decay in Ultralytics' optimizer; a warm-up learning rate for biases would reach it too.

    Args:
        heads: Attention heads.
        base_grid: Side of the square grid of keys at the base size, in cells.
        stride: Step of the queries on the grid of the keys.
    """

    def __init__(self, heads: int, base_grid: int, stride: int = 1) -> None:
        super().__init__()
        self.bias_table = nn.Parameter(torch.zeros(heads, base_grid, base_grid))
        self.stride = stride

    def forward(self, rows: int, columns: int) -> Tensor:
        """Return the bias for a grid of keys: (heads, queries, rows * columns) in float32."""
        rows, columns = int(rows), int(columns)  # a traced graph is for one size
        return expand_bias(resize_bias(self.bias_table, rows, columns), self.stride)


def split_heads(x: Tensor, depth: int) -> Tensor:
    """Turn a map (B, heads * depth, h, w) into (B, heads, depth, h * w)."""
    return x.reshape(x.shape[0], HEADS, depth, -1)


def attention_scores(query: Tensor, key: Tensor, depth: int) -> Tensor:
    """Return the scaled products of every query with every key.

    Args:
        query: (B, heads * depth, h, w), a map of queries.
        key: (B, heads * depth, H, W), a map of keys.
        depth: Channels of one head.

    Returns:
        (B, heads, h * w, H * W). The queries are scaled, not the products, so that float16 does not overflow.
    """
    return (split_heads(query, depth) * depth**-0.5).transpose(2, 3) @ split_heads(key, depth)


class TalkingHeadsAttention(nn.Module):
    """Self-attention over a map, with heads mixed before and after the softmax, and a local 3x3 on the values.

    Args:
        channels: Channels in and out.
        base_grid: Side in cells of the grid that attention runs on, at the base input size.
        stride: 2 runs the attention on a map of half the size and resamples the result to the size that came in.
        depth: Channels of a head's queries and keys; its values have four times as many.
    """

    def __init__(self, channels: int, base_grid: int, stride: int = 1, depth: int = 32) -> None:
        super().__init__()
        self.depth = depth
        values = 4 * depth * HEADS
        self.reduce = BiasedConv(channels, channels, 3, stride, groups=channels) if stride > 1 else None
        self.query = BiasedConv(channels, depth * HEADS)
        self.key = BiasedConv(channels, depth * HEADS)
        self.value = BiasedConv(channels, values)
        self.local = BiasedConv(values, values, 3, groups=values)
        self.mix_before = nn.Conv2d(HEADS, HEADS, 1)
        self.mix_after = nn.Conv2d(HEADS, HEADS, 1)
        self.position_bias = PositionBias(HEADS, base_grid)
        self.act = nn.GELU()
        self.project = BiasedConv(values, channels)

    def attend(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, 4 * heads * depth, h, w): attended values plus local ones."""
        value = self.value(x)
        local = self.local(value)
        scores = attention_scores(self.query(x), self.key(x), self.depth)
        scores = self.mix_before(scores + self.position_bias(*x.shape[2:]).to(scores.dtype))
        weights = self.mix_after(scores.softmax(-1))
        return (split_heads(value, 4 * self.depth) @ weights.transpose(2, 3)).reshape(local.shape) + local

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        if self.reduce is None:
            return self.project(self.act(self.attend(x)))
        # To the exact size: on a grid of odd size, doubling would overshoot by a cell.
        values = F.interpolate(self.attend(self.reduce(x)), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.project(self.act(values))


class StridedQuery(nn.Module):
    """Queries on every second row and column: a strided depthwise 3x3 plus the cell itself, then a 1x1.

    Args:
        in_channels: Channels in.
        channels: Channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(in_channels, in_channels, 3, 2, 1, groups=in_channels)
        self.project = BiasedConv(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, ceil(H / 2), ceil(W / 2))."""
        return self.project(self.local(x) + x[:, :, ::2, ::2])


class AttentionDownsample(nn.Module):
    """Attention whose queries stand on every second cell: halves a map with a view of all of it.

    Args:
        in_channels: Channels in.
        channels: Channels out.
        base_grid: Side in cells of the map that comes in, at the base input size.
        depth: Channels of a head's queries and keys; its values have four times as many.
    """

    def __init__(self, in_channels: int, channels: int, base_grid: int, depth: int = 16) -> None:
        super().__init__()
        self.depth = depth
        values = 4 * depth * HEADS
        self.query = StridedQuery(in_channels, depth * HEADS)
        self.key = BiasedConv(in_channels, depth * HEADS)
        self.value = BiasedConv(in_channels, values)
        self.local = BiasedConv(values, values, 3, 2, groups=values)
        self.position_bias = PositionBias(HEADS, base_grid, stride=2)
        self.act = nn.GELU()
        self.project = BiasedConv(values, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, ceil(H / 2), ceil(W / 2))."""
        value = self.value(x)
        local = self.local(value)
        scores = attention_scores(self.query(x), self.key(x), self.depth)
        weights = (scores + self.position_bias(*x.shape[2:]).to(scores.dtype)).softmax(-1)
        attended = (split_heads(value, 4 * self.depth) @ weights.transpose(2, 3)).reshape(local.shape)
        return self.project(self.act(attended + local))


class Downsample(nn.Module):
    """A strided 3x3 convolution, plus attention if given.

    Args:
        in_channels: Channels in.
        channels: Channels out.
        attention: Summed with the convolution.
    """

    def __init__(self, in_channels: int, channels: int, attention: AttentionDownsample | None = None) -> None:
        super().__init__()
        self.conv = BiasedConv(in_channels, channels, 3, 2)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, ceil(H / 2), ceil(W / 2))."""
        return self.conv(x) if self.attention is None else self.conv(x) + self.attention(x)


class FeedForward(nn.Sequential):
    """1x1 up to `expansion` times the channels, depthwise 3x3, 1x1 back: (B, channels, H, W) to the same shape."""

    def __init__(self, channels: int, expansion: float) -> None:
        hidden = int(channels * expansion)
        super().__init__(
            BiasedConv(channels, hidden, gelu=True),
            BiasedConv(hidden, hidden, 3, groups=hidden, gelu=True),
            BiasedConv(hidden, channels),
        )


class ScaledResidual(nn.Module):
    """x + gamma * branch(x), for a branch that keeps the shape (B, channels, H, W).

    Args:
        channels: Channels of x; each has a learnable gain, small at the start.
        branch: The module beside the identity.
    """

    def __init__(self, channels: int, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.gamma = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        return x + self.gamma.view(-1, 1, 1) * self.branch(x)


def efficientformer_block(channels: int, expansion: float, attention: nn.Module | None = None) -> nn.Sequential:
    """Return one block: attention if given, then a `FeedForward`, each on a scaled residual branch."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if attention is not None:
        parts["attention"] = ScaledResidual(channels, attention)
    parts["feedforward"] = ScaledResidual(channels, FeedForward(channels, expansion))
    return nn.Sequential(parts)


@register("EfficientFormerStem")
class EfficientFormerStem(nn.Sequential):
    """Two strided 3x3 convolutions: an image (B, in_channels, H, W) to (B, channels, H / 4, W / 4)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        half = channels // 2
        super().__init__(BiasedConv(in_channels, half, 3, 2, gelu=True), BiasedConv(half, channels, 3, 2, gelu=True))

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row from `[channels]`."""
        return cls(single_source(in_channels), *args), args[0]


def stage_downsample(kind: str, in_channels: int, channels: int, base_grid: int) -> nn.Module:
    """Return what stands in front of a stage's blocks; `base_grid` is the side of the map that goes out.

    Raises:
        ValueError: `kind` is not one of `DOWNSAMPLING`, or is "same" while the channels change.
    """
    if kind not in DOWNSAMPLING:
        raise ValueError(f"EfficientFormerStage cannot down-sample by '{kind}'. Known: {', '.join(DOWNSAMPLING)}.")
    if kind == "attention":
        return Downsample(in_channels, channels, AttentionDownsample(in_channels, channels, 2 * base_grid))
    if kind == "conv":
        return Downsample(in_channels, channels)
    if in_channels != channels:
        raise ValueError(f"EfficientFormerStage 'same' cannot turn {in_channels} channels into {channels}. Use 'conv'.")
    return nn.Identity()


@register("EfficientFormerStage")
class EfficientFormerStage(nn.Module):
    """One stage: its down-sampling, then its blocks, the last of them with attention.

    Args:
        in_channels: Channels of the map that comes in.
        channels: Channels of the map that goes out.
        expansions: The `FeedForward` expansion of each block, so also the number of blocks.
        downsample: "same" keeps the size, "conv" halves it by a convolution, "attention" by convolution and attention.
        attention_blocks: How many blocks, counted from the last, have attention.
        attention_stride: 2 lets these blocks attend on a grid of half the size.
        base_grid: Side in cells of the grid that they attend on, at the base input size. 20 is right for both stages
            at 640 pixels (stride 16 halved, and stride 32). It sets the size of the bias tables, not what may come in.

    Raises:
        ValueError: `downsample` is unknown or impossible, or there are more attention blocks than blocks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        expansions: Sequence[float],
        downsample: str,
        attention_blocks: int = 0,
        attention_stride: int = 1,
        base_grid: int = 20,
    ) -> None:
        super().__init__()
        plain = len(expansions) - attention_blocks
        if plain < 0:
            raise ValueError(f"EfficientFormerStage has {len(expansions)} blocks; {attention_blocks} cannot attend.")
        self.downsample = stage_downsample(downsample, in_channels, channels, base_grid * attention_stride)
        self.blocks = nn.Sequential()
        for index, expansion in enumerate(expansions):
            attention = TalkingHeadsAttention(channels, base_grid, attention_stride) if index >= plain else None
            self.blocks.append(efficientformer_block(channels, expansion, attention))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H, W), or to half of H and W, rounded up, if it down-samples."""
        return self.blocks(self.downsample(x))

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row from the class's arguments after `in_channels`; the last may be a mapping of those by name."""
        settings = args[-1] if args and isinstance(args[-1], dict) else {}
        positional = args[:-1] if settings else args
        return cls(single_source(in_channels), *positional, **settings), positional[0]
