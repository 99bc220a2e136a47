"""Writes what the arms of a table scored: a CSV of every run, and the rows of its page in docs/results."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from arms import Arm, Table
from costs import Cost
from runner import Settings

from uavdet.evaluation.comparison import Comparison, Difference, compare_arms, seed_deviation
from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.run_files import ValidatedRun, read_run
from uavdet.evaluation.truth import ImageDetections
from uavdet.runtime.postprocess import suppress_duplicates

SAMPLES = 1000
NMS = 0.7
"""IoU from which duplicates go in the last of the scores: `uavdet val iou=0.7`."""
_WITHOUT_DUPLICATES = "coco, iou 0.7"
_COLUMNS = {
    "AP": ("coco", "AP"),
    "AP50": ("coco", "AP50"),
    "small": ("coco", "AP_small"),
    "medium": ("coco", "AP_medium"),
    "AP_vt": ("aitod", "AP_vt"),
    "AP_t": ("aitod", "AP_t"),
    "AP_s": ("aitod", "AP_s"),
    "AP_m": ("aitod", "AP_m"),
    "AP50, iou 0.7": (_WITHOUT_DUPLICATES, "AP50"),
}
_RARE = "OtherVehicle"
"""Class of eight objects in HIT-UAV's validation images: a quarter of the mean, and mostly noise."""
_WITHOUT_RARE = f"AP50, no {_RARE}"
_COMPARED = ("AP", "AP50")
_BEGIN, _END = "<!-- table: {} -->", "<!-- end of table -->"


def write_table(
    settings: Settings, key: str, table: Table, seeds: list[int], folder: Path, costs: Mapping[str, Cost]
) -> str:
    """Write `<key>.csv`, and the table into `<key>.md` where that page has a place for it.

    Args:
        settings: Where the runs are.
        key: Name of the table and of its files.
        table: Its arms; those without a validated run are left out.
        seeds: Of the runs.
        folder: Of the pages.
        costs: What the arms' networks cost, where that was measured.

    Returns:
        The table as Markdown.
    """
    runs = {arm.name: _validated(settings, arm, seeds) for arm in table.arms}
    runs = {name: found for name, found in runs.items() if found}
    coco, aitod = find_protocols(["coco", "aitod"])
    fewer = {name: [_without_duplicates(run) for run in found] for name, found in runs.items()}
    results = {
        name: compare_arms(protocol, arms, samples=SAMPLES, seed=0)
        for name, protocol, arms in (("coco", coco, runs), ("aitod", aitod, runs), (_WITHOUT_DUPLICATES, coco, fewer))
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / f"{key}.csv", results, runs, costs)
    text = _markdown(results, runs, costs)
    page = folder / f"{key}.md"
    if page.exists():
        page.write_text(_insert(page.read_text(encoding="utf-8"), key, text), encoding="utf-8")
    return text


def _validated(settings: Settings, arm: Arm, seeds: list[int]) -> list[ValidatedRun]:
    folders = [settings.validated(arm, seed) for seed in seeds]
    return [read_run(folder) for folder in folders if (folder / "report" / "metrics.json").exists()]


def _without_duplicates(run: ValidatedRun) -> ValidatedRun:
    """Return what a run would have found with `iou=0.7`."""
    found = {}
    for image, all_of_it in run.detections.items():
        kept = suppress_duplicates(all_of_it.boxes, all_of_it.scores, all_of_it.classes, NMS)
        found[image] = ImageDetections(all_of_it.boxes[kept], all_of_it.scores[kept], all_of_it.classes[kept])
    return replace(run, detections=found)


def _write_csv(
    file: Path, results: dict[str, Comparison], runs: dict[str, list[ValidatedRun]], costs: Mapping[str, Cost]
) -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(["arm", "seed", "protocol", "metric", "value"])
        for arm, run in ((arm, run) for arm, found in runs.items() for run in found):
            writer.writerow([arm, run.record["seed"], "coco", _WITHOUT_RARE, f"{_common_ap50(run):.5f}"])
        for (protocol, result), arm in itertools.product(results.items(), runs):
            for metric, values in result.values[arm].items():
                for run, value in zip(runs[arm], values, strict=True):
                    writer.writerow([arm, run.record["seed"], protocol, metric, f"{value:.5f}"])
        for arm, cost in costs.items():
            writer.writerow([arm, "", "cost", "GFLOPs", f"{cost.gflops:.2f}"])
            writer.writerow([arm, "", "cost", "ms", f"{cost.milliseconds:.1f}"])


def _markdown(results: dict[str, Comparison], runs: dict[str, list[ValidatedRun]], costs: Mapping[str, Cost]) -> str:
    first = next(iter(runs))
    differences = {
        (difference.arm, protocol, difference.metric): difference
        for protocol, result in results.items()
        for difference in result.differences
        if difference.baseline == first
    }
    columns = {
        title: (protocol, metric)
        for title, (protocol, metric) in _COLUMNS.items()
        if any(np.isfinite(arm[metric]).any() for arm in results[protocol].values.values())
    }
    titles = ["arm", "runs", *columns, _WITHOUT_RARE, *(f"{name} against {first}" for name in _COMPARED)]
    titles += ["GFLOPs", "ms"] if costs else []
    rows = [titles, ["---"] * len(titles)]
    for arm, seeds in runs.items():
        cells = [_cell(results[protocol].values[arm][metric]) for protocol, metric in columns.values()]
        cells.append(_cell(np.array([_common_ap50(run) for run in seeds])))
        against = [differences.get((arm, *_COLUMNS[name])) for name in _COMPARED]
        rows.append([arm, str(len(seeds)), *cells, *map(_interval, against)])
        if costs:
            cost = costs.get(arm)
            rows[-1] += [f"{cost.gflops:.2f}", f"{cost.milliseconds:.1f}"] if cost else ["", ""]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _common_ap50(run: ValidatedRun) -> float:
    """Return the mean AP50 of the classes of which there are enough objects."""
    classes = run.record["protocols"]["coco"]["per_class"]
    return float(np.mean([values["AP50"] for name, values in classes.items() if name != _RARE]))


def _cell(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return "n/a"
    spread = seed_deviation(values)
    return f"{100 * values.mean():.1f}" + (f" ± {100 * spread:.1f}" if np.isfinite(spread) else "")


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _insert(page: str, key: str, table: str) -> str:
    """Return a page with its table between the marks."""
    begin = _BEGIN.format(key)
    head, found, rest = page.partition(begin)
    if not found:
        return page
    return f"{head}{begin}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}"
