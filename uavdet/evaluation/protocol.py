"""What a protocol is: a name under which scores can be published and compared.

A protocol is a subclass of `Protocol` in a module of this folder; subclassing registers it under its `name`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from uavdet.errors import UsageError, suggest_name
from uavdet.evaluation.truth import GroundTruth, ImageDetections

_PROTOCOLS: dict[str, type[Protocol]] = {}
_MODULES = ("coco", "aitod", "visdrone", "tinyperson", "ultralytics")


@dataclass(frozen=True)
class Score:
    """What one protocol says of a set of detections.

    Attributes:
        protocol: Its name.
        metrics: The numbers that it publishes, in its order, in [0, 1]; NaN where there is no object to score.
        per_class: The same or fewer by class name, for classes that have objects.
        rules: What makes the protocol different, in one line: detections an image, sizes, ignored regions.
    """

    protocol: str
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    rules: str = ""

    @property
    def headline(self) -> float:
        """The number by which models are ranked: AP, or the first one of a protocol that has no AP; -1 for NaN."""
        row = self.as_row()
        return row.get(f"{self.protocol}/AP", next(iter(row.values())))

    def as_row(self) -> dict[str, float]:
        """Return the numbers as `protocol/metric`, as results.csv names them; NaN becomes -1, as in COCO's tools."""
        return {f"{self.protocol}/{name}": -1.0 if np.isnan(v) else float(v) for name, v in self.metrics.items()}


class Protocol(ABC):
    """Scores detections by fixed rules.

    Attributes:
        name: What `protocol=` calls it.
        max_detections: Most detections an image that it looks at.
        rules: See `Score`.
    """

    name: ClassVar[str] = ""
    max_detections: ClassVar[int] = 100
    rules: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            _PROTOCOLS[cls.name] = cls

    @abstractmethod
    def score(self, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> Score:
        """Return the scores of detections.

        Args:
            truth: The annotated images; boxes in original pixels.
            detections: By image name; an image without an entry has no detection.

        Raises:
            DataError: A detection belongs to no annotated image, has no such class, or a box or score is not finite.
        """

    def resample(
        self, truth: GroundTruth, detections: Mapping[str, ImageDetections], weights: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        """Return the metrics of resampled images, each (S,) with NaN where a sample has no object to score.

        Args:
            truth: The annotated images.
            detections: By image name.
            weights: (S, I) how often each image counts in each sample, whole numbers.

        Returns:
            None where the protocol has no means to weigh images.
        """
        return None


def available_protocols() -> dict[str, type[Protocol]]:
    """Return every protocol by name, in the order in which tables show them."""
    for module in _MODULES:
        importlib.import_module(f"uavdet.evaluation.{module}")
    return dict(_PROTOCOLS)


def find_protocols(names: Iterable[str]) -> list[Protocol]:
    """Return the protocols that `protocol=` names.

    Raises:
        UsageError: None is named, or one is unknown; the message lists those that exist.
    """
    known, names = available_protocols(), list(names)
    if not names:
        raise UsageError(f"No protocol was given. Known: {', '.join(known)}. Give one: protocol=coco.")
    for name in names:
        if name not in known:
            raise UsageError(f"Unknown protocol '{name}'.{suggest_name(name, known)} Known: {', '.join(known)}.")
    return [known[name]() for name in dict.fromkeys(names)]
