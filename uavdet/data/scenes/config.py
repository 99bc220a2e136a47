"""What a synthetic scene is asked to be: `SceneConfig`, and the classes and words that it knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uavdet.errors import UsageError, suggest_name

CLASS_NAMES: tuple[str, ...] = ("person", "car", "bicycle", "truck", "boat")
"""Class names; a class id is an index into this tuple."""

MODALITIES: tuple[str, ...] = ("colour", "thermal")
GROUNDS: tuple[str, ...] = ("auto", "urban", "field", "harbour")


@dataclass(frozen=True)
class SceneConfig:
    """The settings of one scene; everything else is drawn from `seed`.

    Attributes:
        seed: Seed of every random choice, 0 or more.
        size: (width, height) of a frame in pixels, each 64 or more.
        modality: "colour", or "thermal" for white-hot grey images.
        ground: "urban", "field" or "harbour"; "auto" lets the seed choose.
        objects: Mean number of labelled objects visible in a frame.
        moving_camera: Whether the camera translates, turns and zooms.
        fps: Frames per second of the clip, which sets how far objects move between frames.
        ignore_regions: Number of clusters of drawn but unlabelled objects.
        min_size: Smallest long side of an object in pixels.
        max_size: Largest long side of an object in pixels.
        classes: The classes that are drawn, labelled or not.

    Raises:
        UsageError: a value is out of range; the message names the parameter.
    """

    seed: int = 0
    size: tuple[int, int] = (640, 512)
    modality: str = "colour"
    ground: str = "auto"
    objects: int = 40
    moving_camera: bool = False
    fps: float = 10.0
    ignore_regions: int = 1
    min_size: float = 3.0
    max_size: float = 60.0
    classes: tuple[str, ...] = CLASS_NAMES

    def __post_init__(self) -> None:
        for name in ("seed", "objects", "ignore_regions"):
            _require_count(name, getattr(self, name))
        for name in ("fps", "min_size", "max_size"):
            _require_positive(name, getattr(self, name))
        require_choice("modality", self.modality, MODALITIES)
        require_choice("ground", self.ground, GROUNDS)
        _require_size(self.size)
        _require_classes(self.classes)
        if self.max_size < 1.5 * self.min_size:
            raise UsageError(
                f"max_size={self.max_size} is too near min_size={self.min_size}. "
                f"max_size must be at least 1.5 times min_size. Set max_size={1.5 * self.min_size:g} or more."
            )


def require_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise UsageError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UsageError(
            f"{name}={value!r} is not known.{suggest_name(value, allowed)} Allowed: {', '.join(allowed)}. "
            f"Set {name}={allowed[0]}."
        )


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{name}={value!r} is not a count. It must be a whole number, 0 or more. Set {name}=0.")


def _require_positive(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise UsageError(f"{name}={value!r} is not usable. It must be a number above 0. Set {name}=10.")


def _require_size(value: Any) -> None:
    pair = isinstance(value, tuple | list) and len(value) == 2
    if not pair or any(isinstance(side, bool) or not isinstance(side, int) or side < 64 for side in value):
        raise UsageError(
            f"size={value!r} is not a frame size. It must be (width, height) in whole pixels, each 64 or more. "
            f"Set size=(640, 512)."
        )


def _require_classes(value: Any) -> None:
    unknown = [name for name in value if name not in CLASS_NAMES]
    if unknown or not value:
        raise UsageError(
            f"classes={value!r} is not usable. It must name one or more of {', '.join(CLASS_NAMES)}. "
            f"Set classes={CLASS_NAMES!r}."
        )
