"""A model scored beside variants of itself in one pass over a dataset, by size of objects.

What is scored is the validation of `uavdet val`: its loading, its detections, its protocols. Behind each batch the
variants run on what the unchanged network has computed of it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)
from uavdet.engine.families import Family
from uavdet.engine.validator import ProtocolScoring
from uavdet.errors import DataError, UsageError
from uavdet.evaluation.bootstrap import draw_image_weights
from uavdet.evaluation.coco import CocoLike
from uavdet.evaluation.comparison import measure_difference
from uavdet.evaluation.protocol import Protocol, find_protocols
from uavdet.evaluation.tinyperson import AREAS, TinyPerson
from uavdet.evaluation.truth import GroundTruth, ImageDetections
from uavdet.model import UAVDet

INTACT = "intact"
_SEED = 0
_VALIDATION = ("data", "split", "imgsz", "batch", "device", "conf", "skip_bad", "fraction")
_EVERYTHING = (0.0, 1e10)
_LONG_NAMES = {"vt": "very tiny", "t": "tiny", "s": "small", "m": "medium"}


class Variants(ABC):
    """Variants of a network; one object serves one pass over a dataset.

    Attributes:
        names: Of the variants, in the order of tables; none is `INTACT`.
    """

    names: list[str]

    @abstractmethod
    def watch(self, network: nn.Module) -> None:
        """Get to know the network that will run: a copy of the model, fused, on its device."""

    @abstractmethod
    def outputs(self, batch: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield each variant's name and what the network returns for a batch.

        Args:
            batch: On the device; the unchanged network has just seen its `img` (B, C, H, W).
        """


class VariantScoring(ProtocolScoring):
    """Collects the detections of variants beside those of the unchanged network.

    Attributes:
        variants: What runs behind each batch.
        variant_detections: By variant, then by image file.
    """

    variants: Variants
    variant_detections: dict[str, dict[str, ImageDetections]]

    def init_metrics(self, model: nn.Module) -> None:
        """Show the network to the variants, and refuse data without objects."""
        super().init_metrics(model)
        truth, _ = self.ground_truth()
        if not truth.counts.sum():
            raise DataError(
                f"{self.data_config.yaml_file}: '{self.args.split}:' has no object, so there is nothing to score. "
                "Correct its labels, or score another split: split=train."
            )
        self.variants.watch(model.model)  # type: ignore[arg-type]
        self.variant_detections = {name: {} for name in self.variants.names}

    def print_results(self) -> None:
        """Print nothing: the analysis has a table of its own."""

    def update_metrics(self, preds: list[dict[str, Tensor]], batch: dict[str, Any]) -> None:
        """Take the detections of a batch, and run the variants on it."""
        super().update_metrics(preds, batch)
        for name, outputs in self.variants.outputs(batch):
            found = self.detections_of(self.postprocess(outputs), batch)
            self.variant_detections[name].update(found)


@dataclass(frozen=True)
class SizeScore:
    """How well a variant detects objects of one size, beside the intact model.

    Attributes:
        protocol: Name of the protocol.
        variant: Name of the variant.
        metric: Name of the metric, such as AP_vt.
        value: In [0, 1]; NaN where there is no such object.
        difference: From the intact model.
        low: Lower end of the difference's 95 % interval, by paired bootstrap over images; NaN of the intact model.
        high: Upper end.
    """

    protocol: str
    variant: str
    metric: str
    value: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class SizeMetric:
    """A metric that counts objects of one size.

    Attributes:
        name: What the protocol calls it.
        size: The size in words: all, very tiny, ...
        bounds: Lowest and highest side in original pixels, the square root of the area.
        objects: How many objects the ground truth has of it.
    """

    name: str
    size: str
    bounds: tuple[float, float]
    objects: int

    @property
    def range(self) -> str:
        """The sides as text."""
        low, high = (f"{side:.0f}" for side in self.bounds)
        if self.bounds[1] >= _EVERYTHING[1] ** 0.5:
            return "every size" if self.bounds[0] <= 1 else f"from {low} px"
        return f"up to {high} px" if self.bounds[0] <= 1 else f"{low} to {high} px"


@dataclass(frozen=True)
class VariantScores:
    """What protocols say of the variants of a model.

    Attributes:
        scores: The intact model first, then the variants.
        metrics: By protocol: the metrics of sizes that there are objects of.
        images: How many images were scored.
    """

    scores: list[SizeScore]
    metrics: dict[str, list[SizeMetric]]
    images: int

    def of(self, protocol: str, variant: str) -> dict[str, SizeScore]:
        """Return the scores of one variant by one protocol, by metric."""
        return {s.metric: s for s in self.scores if (s.protocol, s.variant) == (protocol, variant)}


