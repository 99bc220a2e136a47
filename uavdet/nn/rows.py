"""The rows of a model YAML.

A YAML has two lists, `backbone` and `head`, of rows `[from, repeats, module, args]` or, with a fifth entry, a name.
`from` gives the source rows by index (-1 is the row before) or by name. Named rows keep their keys in the state dict
(`model.<name>.`) when a stem or a marker row is put before them; unnamed rows are called by their index, as
Ultralytics does. The last entry of `args` may be a mapping of keyword arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from uavdet.errors import ConfigError, suggest_name

ModelConfig = dict[str, Any]

_ROW_HOLDER = nn.Sequential()  # a row cannot be called as one of its attributes, such as `half`


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
        return f"{origin_of(config)}, {self.section} row {self.index} ({self.name}: {self.module})"


def origin_of(config: ModelConfig) -> str:
    """Return the file name of a model YAML, for error messages."""
    return str(config.get("yaml_file", "model YAML"))


def read_rows(config: ModelConfig) -> list[Row]:
    """Return the rows of a model YAML.

    Raises:
        ConfigError: A section is missing, a row has a wrong shape, a name cannot be used or a source is unknown.
    """
    origin = origin_of(config)
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
    if not name or "." in name or name in {row.name for row in before} or hasattr(_ROW_HOLDER, name):
        raise ConfigError(
            f"{origin}, {section} row {index}: name '{name}' is taken (by a row above or by PyTorch), empty or holds a "
            "dot. Give it another."
        )
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
    if isinstance(source, int) and not isinstance(source, bool) and -max(len(before), 1) <= source < len(before):
        return source
    names = {row.name: row.index for row in before}
    if not isinstance(source, str) or source not in names:
        raise ConfigError(f"{where}: source row '{source}' stands nowhere above it.{suggest_name(source, names)}")
    return names[source]
