"""The parity gate: an exported file is compared with its checkpoint before it gets its final name.

Both see the same images, each prepared by code of its own: the module's by the transform of training, the file's by the
runtime. Their detections are compared as sets (`agreement`), then by AP where objects are annotated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from uavdet.engine.calls import check_class_names
from uavdet.errors import CheckpointError, UAVDetError, UsageError, one_line, suggest_name
from uavdet.evaluation.coco import Coco
from uavdet.evaluation.truth import GroundTruth, ImageDetections
from uavdet.export.agreement import Agreement, compare_rows, found_again
from uavdet.export.backends import Backend, open_backend
from uavdet.export.divergence import find_divergence
from uavdet.export.layouts import check_rows, decode_outputs
from uavdet.export.network import most_rows
from uavdet.export.parity_report import ParityReport, Precisions, RowFigures
from uavdet.export.reference import Reference, training_input
from uavdet.export.samples import Samples, read_samples
from uavdet.export.tolerances import TOLERANCES, Tolerance
from uavdet.runtime.metadata import ImageInput
from uavdet.runtime.postprocess import decode_rows
from uavdet.runtime.preprocess import InputBuffer

OUTPUTS = ("detections", "raw", "deepstream")
_BATCHES = (1, 3)
"""Images a run, in turn, where the batch size is open."""
_TELLING_AP = 0.01
"""AP of the checkpoint below which AP tells nothing: the network does not know these objects."""
_PAIRED = 0.9
"""Share of rows that have to be paired where rounding decides which queries are chosen."""


@dataclass(frozen=True)
class _Subject:
    """The file under comparison: how it is run, its layout, its input size, the model's channels, classes and rows."""

    backend: Backend
    output: str
    size: tuple[int, int]
    channels: int
    names: dict[int, str]
    rows: int


@dataclass(frozen=True)
class _Compared:
    """The rows (K, 6) that the checkpoint and the file gave, by image, and their agreement."""

    reference: dict[str, np.ndarray]
    found: dict[str, np.ndarray]
    agreements: list[Agreement]


def check_parity(
    module: nn.Module,
    file: Path,
    *,
    precision: str,
    data: str | None = None,
    images: int = 16,
    output: str = "detections",
    max_det: int = 300,
) -> ParityReport:
    """Compare an exported file with the module that it was made from.

    Args:
        module: The checkpoint's module, a DETR; it stays as it is.
        file: The exported file.
        precision: That of the file, fp32, fp16, bf16 or int8, which sets the tolerances.
        data: A dataset YAML, on whose validation images both are compared; None for synthetic scenes.
        images: Number of images.
        output: Layout of the file's outputs: detections, raw or deepstream.
        max_det: Rows of an image that the file was to give at most.

    Returns:
        The report. A file fails that cannot be opened or run, or gives numbers that are not finite.

    Raises:
        ConfigError: The dataset YAML cannot be used.
        DataError: Its images or labels cannot be used.
        UsageError: Its classes are not the model's, or the file's format, the precision or the layout is not known.
    """
    _check_choice("precision", precision, TOLERANCES)
    _check_choice("output", output, OUTPUTS)
    started = time.perf_counter()
    report = ParityReport(str(file), precision, output, TOLERANCES[precision])
    try:
        subject = _open(module, Path(file), output, max_det)
    except CheckpointError as error:
        return replace(report, failures=(_failure(error),))
    samples = read_samples(subject.names, subject.size, data, images)
    if data is not None and samples.truth is not None:
        check_class_names(subject.names, samples.truth.names, Path(data))
    report = replace(
        report, source=samples.source, images=len(samples.images), batches=_batch_sizes(subject.backend.batch)
    )
    try:
        report = _judge(report, _compare(Reference(module), subject, samples), samples.truth)
    except CheckpointError as error:
        report = replace(report, failures=(_failure(error),))
    if not report.passed:
        worst = report.figures.worst_image if report.figures is not None else ""
        image = samples.images.get(worst, next(iter(samples.images.values())))
        given = _file_input([image] * (subject.backend.batch or 1), subject)
        wanted = np.repeat(training_input(image, subject.size, subject.channels), len(given), axis=0)
        report = replace(report, divergence=find_divergence(module, Path(file), given, wanted, precision, output))
    return replace(report, seconds=round(time.perf_counter() - started, 2))


def _check_choice(name: str, given: str, known: Any) -> None:
    if given not in known:
        raise UsageError(f"{name}={given} is not known.{suggest_name(given, known)} Give one of {', '.join(known)}.")