def find_sized_protocols(names: Sequence[str]) -> list[Protocol]:
    """Return the protocols that `protocol=` names.

    Raises:
        UsageError: None is named, or one is unknown or does not tell sizes of objects apart.
    """
    protocols = find_protocols(names)
    for protocol in protocols:
        if not _areas(protocol):
            raise UsageError(
                f"protocol={protocol.name} has no AP by size of objects. Protocols that have are aitod, coco, coco500 "
                "and tinyperson. Give protocol=aitod."
            )
    return protocols


def _areas(protocol: Protocol) -> dict[str, tuple[str, tuple[float, float]]]:
    """Return the metrics of a protocol by size: name to the size in words and its range of areas."""
    if isinstance(protocol, CocoLike):
        sizes = {f"AP_{size}": (_LONG_NAMES.get(size, size), area) for size, area in protocol.areas.items()}
        return {"AP": ("all", _EVERYTHING), **sizes}
    if isinstance(protocol, TinyPerson):
        return {f"AP50_{size}": (size, area) for size, area in AREAS.items()}
    return {}


def _size_metrics(protocol: Protocol, truth: GroundTruth) -> list[SizeMetric]:
    areas = np.concatenate([image.areas[~image.crowd] for image in truth.images])
    found = []
    for name, (size, (low, high)) in _areas(protocol).items():
        count = int(((areas >= low) & (areas <= high)).sum())
        if count:
            found.append(SizeMetric(name, size, (low**0.5, high**0.5), count))
    return found


def score_variants(model: UAVDet, variants: Variants, options: Mapping[str, Any], folder: Path) -> VariantScores:
    """Score a model and its variants in one pass over a split.

    Args:
        model: With a PyTorch module.
        variants: What to score beside it.
        options: Those of mode `analyze`; of them the ones that `uavdet val` has too, `protocol` and `samples`.
        folder: Where the pass keeps the file that it has to write; a scratch folder.

    Raises:
        UsageError: An option cannot be used.
        ConfigError: The dataset YAML or the split cannot be used.
        DataError: The data is damaged, or holds no object.
    """
    protocols = find_sized_protocols(options["protocol"])
    _check_sides(model, options["imgsz"])
    given = {name: options[name] for name in _VALIDATION if options.get(name) is not None}
    names = [protocol.name for protocol in protocols]
    validator = model.make_validator(folder, VariantScoring, **given, protocol=names, plots=False)
    validator.variants = variants
    validator(model=copy.deepcopy(model.module))
    truth, image_names = validator.ground_truth()
    detections = {INTACT: validator.found}
    for name, by_file in validator.variant_detections.items():
        detections[name] = {image_names[file]: found for file, found in by_file.items()}
    return compare_variants(protocols, truth, detections, int(options["samples"]))


def _check_sides(model: UAVDet, imgsz: int | list[int] | None) -> None:
    """Refuse two sides for a stock YOLO, whose images are scored in squares of the longer one.

    Raises:
        UsageError: Two different sides are given.
    """
    if model.family is Family.STOCK_YOLO and isinstance(imgsz, list) and len(set(imgsz)) > 1:
        raise UsageError(
            f"imgsz={','.join(map(str, imgsz))} is not usable: a stock YOLO is scored on squares that images are "
            f"fitted into. Give one side: imgsz={max(imgsz)}."
        )


def compare_variants(
    protocols: Sequence[Protocol],
    truth: GroundTruth,
    detections: Mapping[str, Mapping[str, ImageDetections]],
    samples: int,
) -> VariantScores:
    """Return the scores of all variants, with bootstrap intervals of their differences from the intact model.

    Args:
        protocols: That tell sizes apart.
        truth: The annotated images.
        detections: By variant, then by image name; one of the variants is `INTACT`.
        samples: How many bootstrap samples.

    Raises:
        DataError: A protocol scores no object of the data.
    """
    weights = draw_image_weights(len(truth.images), samples, _SEED)
    weights = np.concatenate([np.ones_like(weights[:1]), weights])  # the first sample is the images as they are
    metrics: dict[str, list[SizeMetric]] = {}
    scores: list[SizeScore] = []
    for protocol in protocols:
        sampled: dict[str, Any] = {name: protocol.resample(truth, f, weights) for name, f in detections.items()}
        scored = [m for m in _size_metrics(protocol, truth) if np.isfinite(sampled[INTACT][m.name][0])]
        if not scored:
            raise DataError(f"Protocol {protocol.name} scores no object of the data. Give another: protocol=coco.")
        metrics[protocol.name] = scored
        scores += [_score(protocol.name, n, m.name, v, sampled[INTACT]) for n, v in sampled.items() for m in scored]
    return VariantScores(scores, metrics, len(truth.images))


def _score(protocol: str, variant: str, metric: str, values: Any, intact: Any) -> SizeScore:
    value = float(values[metric][0])
    if variant == INTACT:
        return SizeScore(protocol, variant, metric, value, 0.0, float("nan"), float("nan"))
    found = measure_difference(variant, INTACT, metric, values[metric], intact[metric])
    return SizeScore(protocol, variant, metric, value, found.value, found.low, found.high)
