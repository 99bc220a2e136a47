"""Turns the rows of a model YAML (`uavdet.nn.rows`) into a network."""

from __future__ import annotations

import ast
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import uavdet.nn.background
import uavdet.nn.ddf
import uavdet.nn.decoder
import uavdet.nn.efficientformer
import uavdet.nn.resnet  # importing a module registers its layers
import uavdet.nn.thumbnail
from uavdet.errors import ConfigError, one_line, suggest_name
from uavdet.nn.registry import Channels, registered_layers
from uavdet.nn.rows import ModelConfig, Row, origin_of, read_rows
from uavdet.nn.stock import STOCK_ROWS, TAKES_REPEATS, RowContext

_PROBE_SIDE = 64  # pixels behind a thumbnail; the smallest image that a training takes
_ROW_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError)


@dataclass(frozen=True)
class Scale:
    """Ultralytics' compound scale: depth multiplies repeats, width multiplies channels up to `max_channels`."""

    depth: float = 1.0
    width: float = 1.0
    max_channels: float = math.inf

    @classmethod
    def of(cls, config: ModelConfig) -> Scale:
        """Return the scale named by `scale`, else the first of `scales`, else no scaling.

        Raises:
            ConfigError: `scales` has no such entry, or the entry is no [depth, width, max_channels].
        """
        scales = config.get("scales")
        if not scales:
            return cls(config.get("depth_multiple", 1.0), config.get("width_multiple", 1.0))
        try:
            return cls(*scales[config.get("scale") or next(iter(scales))])
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"{origin_of(config)}: scale={config.get('scale')!r} is not usable with scales={scales!r}. "
                "Give the name of an entry of scales, each [depth, width, max_channels]."
            ) from error


def build_network(config: ModelConfig, channels: int = 3) -> tuple[nn.Sequential, list[int]]:
    """Build the network of a model YAML.

    Args:
        config: The YAML as a dict; `nc` gives the number of classes, `yaml_file` names the file in errors.
        channels: Channels of the input image.

    Returns:
        The rows as a named sequence, each with the attributes `i`, `f`, `type` and `np` that Ultralytics' code reads,
        and the sorted indices of the rows whose outputs later rows need.

    Raises:
        ConfigError: `nc` is no positive integer, a row cannot be built or does not fit its sources, the last row is no
            decoder, or a marker marks nothing; the message names the file, the row and the reason.
    """
    _check_classes(config)
    scale, layers = Scale.of(config), OrderedDict[str, nn.Module]()
    out_channels: list[int] = []
    save: set[int] = set()
    rows = read_rows(config)
    for row in rows:
        sources = row.source if isinstance(row.source, list) else [row.source]
        taken = [out_channels[s] if row.index or s != -1 else channels for s in sources]
        module, out = _build_row(row, taken if isinstance(row.source, list) else taken[0], config, scale)
        module.i, module.f, module.type = row.index, row.source, row.module  # type: ignore[assignment]
        module.np = sum(p.numel() for p in module.parameters())  # type: ignore[assignment]
        save.update(s % row.index for s in sources if s != -1)
        layers[row.name] = module
        out_channels.append(out)
    network = nn.Sequential(layers)
    _check_decoder(rows[-1], network[-1], config)
    uavdet.nn.background.marked_levels(config)  # refuses a marker that marks nothing
    _check_maps(rows, network, out_channels, config, channels)
    return network, sorted(save)


def _check_classes(config: ModelConfig) -> None:
    try:
        uavdet.nn.decoder.check_count("nc", config.get("nc"))
    except ValueError as error:
        raise ConfigError(f"{origin_of(config)}: {error}.") from error


def _check_decoder(row: Row, module: nn.Module, config: ModelConfig) -> None:
    if not isinstance(module, uavdet.nn.decoder.RTDETRDecoder):
        raise ConfigError(f"{row.describe(config)}: the last row is no decoder. End the head with RTDETRDecoder.")


def _check_maps(
    rows: list[Row], network: nn.Sequential, out_channels: list[int], config: ModelConfig, channels: int
) -> None:
    """Run the rows before the decoder on an empty image, without a trace on the network or on the random state.

    A network on the meta device holds no numbers and is not run.

    Raises:
        ConfigError: A row cannot take the maps of its sources, or gives other channels than it promised.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    network.eval()
    outputs: list[Any] = []
    side = _probe_side(config)
    previous: Any = torch.zeros(1, channels, side, side)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for row, module, expected in zip(rows[:-1], network, out_channels, strict=False):
            previous = _probe_row(row, module, previous, outputs, expected, config)
            outputs.append(previous)
    network.train()


def _probe_side(config: ModelConfig) -> int:
    return _PROBE_SIDE * uavdet.nn.thumbnail.thumbnail_factor(config)


def _probe_row(
    row: Row, module: nn.Module, previous: Any, outputs: Sequence[Any], channels: int, config: ModelConfig
) -> Any:
    sources = row.source if isinstance(row.source, list) else [row.source]
    taken = [previous if source == -1 else outputs[source] for source in sources]
    shapes = ", ".join("x".join(map(str, x.shape[1:])) if isinstance(x, Tensor) else type(x).__name__ for x in taken)
    side = _probe_side(config)
    where = f"{row.describe(config)}, given {shapes} by its sources at {side}x{side} pixels"
    try:
        output = module(taken if isinstance(row.source, list) else taken[0])
    except _ROW_ERRORS as error:
        raise ConfigError(f"{where}: {_reason(error)}. Let the sources' maps fit the row.") from error
    if isinstance(output, Tensor) and (output.ndim != 4 or output.shape[1] != channels):
        raise ConfigError(f"{where}: gives {tuple(output.shape)} instead of {channels} channels. Check its args.")
    return output


def _reason(error: Exception) -> str:
    """Return what an error says, on one line and without its full stop."""
    return one_line(error).rstrip(".")


def _build_row(row: Row, in_channels: Channels, config: ModelConfig, scale: Scale) -> tuple[nn.Module, int]:
    layers = registered_layers()
    if row.module not in layers and row.module not in STOCK_ROWS:
        known = [*layers, *STOCK_ROWS]
        raise ConfigError(
            f"{row.describe(config)}: unknown module '{row.module}'.{suggest_name(row.module, known)} "
            f"Known: {', '.join(sorted(known))}."
        )
    args = [_argument(value, config) for value in row.args]
    try:
        if row.module in layers:
            module, out = _repeat_registered(row, layers[row.module], in_channels, args)
        else:
            repeats = max(round(row.repeats * scale.depth), 1) if row.repeats > 1 else row.repeats
            context = RowContext(in_channels, args, repeats, scale.width, scale.max_channels)
            module, out = STOCK_ROWS[row.module](context)
        if out < 1:
            raise ValueError(f"gives {out} channels, at least 1 is needed")
    except _ROW_ERRORS as error:
        raise ConfigError(f"{row.describe(config)}: {_reason(error)}. Its args are {args}.") from error
    return module, out


def _repeat_registered(row: Row, layer: Any, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
    if row.repeats > 1:
        raise ValueError(f"repeats={row.repeats} is for {', '.join(sorted(TAKES_REPEATS))} rows; give 1 here")
    return layer.from_yaml(in_channels, args)


def _argument(value: Any, config: ModelConfig) -> Any:
    """Return a YAML argument with `nc` filled in and Python literals such as "None" read."""
    if value == "nc":
        return config["nc"]
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
