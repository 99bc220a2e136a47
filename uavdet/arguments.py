"""Looks arguments up in the table, and checks and converts their values.

Nothing here imports PyTorch, so that help and argument errors are instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uavdet.argument_table import ARGUMENTS, TABLE, Argument
from uavdet.assets import read_yaml
from uavdet.errors import UsageError, suggest_name


def arguments_of(mode: str) -> dict[str, Argument]:
    """Return the arguments that a mode takes, by name."""
    return {argument.name: argument for argument in TABLE if mode in argument.modes}


def defaults_of(mode: str) -> dict[str, Any]:
    """Return a mode's default values."""
    return {name: argument.default for name, argument in arguments_of(mode).items()}


def parse_options(given: Mapping[str, Any], mode: str, origin: str = "") -> dict[str, Any]:
    """Check and convert options.

    Args:
        given: Names and values, as text from the command line or as Python values.
        mode: The mode that they are for.
        origin: Where they come from, put before error messages.

    Returns:
        The converted values; dotted method settings (`method.key`) are passed through as they are.

    Raises:
        UsageError: A name is unknown to the mode, or a value is not allowed.
    """
    known, parsed = arguments_of(mode), {}
    for name, value in given.items():
        if "." in name and mode == "train":
            parsed[name] = value
        elif name not in known:
            raise UsageError(origin + _unknown(name, mode, known))
        elif value is None or (isinstance(value, str) and value.lower() == "none"):
            _check_nothing(known[name], origin)
            parsed[name] = None
        else:
            parsed[name] = parse_value(known[name], value, origin)
    return parsed


def _check_nothing(argument: Argument, origin: str) -> None:
    if argument.default is not None:
        raise UsageError(f"{origin}{argument.name}=none is not allowed. Its default is {argument.default}.")


def parse_value(argument: Argument, value: Any, origin: str = "") -> Any:
    """Convert one value.

    Raises:
        UsageError: The value is not allowed.
    """
    try:
        return argument.parse(value)
    except (ValueError, TypeError, OverflowError) as error:
        allowed = str(error) if not str(error).startswith(("could not", "invalid", "float()", "int()")) else "a number"
        raise UsageError(f"{origin}{argument.name}={value} is not allowed. It is {allowed}: {argument.help}.") from None


def _unknown(name: str, mode: str, known: Iterable[str]) -> str:
    if name in ARGUMENTS:
        modes = [other for argument in TABLE if argument.name == name for other in argument.modes]
        return f"'{name}' is no argument of 'uavdet {mode}', but of {', '.join(modes)}."
    return f"Unknown key '{name}'.{suggest_name(name, known)} All keys: uavdet help {mode}."


def foreign_arguments(family: str) -> dict[str, str]:
    """Return the arguments that mean nothing to a model family, with the family that each belongs to."""
    return {name: a.family for name, a in ARGUMENTS.items() if a.family is not None and a.family != family}


def check_family(given: Iterable[str], family: str) -> None:
    """Refuse arguments that mean nothing to the family of the model at hand.

    Raises:
        UsageError: One of them does not.
    """
    foreign = foreign_arguments(family)
    for name in given:
        if name in foreign:
            raise UsageError(f"'{name}' has no effect on this model: it belongs to {foreign[name].upper()} models.")


def read_recipe(file: Path) -> dict[str, Any]:
    """Read a training recipe: a flat YAML of training arguments.

    Raises:
        ConfigError: It is no readable YAML.
        UsageError: It is no mapping, or holds an unknown key or a value that is not allowed.
    """
    content = read_yaml(file) or {}
    if not isinstance(content, dict):
        raise UsageError(f"Recipe {file} holds no mapping. A recipe is a list of key: value lines.")
    return parse_options({str(key): value for key, value in content.items()}, "train", f"{file.name}: ")
