"""Stems that shrink the input image, so that the whole network behind them works on fewer pixels.

`Thumbnail` is ThumbDet's learned down-sampler (Pattern Recognition 138, 109424); `AreaThumbnail` and
`BicubicThumbnail` resize by the same factor and learn nothing, for honest comparison. Each is the first row of a model
YAML, `[-1, 1, Thumbnail, [4], thumbnail]`, and part of the exported graph. `insert_thumbnail` puts one before any model
of ours; the names and the weights of its rows stay as they are.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uavdet.errors import ConfigError, UsageError
from uavdet.nn.registry import Channels, register, single_source

FACTORS = (2, 4)
KINDS = {"learned": "Thumbnail", "area": "AreaThumbnail", "bicubic": "BicubicThumbnail"}
ROW_NAME = "thumbnail"
TRUNK_STRIDE = 32  # of the coarsest level behind the stem

_PHASES = 4  # hidden channels for each channel of the image: 12 for RGB, as in the paper
_SHAPES: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {
    (4, 1): ((5, 4),),
    (4, 2): ((3, 2), (3, 2)),
    (4, 5): ((7, 2), (5, 2), (3, 1), (1, 1), (1, 1)),
    (2, 1): ((5, 2),),
    (2, 2): ((5, 1), (5, 2)),
    (2, 5): ((7, 1), (5, 2), (3, 1), (1, 1), (1, 1)),
}
"""Kernel and stride of every convolution, by factor and number of layers.