def _failure(error: UAVDetError) -> str:
    return one_line(error).rstrip(".")


def _open(module: nn.Module, file: Path, output: str, max_det: int) -> _Subject:
    """Open the file and compare what it says of itself with the module.

    Raises:
        CheckpointError: It cannot be opened, does not say its input size, or names other classes.
    """
    backend = open_backend(file)
    if backend.size is None:
        raise CheckpointError(f"'{file}' does not say its input size. Give a file that uavdet export wrote.")
    names = {int(key): str(name) for key, name in module.names.items()}  # type: ignore[union-attr,operator]
    written = backend.metadata.get("names")
    if isinstance(written, dict) and {int(key): str(name) for key, name in written.items()} != names:
        raise CheckpointError(f"'{file}' names other classes than the checkpoint: {written} instead of {names}")
    channels = int(module.yaml.get("channels", 3))  # type: ignore[union-attr,operator]
    return _Subject(backend, output, backend.size, channels, names, most_rows(module, max_det))


def _compare(reference: Reference, subject: _Subject, samples: Samples) -> _Compared:
    """Run both on all images.

    Raises:
        CheckpointError: The file cannot be run, or its outputs are no detections.
    """
    compared = _Compared({}, {}, [])
    for group in _groups(list(samples.images), subject.backend.batch):
        images = [samples.images[name] for name in group]
        for name, image, rows in zip(group, images, _run_file(images, subject), strict=True):
            expected, unstable = reference(training_input(image, subject.size, subject.channels))
            expected = expected[: subject.rows]
            _check_reference(expected, name)
            check_rows(rows, len(subject.names), name)
            if len(rows) != len(expected):
                raise CheckpointError(f"The file gives {len(rows)} detections of '{name}', not {len(expected)}")
            compared.reference[name], compared.found[name] = expected, rows
            compared.agreements.append(compare_rows(expected, rows, subject.size, name, unstable))
    return compared


def _check_reference(rows: np.ndarray, image: str) -> None:
    if not np.isfinite(rows).all():
        raise CheckpointError(f"The weights themselves give NaN or infinity for '{image}'. Train them again")


def _batch_sizes(batch: int | None) -> tuple[int, ...]:
    return _BATCHES if batch is None else (batch,)


def _groups(names: list[str], batch: int | None) -> Iterator[list[str]]:
    """Yield the images of each run."""
    sizes, turn, start = _batch_sizes(batch), 0, 0
    while start < len(names):
        count = sizes[turn % len(sizes)]
        yield names[start : start + count]
        start, turn = start + count, turn + 1


def _run_file(images: list[np.ndarray], subject: _Subject) -> np.ndarray:
    """Return the rows (B, K, 6) of images; a fixed batch is filled up with the last one."""
    missing = (subject.backend.batch or len(images)) - len(images)
    batch = _file_input([*images, *[images[-1]] * missing], subject)
    try:
        outputs = subject.backend(batch)
    except Exception as error:  # runtimes have kinds of their own
        raise CheckpointError(f"The file does not run on a batch of {len(batch)}: {one_line(error)[:200]}") from error
    rows = decode_outputs(outputs, subject.output, subject.size, len(subject.names), subject.rows)
    if len(rows) != len(batch):
        raise CheckpointError(f"The file gives {len(rows)} results for a batch of {len(batch)}")
    return rows[: len(images)]


def _file_input(images: list[np.ndarray], subject: _Subject) -> np.ndarray:
    """Return images as the file takes them, by the runtime's own code."""
    if subject.channels not in {1, 3}:  # pictures of other channels are prepared by the user
        return np.concatenate([training_input(image, subject.size, subject.channels) for image in images])
    pictures = subject.backend.pictures
    color = "grey" if subject.channels == 1 else "BGR" if pictures else "RGB"
    kind = np.uint8 if pictures else np.float32
    form = ImageInput("images", subject.size, subject.channels, kind, channels_last=pictures, color=color)
    return InputBuffer(form).fill(images, len(images))


def _judge(report: ParityReport, compared: _Compared, truth: GroundTruth | None) -> ParityReport:
    """Return the report with all figures and what they fail."""
    figures = _figures(compared)
    ap = ap_small = None
    if truth is not None:
        scores = [_score(truth, rows) for rows in (compared.reference, compared.found)]
        ap, ap_small = (Precisions(scores[0][name], scores[1][name]) for name in ("AP", "AP_small"))
    failures = [
        *_failed_rows(figures, report.tolerance, report.images),
        *_failed_ap(ap, ap_small, report.tolerance),
        *_failed_without_ap(figures, ap, report.tolerance),
    ]
    return replace(report, figures=figures, ap=ap, ap_small=ap_small, failures=tuple(failures))


