"""What `uavdet val` writes beside its numbers: tables, curves, a confusion matrix and the worst images."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uavdet import __version__
from uavdet.evaluation.aitod import AiTod
from uavdet.evaluation.charts import draw_confusion, draw_precision_recall
from uavdet.evaluation.coco import Coco, CocoLike
from uavdet.evaluation.confusion import (
    IOU,
    ImageErrors,
    best_confidence,
    count_confusions,
    count_errors,
    find_all_errors,
)
from uavdet.evaluation.matching import Matching, match_detections
from uavdet.evaluation.pictures import draw_errors, read_picture, write_picture
from uavdet.evaluation.precision import RECALLS, mean_of_valid, precision_recall
from uavdet.evaluation.protocol import Score
from uavdet.evaluation.run_files import DETECTIONS_FILE, METRICS_FILE, write_detections, write_metrics
from uavdet.evaluation.truth import GroundTruth, ImageDetections

WORST_IMAGES = 8
TABLE_WIDTH = 120
_BACKGROUND = "background"
_EVERYTHING = (0.0, 1e10)
_MOST_DETECTIONS = 500


def write_report(
    folder: Path,
    truth: GroundTruth,
    detections: Mapping[str, ImageDetections],
    scores: list[Score],
    files: Mapping[str, Path],
    *,
    settings: Mapping[str, Any],
    plots: bool = True,
) -> dict[str, Path]:
    """Write the report of a validation.

    Args:
        folder: Where to; made if missing. What an earlier report left there is written over.
        truth: The annotated images.
        detections: By image name, in original pixels; an image without an entry has no detection.
        scores: What the protocols say.
        files: Image name to image file; images without one are not drawn.
        settings: What else metrics.json holds: name of the run, model, data, split, seed, ...
        plots: Draw the PNG files and the worst images too.

    Returns:
        What was written by name: files, and the folder `worst`.

    Raises:
        DataError: Detections do not fit the truth; see `flatten_detections`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = _write_run_files(folder, truth, detections, scores, settings)
    written |= _write_precision(folder, truth, detections, plots)
    written["ap_by_class"] = _write_rows(folder / "ap_by_class.csv", _class_rows(truth, scores))
    confidence, f1 = _find_confidence(truth, detections)
    errors = find_all_errors(truth, detections, confidence)
    title = f"IoU >= {IOU:.2f}, confidence >= {confidence:.3f} (best mean F1: {f1:.3f}); ignored left out"
    written |= _write_confusion(folder, truth, errors, title, plots)
    if plots:
        written["worst"] = _write_worst(folder / "worst", truth, errors, files, confidence)
    return written


def _write_run_files(
    folder: Path,
    truth: GroundTruth,
    detections: Mapping[str, ImageDetections],
    scores: list[Score],
    settings: Mapping[str, Any],
) -> dict[str, Path]:
    record = {
        "uavdet": __version__,
        **settings,
        "images": len(truth.images),
        "objects": int(truth.counts.sum()),
        "protocols": {s.protocol: {"metrics": s.metrics, "per_class": s.per_class, "rules": s.rules} for s in scores},
    }
    write_detections(folder / DETECTIONS_FILE, truth, detections)
    write_metrics(folder / METRICS_FILE, record)
    return {"metrics": folder / METRICS_FILE, "detections": folder / DETECTIONS_FILE}


def _write_rows(file: Path, rows: Iterable[Iterable[Any]]) -> Path:
    """Write a CSV; NaN becomes an empty cell."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([["" if isinstance(v, float) and np.isnan(v) else v for v in row] for row in rows])
    return file


def _write_precision(
    folder: Path, truth: GroundTruth, detections: Mapping[str, ImageDetections], plots: bool
) -> dict[str, Path]:
    """Write precision over recall by COCO's rules, and AP by size by those of COCO and of AI-TOD."""
    rows: list[list[Any]] = [["protocol", "size", "from_px2", "to_px2", "objects", "AP", "AP50", "AP75", "AR"]]
    written: dict[str, Path] = {}
    for protocol in (Coco(), AiTod()):
        matching = protocol.match(truth, detections)
        precision, recall = precision_recall(matching)
        rows += _size_rows(protocol, matching, precision, recall)
        if protocol.name == "coco":
            written |= _write_curves(folder, truth, precision[0, 0], plots)
    written["ap_by_size"] = _write_rows(folder / "ap_by_size.csv", rows)
    return written


def _size_rows(protocol: CocoLike, matching: Matching, precision: np.ndarray, recall: np.ndarray) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for index, (size, (low, high)) in enumerate({"all": _EVERYTHING, **protocol.areas}.items()):
        values = [precision[index], precision[index, 0], precision[index, 5], recall[index]]
        largest = "" if high >= _EVERYTHING[1] else high
        count = int(matching.objects[index].sum())
        rows.append([protocol.name, size, low, largest, count, *(mean_of_valid(value) for value in values)])
    return rows