Paper: both kernels of two layers, and the five of five. Released code: the strides of two layers. The others' strides
follow the two-layer form: what shrinks stands first.
"""


class ImageStem(nn.Module):
    """What all stems share.

    Args:
        factor: How many times smaller the image becomes, 2 or 4.

    Raises:
        ValueError: `factor` is neither.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        if isinstance(factor, bool) or factor not in FACTORS:
            raise ValueError(f"factor={factor!r} is not usable: give 2 or 4")
        self.factor = int(factor)

    def check_size(self, image: Tensor) -> None:
        """Refuse an image whose sides are no multiples of the factor.

        Raises:
            ValueError: One is not.
        """
        height, width = image.shape[2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"an image of {height}x{width} pixels has no thumbnail of 1/{self.factor} of its sides")

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row from `[factor]`."""
        single_source(in_channels)
        return cls(*args), int(single_source(in_channels))


@register("Thumbnail")
class Thumbnail(ImageStem):
    """ThumbDet's down-sampler: convolutions without bias, each with a ReLU, four hidden channels a channel.

    Factor 4 with two layers has 648 parameters, factor 2 has 1,800. Paddings are half the kernels, so that the output
    is exactly 1/factor of the input and nothing shifts; the released 2x code pads less and returns H/2 - 2 pixels.

    It starts as the average of `factor` x `factor` pixels: the hidden channels take the four pixels of a 2x2 cell
    apart, and the layer behind averages them. No channel is dead then, and no seed is luckier than another. The
    framework's random start, which the paper takes, leaves a colour dead in 3 to 9 of 100 draws, depending on the
    images: a channel that is zero everywhere behind a ReLU gets no gradient and stays so.

    Args:
        channels: Channels of the image, and of the thumbnail.
        factor: 2 or 4.
        layers: 1, 2 or 5 convolutions; the paper compares them and takes 2.
        start: "average", or "random" as in the paper.

    Raises:
        ValueError: A value is not one of these.
    """

    def __init__(self, channels: int, factor: int, layers: int = 2, start: str = "average") -> None:
        super().__init__(factor)
        if (factor, layers) not in _SHAPES:
            raise ValueError(f"layers={layers!r} is not usable: give 1, 2 or 5")
        if start not in {"average", "random"}:
            raise ValueError(f"start={start!r} is not usable: give average or random")
        self.layers = nn.Sequential(_layers(channels, _SHAPES[factor, layers]))
        if start == "average":
            self.set_average()

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row from `[factor, layers, start]`; all but the factor may be left out."""
        channels = single_source(in_channels)
        return cls(channels, *args), channels

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The convolutions, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    @torch.no_grad()
    def set_average(self) -> None:
        """Make the stem average `factor` x `factor` pixels; one layer averages what its kernel reaches of them."""
        first, *others = self.convolutions
        for convolution in self.convolutions:
            nn.init.zeros_(convolution.weight)
        if not others:
            _average_cell(first, self.factor)
            return
        for hidden in range(first.out_channels):
            down, right = divmod(hidden % _PHASES, 2)
            middle = first.kernel_size[0] // 2
            first.weight[hidden, hidden // _PHASES, middle + down, middle + right] = 1.0
        for index, convolution in enumerate(others):
            _average_cell(convolution, self.factor // 2 if index == 0 else 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, H, W) in [0, 1] to its thumbnail (B, C, H / factor, W / factor), at least 0."""
        self.check_size(image)
        return self.layers(image)


def _layers(channels: int, shapes: tuple[tuple[int, int], ...]) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (kernel, stride) in enumerate(shapes, start=1):
        taken = channels if number == 1 else channels * _PHASES
        given = channels if number == len(shapes) else channels * _PHASES
        layers[f"conv{number}"] = nn.Conv2d(taken, given, kernel, stride, kernel // 2, bias=False)
        layers[f"relu{number}"] = nn.ReLU()
    return layers


def _average_cell(convolution: nn.Conv2d, side: int) -> None:
    """Let every output average a cell of its own inputs that begins at its pixel.

    Hidden channels keep to themselves; a last layer averages the hidden channels of each of its own.
    """
    middle, given = convolution.kernel_size[0] // 2, convolution.out_channels
    side = min(side, middle + 1)
    group = convolution.in_channels // given
    for channel in range(given):
        cell = convolution.weight[channel, channel * group : (channel + 1) * group]
        cell[:, middle : middle + side, middle : middle + side] = 1.0 / (group * side * side)


@register("AreaThumbnail")
class AreaThumbnail(ImageStem):
    """The average of `factor` x `factor` pixels: resizing by area.

    Args:
        factor: 2 or 4.
    """

    def __init__(self, factor: int) -> None:
        super().__init__(factor)
        self.pool = nn.AvgPool2d(self.factor)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, H, W) to (B, C, H / factor, W / factor)."""
        self.check_size(image)
        return self.pool(image)


@register("BicubicThumbnail")
class BicubicThumbnail(ImageStem):
    """Bicubic resizing as image files are resized: the kernel is as wide as the factor asks, so nothing aliases.

    It is what PyTorch calls `mode="bicubic", antialias=True` and what Pillow computes (Keys' kernel with -0.5), kept
    in [0, 1] as in an image file. Without antialiasing, bicubic interpolation reads 4 of the 16 or 8 pixels a side that
    matter and would be an unfair opponent. It is written as one convolution, because exported graphs know antialiasing
    only from operator set 18 on.

    Args:
        factor: 2 or 4.
    """

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__(factor)
        line = _cubic_line(self.factor)
        self.register_buffer("kernel", torch.outer(line, line).float()[None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, C, H, W) in [0, 1] to (B, C, H / factor, W / factor) in [0, 1]."""
        self.check_size(image)
        # Beyond the border there is nothing: the weights that reach over it are left out of the sum and of its norm.
        channels, height, width = (int(size) for size in image.shape[1:])  # constants of an exported graph
        norm = self._filter(torch.ones(1, 1, height, width, device=image.device), self.kernel)
        kernel = self.kernel.to(image.dtype).repeat(channels, 1, 1, 1)
        return (self._filter(image, kernel) / norm.to(image.dtype)).clamp(0.0, 1.0)

    def _filter(self, image: Tensor, kernel: Tensor) -> Tensor:
        padding = (kernel.shape[-1] - self.factor) // 2
        return F.conv2d(image.to(kernel.dtype), kernel, stride=self.factor, padding=padding, groups=kernel.shape[0])


def _cubic_line(factor: int) -> Tensor:
    """Return the weights of Keys' cubic kernel (a = -0.5), `factor` times wider, at the 4 * factor pixels it covers."""
    distance = (torch.arange(4 * factor, dtype=torch.float64) + 0.5 - 2 * factor).abs() / factor
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance < 1, near, far)
    return weights / weights.sum()


def find_thumbnail(model: nn.Module) -> ImageStem | None:
    """Return the stem of a detector that shrinks its images, or None."""
    rows: Any = model.model
    first = next(iter(rows), None)
    return first if isinstance(first, ImageStem) else None


def thumbnail_factor(config: dict[str, Any]) -> int:
    """Return how many times smaller the first row of a model YAML makes its images: 1 without a thumbnail."""
    row = _thumbnail_row(config)
    factor = row[3][0] if row and row[3] else 1
    return factor if factor in FACTORS and not isinstance(factor, bool) else 1


def is_learned(config: dict[str, Any]) -> bool:
    """Return whether a model YAML begins with a thumbnail that has something to learn."""
    row = _thumbnail_row(config)
    return row is not None and row[2] == KINDS["learned"]


def input_stride(config: dict[str, Any]) -> int:
    """Return what the sides of the network's input are multiples of, in pixels."""
    return TRUNK_STRIDE * thumbnail_factor(config)


def _thumbnail_row(config: dict[str, Any]) -> list[Any] | None:
    rows = config.get("backbone")
    row = rows[0] if isinstance(rows, list) and rows else None
    fits = isinstance(row, list) and len(row) > 3 and row[2] in KINDS.values() and isinstance(row[3], list)
    return row if fits else None


def insert_thumbnail(config: dict[str, Any], factor: int, kind: str = "learned", layers: int = 2) -> dict[str, Any]:
    """Return a model YAML of ours with a thumbnail before its first row.

    Rows without a name get the number they had as their name, and row numbers in `from` move by one, so the weights of
    the model without a thumbnail fill every row but the new one. A model that has this very thumbnail stays as it is.

    Args:
        config: The YAML as a dict.
        factor: 2 or 4.
        kind: "learned", "area" or "bicubic".
        layers: Of the learned one: 1, 2 or 5.

    Raises:
        UsageError: The model has another thumbnail.
    """
    args = [factor] if kind != "learned" or layers == 2 else [factor, layers]
    present = _thumbnail_row(config)
    if present is not None:
        if present[2] == KINDS[kind] and present[3] == args:
            return config
        raise UsageError(
            f"thumbnail={factor} is one too many: {config.get('yaml_file', 'the model')} begins with "
            f"{present[2]} {present[3]}. Leave thumbnail out, or give the model without one."
        )
    changed = copy.deepcopy(config)
    moved = [_moved(row, index) for index, row in enumerate([*changed["backbone"], *changed["head"]])]
    size = len(changed["backbone"])
    changed["backbone"] = [[-1, 1, KINDS[kind], args, ROW_NAME], *moved[:size]]
    changed["head"] = moved[size:]
    return changed


def _moved(row: Any, index: int) -> Any:
    """Return a row that stands one place later, under the name that it had."""
    if not isinstance(row, list) or len(row) not in (4, 5):
        raise ConfigError(f"row {index} is {row!r}. A row is [from, repeats, module, args, name].")
    sources = [_moved_source(source) for source in (row[0] if isinstance(row[0], list) else [row[0]])]
    return [sources if isinstance(row[0], list) else sources[0], *row[1:4], row[4] if len(row) == 5 else str(index)]


def _moved_source(source: Any) -> Any:
    return source + 1 if isinstance(source, int) and not isinstance(source, bool) and source >= 0 else source
