"""The layers that a model YAML may name.

A layer of ours registers itself: `@register("DDF")` on a class with
`from_yaml(cls, in_channels, args) -> (module, out_channels)`. Stock rows (Conv, RepC3, AIFI, Concat, ...) stand in
the table of `uavdet.nn.stock`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import nn

Channels = int | list[int]
"""Input channels of a row: an int for one source row, a list in source order for several."""


class LayerBuilder(Protocol):
    """What a model YAML needs of a registered class."""

    def from_yaml(self, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Return the module for one row and its output channels; raise ValueError or TypeError on unusable `args`."""


_LAYERS: dict[str, LayerBuilder] = {}
_Layer = TypeVar("_Layer", bound=type[nn.Module])


def register(name: str) -> Callable[[_Layer], _Layer]:
    """Make a class available to model YAMLs under `name`.

    Raises:
        ValueError: `name` is taken already, or the class has no `from_yaml`.
    """

    def add(layer: _Layer) -> _Layer:
        if name in _LAYERS:
            raise ValueError(f"Layer '{name}' is registered twice, by {_LAYERS[name]} and {layer}.")
        if not hasattr(layer, "from_yaml"):
            raise ValueError(f"{layer.__name__} has no `from_yaml(in_channels, args)` and cannot be registered.")
        _LAYERS[name] = layer
        return layer

    return add


def registered_layers() -> dict[str, LayerBuilder]:
    """Return the registered layers by name."""
    return dict(_LAYERS)


def single_source(in_channels: Channels) -> int:
    """Return the channels of a row's only source.

    Raises:
        ValueError: The row names several sources.
    """
    if not isinstance(in_channels, int):
        raise ValueError("takes one source row; put a Concat row before it")
    return in_channels
