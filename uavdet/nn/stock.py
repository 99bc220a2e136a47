"""The rows that our model YAMLs share with Ultralytics', as one table.

Each entry turns the channels, arguments and repeats of a YAML row into a module and its output channels, exactly as
Ultralytics' own parser does for its RT-DETR YAMLs; a contract test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from ultralytics.nn.modules import block, conv, transformer

from uavdet.nn.attention import SelfAttention
from uavdet.nn.registry import Channels, single_source


@dataclass(frozen=True)
class RowContext:
    """What a stock row needs besides its own arguments."""

    in_channels: Channels
    args: list[Any]
    repeats: int
    width: float = 1.0
    max_channels: float = math.inf

    @property
    def single(self) -> int:
        """Channels of the only source row."""
        return single_source(self.in_channels)

    def scaled(self, channels: int) -> int:
        """Return output channels under the YAML's compound scale, a multiple of 8 as Ultralytics rounds them.

        Raises:
            ValueError: `channels` is below 1.
        """
        if channels < 1:
            raise ValueError(f"{channels} channels are not usable: at least 1 is needed")
        return math.ceil(min(channels, self.max_channels) * self.width / 8) * 8

    def repeat(self, make: Callable[[], nn.Module]) -> nn.Module:
        """Return the module `repeats` times in a row."""
        return make() if self.repeats == 1 else nn.Sequential(*(make() for _ in range(self.repeats)))


StockRow = Callable[[RowContext], tuple[nn.Module, int]]


def _convolution(layer: type[nn.Module]) -> StockRow:
    def build(row: RowContext) -> tuple[nn.Module, int]:
        out = row.scaled(row.args[0])
        return row.repeat(lambda: layer(row.single, out, *row.args[1:])), out

    return build


def _rep_c3(row: RowContext) -> tuple[nn.Module, int]:
    out = row.scaled(row.args[0])
    return block.RepC3(row.single, out, row.repeats, *row.args[1:]), out


def _aifi(row: RowContext) -> tuple[nn.Module, int]:
    def build() -> nn.Module:
        encoder = transformer.AIFI(row.single, *row.args)
        encoder.ma.__class__ = SelfAttention  # the same weights and numbers, computed another way
        return encoder

    return row.repeat(build), row.single


def _concat(row: RowContext) -> tuple[nn.Module, int]:
    if isinstance(row.in_channels, int):
        raise ValueError("takes a list of source rows")
    return conv.Concat(*row.args), sum(row.in_channels)


def _hg_stem(row: RowContext) -> tuple[nn.Module, int]:
    return block.HGStem(row.single, *row.args), row.args[1]


def _hg_block(row: RowContext) -> tuple[nn.Module, int]:
    middle, out, kernel, *rest = row.args
    return block.HGBlock(row.single, middle, out, kernel, row.repeats, *rest), out


def _resnet_layer(row: RowContext) -> tuple[nn.Module, int]:
    _, channels, _, is_stem, *_ = row.args
    return block.ResNetLayer(*row.args), channels if is_stem else channels * 4


def _batch_norm(row: RowContext) -> tuple[nn.Module, int]:
    return nn.BatchNorm2d(row.single), row.single


def _same_channels(layer: type[nn.Module]) -> StockRow:
    def build(row: RowContext) -> tuple[nn.Module, int]:
        return row.repeat(lambda: layer(*row.args)), row.single

    return build


STOCK_ROWS: dict[str, StockRow] = {
    "Conv": _convolution(conv.Conv),
    "DWConv": _convolution(conv.DWConv),
    "RepC3": _rep_c3,
    "AIFI": _aifi,
    "Concat": _concat,
    "HGStem": _hg_stem,
    "HGBlock": _hg_block,
    "ResNetLayer": _resnet_layer,
    "nn.BatchNorm2d": _batch_norm,
    "nn.Upsample": _same_channels(nn.Upsample),
    "nn.MaxPool2d": _same_channels(nn.MaxPool2d),
    "nn.AvgPool2d": _same_channels(nn.AvgPool2d),
    "nn.Identity": _same_channels(nn.Identity),
}

TAKES_REPEATS = frozenset({"RepC3", "HGBlock"})
"""Rows whose module has the repeats inside, rather than being repeated itself."""