def _figures(compared: _Compared) -> RowFigures:
    agreements = compared.agreements
    stable = [one for one in agreements if not one.unstable and len(one.overlaps)] or [
        one for one in agreements if len(one.overlaps)
    ]
    worst = min(stable, key=lambda one: float(one.overlaps.min()), default=None)
    pairs = [(compared.reference[name], compared.found[name]) for name in compared.reference]
    confident = [again for again in (found_again(*pair) for pair in pairs) if again is not None]
    total = sum(count for _, count in confident)
    return RowFigures(
        rows=sum(one.rows for one in agreements),
        unmatched=sum(one.unmatched for one in agreements if not one.unstable),
        cut=sum(one.cut for one in agreements),
        unstable=sum(one.unstable for one in agreements),
        worst_iou=float(worst.overlaps.min()) if worst is not None else 0.0,
        worst_score_difference=max((float(one.scores.max()) for one in stable), default=1.0),
        worst_image=worst.image if worst is not None else "",
        median_iou=min((one.median_overlap for one in agreements), default=0.0),
        median_logit_difference=max((one.median_logit for one in agreements), default=0.0),
        paired=min((one.paired for one in agreements), default=0.0),
        score_difference=max(float(np.abs(a[:, 4] - b[: len(a), 4]).max(initial=0.0)) for a, b in pairs),
        confident=sum(again for again, _ in confident) / total if total else None,
    )


def _score(truth: GroundTruth, rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Return COCO's metrics of the rows of the annotated images."""
    detections = {}
    for image in truth.images:
        given = rows[image.name]
        found = decode_rows(given, image.size[::-1], truth.names, conf=0.0, max_det=len(given))
        detections[image.name] = ImageDetections(found.boxes, found.scores, found.classes)
    return Coco().score(truth, detections).metrics


def _failed_rows(figures: RowFigures, tolerance: Tolerance, images: int) -> Iterator[str]:
    """Yield what the rows fail; single ones prove nothing where rounding decides which queries there are."""
    limits = tolerance.rows
    if limits is None:
        return
    if figures.unstable < images:
        if figures.worst_iou < limits.overlap:
            yield f"a box of '{figures.worst_image}' has IoU {figures.worst_iou:.5f}, less than {limits.overlap}"
        if figures.worst_score_difference > limits.score:
            yield f"a score differs by {figures.worst_score_difference:.1e}, more than {limits.score}"
        if figures.unmatched:
            yield f"{figures.unmatched} detections have no counterpart"
    if figures.median_iou < limits.median_overlap:
        yield f"the median IoU is {figures.median_iou:.6f}, less than {limits.median_overlap}"
    if figures.median_logit_difference > limits.median_logit:
        yield f"the median logit differs by {figures.median_logit_difference:.1e}, more than {limits.median_logit}"
    if figures.paired < _PAIRED:
        yield f"{figures.paired:.0%} of an image's detections have a counterpart, less than {_PAIRED:.0%}"


def _failed_ap(ap: Precisions | None, small: Precisions | None, tolerance: Tolerance) -> Iterator[str]:
    """Yield what AP fails; a gain is no failure, and NaN, where there is no object, tells nothing."""
    for name, both, limit in (("AP", ap, tolerance.ap), ("AP of small objects", small, tolerance.ap_small)):
        if both is not None and limit is not None and both.lost > limit:
            yield (
                f"{name} falls by {both.lost:.2f} points, from {100 * both.checkpoint:.2f} to "
                f"{100 * both.exported:.2f}; {limit} are allowed"
            )


def _failed_without_ap(figures: RowFigures, ap: Precisions | None, tolerance: Tolerance) -> Iterator[str]:
    """Yield what the detections of a file of low precision fail where no AP can tell."""
    if tolerance.rows is not None or (ap is not None and ap.checkpoint >= _TELLING_AP):
        return
    if figures.confident is not None and figures.confident < tolerance.confident:
        yield (
            f"{figures.confident:.1%} of the checkpoint's confident detections are found again, less than "
            f"{tolerance.confident:.0%}"
        )
    if figures.score_difference > tolerance.scores:
        yield f"scores differ by {figures.score_difference:.3f}, more than {tolerance.scores}"
