"""How frames are tiled, as it is asked for: `TilingOptions`, which refuses what it does not know."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uavdet.errors import UsageError, suggest_name

MERGES = ("greedynmm", "nmm", "nms")
METRICS = ("ios", "iou")
MAX_OVERLAP = 0.9
"""A larger share would make hundreds of tiles of a frame that ten cover."""
_WIDTH_X_HEIGHT = re.compile(r"(\d+)[xX](\d+)")


@dataclass(frozen=True)
class TilingOptions:
    """How frames are tiled; the words and defaults are SAHI's, but for `full_frame`, which the training decides.

    Attributes:
        tile: 'auto', or the size of a tile in pixels of the frame: 'WxH', (width, height), or one number for both.
        overlap: Share of a tile's side that neighbouring tiles have in common, at least: 0 to 0.9.
        full_frame: Whether the whole frame is looked at as well, for objects that no tile shows whole. By default it
            is where the sizes of the training's objects call for it, or are not known.
        merge: What becomes of boxes of several tiles that show one object: 'nms' keeps the best, 'nmm' joins those
            that match over others in between, 'greedynmm' those that match the best one.
        merge_metric: What is compared: 'ios', the intersection over the smaller area, or 'iou', over the union.
        merge_threshold: From which value on boxes match: above 0, up to 1.

    Raises:
        UsageError: A value is not allowed; the message says which is.
    """

    tile: str | int | Sequence[int] = "auto"
    overlap: float = 0.2
    full_frame: bool | None = None
    merge: str = "greedynmm"
    merge_metric: str = "ios"
    merge_threshold: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "tile", parse_tile(self.tile))
        _check_number("overlap", self.overlap, 0 <= _number(self.overlap) <= MAX_OVERLAP, f"from 0 to {MAX_OVERLAP}")
        threshold = self.merge_threshold
        _check_number("merge_threshold", threshold, 0 < _number(threshold) <= 1, "above 0, up to 1")
        for name, allowed in (("merge", MERGES), ("merge_metric", METRICS)):
            object.__setattr__(self, name, _choose(name, getattr(self, name), allowed))
        if self.full_frame is not None and not isinstance(self.full_frame, bool):
            raise UsageError(f"full_frame={self.full_frame} is not allowed. It is True or False, or left out.")


def parse_tile(value: Any) -> str | tuple[int, int]:
    """Return 'auto', or (width, height) of a tile in pixels.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(value, str):
        if value.strip().lower() == "auto":
            return "auto"
        sides = _WIDTH_X_HEIGHT.fullmatch(value.strip())
        if sides:
            value = tuple(map(int, sides.groups()))
        elif value.strip().isdecimal():
            value = int(value)
    if type(value) is int:
        value = (value, value)
    good = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not good or any(type(side) is not int or side < 1 for side in value):
        raise UsageError(
            f"tile={value if isinstance(value, str) else _shown(value)} is no size of a tile. It is a width and a "
            "height in pixels, each at least 1, or 'auto'. Set tile=auto, or for example tile=640x512."
        )
    return value[0], value[1]


def _shown(value: Any) -> str:
    is_size = isinstance(value, list | tuple) and len(value) == 2
    return f"{value[0]}x{value[1]}" if is_size else str(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _check_number(name: str, value: Any, good: bool, allowed: str) -> None:
    if not good:
        default = TilingOptions.__dataclass_fields__[name].default
        raise UsageError(f"{name}={value} is not allowed. It is a number {allowed}. Leave it out for {default}.")


def _choose(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if isinstance(value, str) and value.lower() in allowed:
        return value.lower()
    raise UsageError(
        f"{name}={value} is not known.{suggest_name(str(value).lower(), allowed)} Allowed: {', '.join(allowed)}. "
        f"Leave it out for {allowed[0]}."
    )
