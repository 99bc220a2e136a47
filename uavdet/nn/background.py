"""Marker rows of hierarchical background smoothing (SET, CVPR 2025): they name the levels that the method smooths.

A row `[p3, 1, HBS, [], hbs3]` between a level and the head hands the level's map on as it is, in training and after
it. It has no weights, costs nothing and is no node of an exported graph: smoothing needs to know where the objects
are, so it is part of training alone, and its trainable blocks live with the method. The marker says which levels
they are for. Without one, the method smooths every level that enters the head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from uavdet.assets import list_assets, read_yaml
from uavdet.errors import ConfigError
from uavdet.nn.registry import Channels, register, single_source
from uavdet.nn.rows import ModelConfig, Row, read_rows

MODULE = "HBS"


@register(MODULE)
class BackgroundMarker(nn.Module):
    """Marks a level whose background is smoothed while training; computes nothing.

    Attributes:
        trained_by: The training method that the row is there for. Training without it is refused.
    """

    trained_by = "set"

    @classmethod
    def from_yaml(cls, in_channels: Channels, args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row, which takes no arguments.

        Raises:
            ValueError: It was given some, or several source rows.
        """
        if args:
            raise ValueError("takes no arguments; kernel and reduction are settings of the method: set.kernel=eq4")
        return cls(), single_source(in_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return `features` (B, C, H, W) itself."""
        return features


def marked_levels(given: ModelConfig | nn.Module) -> list[int] | None:
    """Return the places of the marked levels among the inputs of the head, or None where nothing is marked.

    Args:
        given: A model YAML as a dict, or a model of any family.

    Raises:
        ConfigError: A marker is no source of the head, or marks the image.
    """
    config: Any = given.yaml if isinstance(given, nn.Module) else given
    if not _has_markers(config):
        return None
    rows = read_rows(config)
    markers = {row.index for row in rows if row.module == MODULE}
    inputs = _sources(rows[-1])
    for row in rows:
        if row.index in markers and row.index not in inputs:
            raise ConfigError(
                f"{row.describe(config)}: the head does not read this marker. Put it between a level and the head: "
                f"name it among the sources of {rows[-1].name}, or leave the row out."
            )
        if row.index in markers and row.index == 0:
            raise ConfigError(f"{row.describe(config)}: marks the image, which is no level. Leave the row out.")
    return [place for place, index in enumerate(inputs) if index in markers]


def _has_markers(config: ModelConfig) -> bool:
    entries = [*(config.get("backbone") or []), *(config.get("head") or [])]
    return any(isinstance(entry, list) and len(entry) > 2 and entry[2] == MODULE for entry in entries)


def _sources(row: Row) -> list[int]:
    """Return the indices of a row's source rows, counted from the first; -1 is the image."""
    sources = row.source if isinstance(row.source, list) else [row.source]
    return [source % row.index if row.index else source for source in sources]


def without_markers(config: ModelConfig) -> ModelConfig:
    """Return a model YAML without its marker rows: the same network, in which the head reads the levels themselves.

    All other rows keep their names, so the same weights fill both. Where the rows that are left are those of a YAML
    that ships, the network is called by its name: so-detr-n.yaml in the place of so-detr-n-set.yaml.

    Args:
        config: A model YAML as a dict. One without markers is returned as it is.

    Raises:
        ConfigError: See `marked_levels`.
    """
    if marked_levels(config) is None:
        return config
    rows = read_rows(config)
    kept = [row for row in rows if row.module != MODULE]
    places = {row.index: place for place, row in enumerate(kept)}
    entries = copy.deepcopy([*config["backbone"], *config["head"]])
    changed = {**config}
    for section in ("backbone", "head"):
        changed[section] = [_plain_row(row, entries, rows, places) for row in kept if row.section == section]
    if "yaml_file" in config:
        changed["yaml_file"] = _shipped_name(changed) or config["yaml_file"]
    return changed


def _shipped_name(config: ModelConfig) -> str | None:
    """Return the name of the model YAML that ships with these rows, or None where none does."""
    shipped = ((name, read_yaml(file)) for name, file in list_assets("cfg/models").items())
    return next((name for name, other in shipped if all(other[s] == config[s] for s in ("backbone", "head"))), None)


def _plain_row(row: Row, entries: Sequence[list[Any]], rows: list[Row], places: dict[int, int]) -> list[Any]:
    """Return the entry of a row that may stand earlier now and whose sources are no markers."""
    given, *rest = entries[row.index]
    written = given if isinstance(given, list) else [given]
    sources = [_plain_source(*pair, row, entries, rows, places) for pair in zip(written, _sources(row), strict=True)]
    if places[row.index] != row.index and len(rest) == 3:
        rest.append(row.name)  # a row without a name is called by its number, which changes
    return [sources if isinstance(given, list) else sources[0], *rest]


def _plain_source(
    written: int | str, index: int, row: Row, entries: Sequence[list[Any]], rows: list[Row], places: dict[int, int]
) -> int | str:
    """Return a source as it was written where that still means the same row, else its name or its new number."""
    target = index
    while target not in places and target >= 0:
        target = _sources(rows[target])[0]
    place = places.get(target, -1)
    same = isinstance(written, str) or written == place or (written < 0 and places[row.index] + written == place)
    if target == index and same:
        return written
    return entries[target][4] if len(entries[target]) == 5 else place


def remove_markers(model: nn.Module) -> None:
    """Let a trained model describe itself without markers, so that its checkpoints are those of the plain model."""
    described: Any = model
    described.yaml = without_markers(described.yaml)
