"""Turns a model YAML into a network.

A YAML has two lists, `backbone` and `head`, of rows `[from, repeats, module, args]` or, with a fifth entry, a name.
`from` gives the source rows by index (-1 is the row before) or by name. Named rows keep their keys in the state dict
(`model.<name>.`) when a stem or a marker row is put before them; unnamed rows are called by their index, as
Ultralytics does. The last entry of `args` may be a mapping of keyword arguments.
"""

from __future__ import annotations

import ast
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from torch import nn

import uavdet.nn.ddf
import uavdet.nn.decoder
import uavdet.nn.efficientformer
import uavdet.nn.resnet  # noqa: F401  (importing a module registers its layers)
from uavdet.errors import ConfigError, suggest_name
from uavdet.nn.registry import Channels, registered_layers
from uavdet.nn.stock import STOCK_ROWS, TAKES_REPEATS, RowContext

ModelConfig = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One row of a model YAML, its sources resolved to indices (-1: the row before)."""

    index: int
    name: str
    source: int | list[int]
    repeats: int
    module: str
    args: list[Any]
    section: str

    def describe(self, config: ModelConfig) -> str:
        """Return where the row stands, for error messages."""
        return f"{config.get('yaml_file', 'model YAML')}, {self.section} row {self.index} ({self.name}: {self.module})"


def read_rows(config: ModelConfig) -> list[Row]:
    """Return the rows of a model YAML.

    Raises:
        ConfigError: A section is missing, a row has a wrong shape, a name stands twice or a source is unknown.
    """
    origin = config.get("yaml_file", "model YAML")
    for section in ("backbone", "head"):
        if not isinstance(config.get(section), list) or not config[section]:
            raise ConfigError(f"{origin} has no list of rows under '{section}'. See cfg/models/ for the form.")
    rows: list[Row] = []
    for section in ("backbone", "head"):
        for entry in config[section]:
            rows.append(_read_row(entry, section, rows, origin))
    return rows


def _read_row(entry: Any, section: str, before: list[Row], origin: str) -> Row:
    index = len(before)
    if not isinstance(entry, list) or len(entry) not in (4, 5) or not isinstance(entry[3], list):
        raise ConfigError(
            f"{origin}, {section} row {index} is {entry!r}. A row is [from, repeats, module, args, name]."
        )
    source, repeats, module, args, *rest = entry
    name = str(rest[0]) if rest else str(index)
    if "." in name or name in {row.name for row in before}:
        raise ConfigError(f"{origin}, {section} row {index}: name '{name}' is taken or holds a dot. Give it another.")
    if not isinstance(repeats, int) or repeats < 1:
        raise ConfigError(f"{origin}, {section} row {index} ({name}): repeats={repeats!r} is not a positive integer.")
    where = f"{origin}, {section} row {index} ({name}: {module})"
    resolved: int | list[int]
    if isinstance(source, list):
        resolved = [_resolve(entry, before, where) for entry in source]
    else:
        resolved = _resolve(source, before, where)
        resolved = -1 if resolved == index - 1 else resolved
    return Row(index, name, resolved, repeats, str(module), args, section)


def _resolve(source: Any, before: list[Row], where: str) -> int:
    """Return the index of a source row; a given index stays as it is."""
    if isinstance(source, int) and not isinstance(source, bool) and -len(before) - 1 <= source < len(before):
        return source
    names = {row.name: row.index for row in before}
    if source not in names:
        raise ConfigError(f"{where}: source row '{source}' stands nowhere above it.{suggest_name(source, names)}")
    return names[source]


@dataclass(frozen=True)
class Scale:
    """Ultralytics' compound scale: depth multiplies repeats, width multiplies channels up to `max_channels`."""

    depth: float = 1.0
    width: float = 1.0
    max_channels: float = math.inf

    @classmethod
    def of(cls, config: ModelConfig) -> Scale:
        """Return the scale named by `scale`, else the first of `scales`, else no scaling."""
        scales = config.get("scales")
        if not scales:
            return cls(config.get("depth_multiple", 1.0), config.get("width_multiple", 1.0))
        return cls(*scales[config.get("scale") or next(iter(scales))])


def build_network(config: ModelConfig, channels: int = 3) -> tuple[nn.Sequential, list[int]]:
    """Build the network of a model YAML.

    Args:
        config: The YAML as a dict; `nc` gives the number of classes, `yaml_file` names the file in errors.
        channels: Channels of the input image.

    Returns:
        The rows as a named sequence, each with the attributes `i`, `f`, `type` and `np` that Ultralytics' code reads,
        and the sorted indices of the rows whose outputs later rows need.

    Raises:
        ConfigError: A row cannot be built; the message names the file, the row and the reason.
    """
    scale, layers = Scale.of(config), OrderedDict[str, nn.Module]()
    out_channels: list[int] = []
    save: set[int] = set()
    for row in read_rows(config):
        sources = row.source if isinstance(row.source, list) else [row.source]
        taken = [out_channels[s] if row.index or s != -1 else channels for s in sources]
        module, out = _build_row(row, taken if isinstance(row.source, list) else taken[0], config, scale)
        module.i, module.f, module.type = row.index, row.source, row.module  # type: ignore[assignment]
        module.np = sum(p.numel() for p in module.parameters())  # type: ignore[assignment]
        save.update(s % row.index for s in sources if s != -1)
        layers[row.name] = module
        out_channels.append(out)
    return nn.Sequential(layers), sorted(save)


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
            return _repeat_registered(row, layers[row.module], in_channels, args)
        repeats = max(round(row.repeats * scale.depth), 1) if row.repeats > 1 else row.repeats
        return STOCK_ROWS[row.module](RowContext(in_channels, args, repeats, scale.width, scale.max_channels))
    except (TypeError, ValueError, IndexError, KeyError, AssertionError) as error:
        raise ConfigError(f"{row.describe(config)}: {error or type(error).__name__}. Its args are {args}.") from error


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
