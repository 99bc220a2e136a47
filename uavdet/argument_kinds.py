"""The kinds of argument values: each reads text or a Python value, and raises ValueError saying what is allowed."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any


def boolean(value: Any) -> bool:
    """Read True or False."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in {"true", "yes", "1"}:
        return True
    if str(value).lower() in {"false", "no", "0"}:
        return False
    raise ValueError("True or False")


def integer(value: Any) -> int:
    """Read an integer."""
    if isinstance(value, bool) or not math.isfinite(float(value)) or float(value) != int(float(value)):
        raise ValueError("an integer")
    return int(float(value))


def at_least(smallest: int) -> Callable[[Any], int]:
    """Return a reader of integers of at least `smallest`."""

    def parse(value: Any) -> int:
        read = integer(value)
        if read < smallest:
            raise ValueError(f"an integer of at least {smallest}")
        return read

    return parse


whole, count = at_least(0), at_least(1)


def number(value: Any) -> float:
    """Read a number."""
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError("a number")
    return float(value)


def fraction(value: Any) -> float:
    """Read a number from 0 to 1."""
    read = number(value)
    if not 0 <= read <= 1:
        raise ValueError("a number from 0 to 1")
    return read


def one_of(*allowed: int) -> Callable[[Any], int]:
    """Return a reader that takes one of some integers."""

    def parse(value: Any) -> int:
        read = integer(value)
        if read not in allowed:
            raise ValueError(" or ".join(map(str, allowed)))
        return read

    return parse


def non_negative(value: Any) -> float:
    """Read a number of at least 0."""
    read = number(value)
    if read < 0:
        raise ValueError("a number of at least 0")
    return read


def positive(value: Any) -> float:
    """Read a number above 0."""
    read = number(value)
    if read <= 0:
        raise ValueError("a number above 0")
    return read


def period(value: Any) -> int:
    """Read an integer of at least 1, or -1 for never."""
    read = integer(value)
    if read < 1 and read != -1:
        raise ValueError("an integer of at least 1, or -1 for never")
    return read


def share(value: Any) -> int | float:
    """Read a share above 0, up to 1.0, or a number of at least 2."""
    return int(float(value)) if number(value) >= 2 and float(value).is_integer() else _up_to_one(value)


def _up_to_one(value: Any) -> float:
    read = number(value)
    if not 0 < read <= 1:
        raise ValueError("a share above 0, up to 1, or a whole number of at least 2")
    return read


def zoom(value: Any) -> float | tuple[float, float]:
    """Read a zoom: a fraction from 0 to 1, or the smallest and the largest factor."""
    read = literal(value)
    if not isinstance(read, list | tuple):
        return fraction(read)
    factors = tuple(positive(factor) for factor in read)
    if len(factors) != 2 or factors[0] > factors[1]:
        raise ValueError("a fraction from 0 to 1, or smallest,largest")
    return factors


def caching(value: Any) -> bool | str:
    """Read where images are kept: True or ram, disk, or False."""
    return str(value).lower() if str(value).lower() in {"ram", "disk"} else boolean(value)


def start(value: Any) -> bool | str:
    """Read what training starts from: True, False, or the name of a file or of a timm model."""
    if isinstance(value, bool) or str(value).lower() in {"true", "false"}:
        return boolean(value)
    if not isinstance(value, str) and not hasattr(value, "__fspath__"):
        raise ValueError("True, False, a file or a timm model")
    return str(value)


def rows(value: Any) -> int | list[int | str]:
    """Read rows of a model: their number, counted from the first, or a list of row numbers and names."""
    read = literal(value)
    if isinstance(read, bool):
        raise ValueError("a number of rows, or a list of row numbers and names")
    if isinstance(read, int | float):
        return whole(read)
    parts = name_list(read) if isinstance(read, str) else read
    return [int(part) if str(part).isdigit() else str(part) for part in parts]


def text(value: Any) -> str:
    """Read text."""
    return str(value)


def anything(value: Any) -> Any:
    """Take any value as it is."""
    return value


def literal(value: Any) -> Any:
    """Return numbers, lists, booleans and None written as text; other text stays as it is."""
    if not isinstance(value, str):
        return value
    if value.lower() in {"true", "false", "none"}:
        return {"true": True, "false": False, "none": None}[value.lower()]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def batch_size(value: Any) -> int | float:
    """Read a batch size: an integer, a share of the GPU memory, or -1 for the largest that fits."""
    read = number(value)
    return (-1 if read == -1 else read) if read == -1 or 0 < read < 1 else count(value)


def image_size(value: Any) -> int | list[int]:
    """Return a side in pixels, or [height, width]."""
    parts = value.strip("[]() ").split(",") if isinstance(value, str) else value
    sides = [count(part) for part in parts] if isinstance(parts, list | tuple) else [count(parts)]
    if len(sides) > 2:
        raise ValueError("one side, or height,width")
    return sides[0] if len(sides) == 1 else sides


def name_list(value: Any) -> list[str]:
    """Read names, separated by commas."""
    parts = value.strip("[]() ").split(",") if isinstance(value, str) else value
    return [name for part in parts if (name := str(part).strip(" \t'\""))]


def frequency_bands(value: Any) -> str | list[float]:
    """Read frequency bands: thirds, energy, or edges in cycles a cell."""
    if isinstance(value, str) and value in {"thirds", "energy"}:
        return value
    try:
        return [number(part) for part in name_list([value] if isinstance(value, int | float) else value)]
    except (TypeError, ValueError):
        raise ValueError("thirds, energy, or edges in cycles a cell such as 0.1,0.25") from None


def class_ids(value: Any) -> list[int]:
    """Read class ids, separated by commas."""
    parts = value.strip("[]() ").split(",") if isinstance(value, str) else value
    return [integer(part) for part in (parts if isinstance(parts, list | tuple) else [parts])]


def precision(value: Any) -> bool | str:
    """Read a precision: a boolean, or auto, bf16, fp16, fp32."""
    if str(value).lower() in {"bf16", "fp16", "fp32", "auto"}:
        return str(value).lower()
    return boolean(value)


def choice(*allowed: str) -> Callable[[Any], str]:
    """Return a reader that takes one of some words."""

    def parse(value: Any) -> str:
        if str(value) not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return str(value)

    return parse
