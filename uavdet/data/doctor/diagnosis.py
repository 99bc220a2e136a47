"""The diagnosis of a dataset: what was found, what it means, and how it is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.data.config import DataConfig, load_data_config
from uavdet.data.doctor.advice import Advice, Evidence, advise
from uavdet.data.doctor.boxes import describe_boxes, join_tables
from uavdet.data.doctor.duplicates import Duplicates, describe_duplicates, find_duplicates
from uavdet.data.doctor.findings import Finding, count_kinds
from uavdet.data.doctor.images import ImageFacts
from uavdet.data.doctor.model_settings import ModelSettings, settle
from uavdet.data.doctor.splits import NEEDED, SplitFacts, describe_images, examine_split, list_split
from uavdet.data.labels import label_file
from uavdet.json_output import as_plain


@dataclass
class Diagnosis:
    """What is known of a dataset.

    Attributes:
        config: The dataset.
        settings: Queries and input size that it was looked at with.
        splits: Its splits.
        findings: What is wrong or odd, what stops a training first.
        duplicates: Identical and similar images, by their numbers in `images`.
        seconds: How long the examination took.
    """

    config: DataConfig
    settings: ModelSettings
    splits: dict[str, SplitFacts]
    findings: list[Finding]
    duplicates: Duplicates
    seconds: float

    @property
    def images(self) -> list[ImageFacts]:
        """The images of all splits, one split after the other."""
        return [image for split in self.splits.values() for image in split.images]

    @property
    def image_splits(self) -> list[str]:
        """The split of each of `images`."""
        return [split.name for split in self.splits.values() for _ in split.images]

    @property
    def usable(self) -> bool:
        """Whether training and scoring take the dataset as it is."""
        return not any(finding.stops for finding in self.findings)

    @cached_property
    def advice(self) -> list[Advice]:
        """What to do, and why."""
        return advise(gather_evidence(self))

    @cached_property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """Counts of the images and statistics of the boxes of each split."""
        return {name: self._describe(split) for name, split in self.splits.items()}

    def _describe(self, split: SplitFacts) -> dict[str, Any]:
        described = {**describe_images(split), **describe_boxes(split.table, self.config.names, self.settings.imgsz)}
        if split.ignore is not None:
            described["ignore"] = vars(split.ignore)
        return described

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as plain data; numbers that do not exist are None."""
        return as_plain(
            {
                "data": self.config.yaml_file,
                "names": self.config.names,
                "queries": self.settings.queries,
                "imgsz": self.settings.imgsz,
                "usable": self.usable,
                "seconds": round(self.seconds, 2),
                "splits": self.statistics,
                "duplicates": describe_duplicates(self.duplicates, self.images, self.image_splits),
                "finding_counts": count_kinds(self.findings),
                "findings": [finding.as_dict() for finding in self.findings],
                "advice": [vars(entry) for entry in self.advice],
            }
        )

    def table(self) -> str:
        """Return the diagnosis as text for people."""
        from uavdet.data.doctor.report import write_report

        return write_report(self)


def examine(
    data: str | Path,
    *,
    model: str | None = None,
    queries: int | None = None,
    imgsz: int | list[int] | None = None,
) -> Diagnosis:
    """Check a dataset: files, labels, annotations, duplicates, sizes and numbers of objects.

    Args:
        data: A dataset YAML, or the name of one that ships in `datasets/`.
        model: A model YAML or weights, whose queries and input size count; reading weights needs PyTorch.
        queries: Number of queries, in the place of the model's; default: 300.
        imgsz: Side of the network's input in pixels, or [height, width], in the place of the model's; default: 640.

    Raises:
        ConfigError: The dataset or the model YAML is missing or malformed.
        CheckpointError: The weights cannot be read.
    """
    config = load_data_config(data)
    settings = settle(model, queries, imgsz)
    start = time.perf_counter()
    listed = {split: list_split(config, split) for split in dict.fromkeys((*NEEDED, *config.images))}
    known = {label_file(image) for images, _ in listed.values() for image in images}
    known |= {path for paths in config.images.values() for path in paths}
    splits, findings = {}, [finding for _, found in listed.values() for finding in found]
    for split, (images, _) in listed.items():
        splits[split] = examine_split(config, split, images, known)
        findings += splits[split].findings
    diagnosis = Diagnosis(
        config=config,
        settings=settings,
        splits=splits,
        findings=sorted(findings, key=lambda finding: not finding.stops),
        duplicates=Duplicates(),
        seconds=0.0,
    )
    diagnosis.duplicates = find_duplicates(diagnosis.images, diagnosis.image_splits)
    diagnosis.seconds = time.perf_counter() - start
    return diagnosis


def gather_evidence(diagnosis: Diagnosis) -> Evidence:
    """Return the numbers of a dataset that advice follows from."""
    table = join_tables([split.table for split in diagnosis.splits.values()])
    train = diagnosis.splits["train"]
    counts = np.bincount(train.table.classes, minlength=diagnosis.config.nc)
    names = diagnosis.config.names if train.images else {}
    height, width = diagnosis.settings.imgsz
    longer = max(height, width)
    sizes = {split.name: len(split.images) for split in diagnosis.splits.values()}
    partners: Mapping[tuple[str, str], int] = diagnosis.duplicates.partners
    return Evidence(
        names=tuple(diagnosis.config.names.values()),
        counts=table.counts,
        original=table.sides(),
        network=table.sides(diagnosis.settings.imgsz),
        long_side=float(np.median(table.shapes.max(1))) if len(table.shapes) else 0.0,
        imgsz=longer,
        shape=(height / longer, width / longer),
        queries=diagnosis.settings.queries,
        class_objects={name: int(counts[index]) for index, name in names.items()},
        unlabelled=(sum(not labels.found for labels in train.labels), len(train.images)),
        leaked={split: (n, sizes[split]) for (split, other), n in partners.items() if other == "train"},
    )