def _write_curves(folder: Path, truth: GroundTruth, precision: np.ndarray, plots: bool) -> dict[str, Path]:
    """Write precision (101, K) at IoU .50 by class, and its mean; classes without an object have no column."""
    names = [truth.names[index] for index in sorted(truth.names)]
    curves = {name: column for name, column in zip(names, precision.T, strict=True) if (column >= 0).all()}
    mean = np.mean(list(curves.values()), axis=0) if curves else np.full(len(RECALLS), np.nan)
    rows = zip(RECALLS.round(2).tolist(), mean.tolist(), *(column.tolist() for column in curves.values()), strict=True)
    written = {"pr_curves": _write_rows(folder / "pr_curves.csv", [["recall", "mean", *curves], *rows])}
    if plots:
        written["pr_curves_plot"] = folder / "pr_curves.png"
        title = f"Precision and recall at IoU .50, COCO rules, {len(truth.images)} images"
        draw_precision_recall(written["pr_curves_plot"], curves, mean, RECALLS, title)
    return written


def _class_rows(truth: GroundTruth, scores: list[Score]) -> list[list[Any]]:
    """Return a row for each class: its objects, its images, and what each protocol says of it."""
    columns = [(s, metric) for s in scores for metric in dict.fromkeys(m for row in s.per_class.values() for m in row)]
    rows: list[list[Any]] = [["class", "objects", "images", *(f"{s.protocol}/{metric}" for s, metric in columns)]]
    for category in sorted(truth.names):
        name = truth.names[category]
        counts = [int(((image.classes == category) & ~image.crowd).sum()) for image in truth.images]
        values = [float(s.per_class.get(name, {}).get(metric, np.nan)) for s, metric in columns]
        rows.append([name, sum(counts), sum(count > 0 for count in counts), *values])
    return rows


def _find_confidence(truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> tuple[float, float]:
    return best_confidence(
        match_detections(
            truth,
            detections,
            thresholds=[IOU],
            area_ranges=[_EVERYTHING],
            max_detections=_MOST_DETECTIONS,
            regions_as_crowd=True,
        )
    )


def _write_confusion(
    folder: Path, truth: GroundTruth, errors: list[ImageErrors], title: str, plots: bool
) -> dict[str, Path]:
    names = [*(truth.names[index] for index in sorted(truth.names)), _BACKGROUND]
    matrix = count_confusions(truth, errors)
    rows = [
        ["annotated \\ detected", *names],
        *([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)),
    ]
    written = {"confusion_matrix": _write_rows(folder / "confusion_matrix.csv", rows)}
    if plots:
        written["confusion_matrix_plot"] = folder / "confusion_matrix.png"
        draw_confusion(written["confusion_matrix_plot"], matrix, names, title)
    return written


def _write_worst(
    folder: Path, truth: GroundTruth, errors: list[ImageErrors], files: Mapping[str, Path], confidence: float
) -> Path:
    """Draw the images with the most errors, the worst first; those without any are not drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]_*.jpg"):
        old.unlink()
    counts = np.array([count_errors(*pair) for pair in zip(truth.images, errors, strict=True)], dtype=np.int64)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] and truth.images[i].name in files]
    for place, index in enumerate(order[:WORST_IMAGES], start=1):
        annotated = truth.images[index]
        picture = read_picture(Path(files[annotated.name]))
        if picture is not None:
            drawn = draw_errors(picture, annotated, errors[index], truth.names, confidence)
            write_picture(folder / f"{place:02d}_{Path(annotated.name).stem}.jpg", drawn)
    return folder


def protocol_table(scores: list[Score]) -> str:
    """Return the scores of several protocols side by side, in percent with one decimal, as papers print them.

    A row for each metric, a column for each protocol, and their rules below. `-` where a protocol has no such number,
    `n/a` where the ground truth has no object for it.
    """
    if not scores:
        return ""
    metrics = list(dict.fromkeys(name for score in scores for name in score.metrics))
    cells = [[_percent(score.metrics, name) for score in scores] for name in metrics]
    heads = [score.protocol for score in scores]
    width = max(len("in percent"), *map(len, metrics))
    columns = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    lines = [_line("in percent", heads, width, columns)]
    lines += [_line(name, row, width, columns) for name, row in zip(metrics, cells, strict=True)]
    if any("n/a" in row for row in cells):
        lines.append("n/a: no such object in the ground truth.")
    return "\n".join([*lines, *_footnotes(scores)])


def _percent(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return "-"
    return "n/a" if np.isnan(metrics[name]) else f"{100 * metrics[name]:.1f}"


def _line(name: str, cells: list[str], width: int, columns: list[int]) -> str:
    return "  ".join([name.ljust(width), *(cell.rjust(size) for cell, size in zip(cells, columns, strict=True))])


def _footnotes(scores: list[Score]) -> list[str]:
    """Return a protocol's rules on a line each, wrapped."""
    width = max(len(score.protocol) for score in scores) + 2
    lines = []
    for score in scores:
        if score.rules:
            head = f"{score.protocol}:".ljust(width)
            lines += textwrap.wrap(head + score.rules, TABLE_WIDTH, subsequent_indent=" " * width)
    return lines
