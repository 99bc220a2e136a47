"""Writes what the arms of a table scored: a CSV of every run, and the rows of its page in docs/results."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping
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

Arms = Mapping[str, list[ValidatedRun]]

SAMPLES = 1000
NMS = 0.7
"""IoU from which duplicates go in some of the scores: `uavdet val iou=0.7`."""
RARE = "OtherVehicle"
"""Class of eight objects in HIT-UAV's validation images: a quarter of the mean, and mostly noise."""
_WITHOUT_DUPLICATES = "coco, iou 0.7"
_WITHOUT_RARE = f"coco, no {RARE}"
_WITHOUT_BOTH = f"coco, no {RARE}, iou 0.7"
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
    f"AP50, no {RARE}": (_WITHOUT_RARE, "AP50"),
    f"AP50, no {RARE}, iou 0.7": (_WITHOUT_BOTH, "AP50"),
}
_COMPARED = ("AP", "AP50", f"AP50, no {RARE}", f"AP50, no {RARE}, iou 0.7")
_BEGIN, _END = "<!-- table: {} -->", "<!-- end of table -->"


def write_table(
    settings: Settings, key: str, table: Table, seeds: list[int], folder: Path, costs: Mapping[str, Cost]
) -> str:
    """Write `<key>.csv` of a table with a page of its own, and the table into its page where that has a place for it.

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
    if not runs:
        raise SystemExit(f"{settings.folder} has no validated run of {key} with seeds {seeds}.")
    results = _compare(runs, _COLUMNS, 1)
    folder.mkdir(parents=True, exist_ok=True)
    if table.page is None:  # else that page's own table has the same runs
        _write_csv(folder / f"{key}.csv", results, runs, costs)
    text = _markdown(results, runs, _differences(runs), costs)
    page = folder / f"{table.page or key}.md"
    if page.exists():
        page.write_text(_insert(page.read_text(encoding="utf-8"), key, text), encoding="utf-8")
    return text


def _compare(runs: Arms, columns: Iterable[str], samples: int) -> dict[str, Comparison]:
    """Return the scores by each protocol of some columns."""
    coco, aitod = find_protocols(["coco", "aitod"])
    ways = {"coco": (coco, _as_it_is), "aitod": (aitod, _as_it_is)}
    ways |= {_WITHOUT_DUPLICATES: (coco, _without_duplicates), _WITHOUT_RARE: (coco, _without_rare)}
    ways[_WITHOUT_BOTH] = (coco, lambda run: _without_rare(_without_duplicates(run)))
    return {
        name: compare_arms(
            protocol, {arm: [change(run) for run in found] for arm, found in runs.items()}, samples=samples, seed=0
        )
        for name, (protocol, change) in ways.items()
        if name in {_COLUMNS[title][0] for title in columns}
    }


def _differences(runs: Arms) -> dict[tuple[str, str], Difference]:
    """Return by arm and column how each arm differs from the first, over the seeds that both have."""
    first, *others = runs
    found = {}
    for arm in others:
        seeds = {run.record["seed"] for run in runs[arm]}
        same = [run for run in runs[first] if run.record["seed"] in seeds]
        results = _compare({first: same or runs[first], arm: runs[arm]}, _COMPARED, SAMPLES)
        for title in _COMPARED:
            protocol, metric = _COLUMNS[title]
            (found[arm, title],) = [each for each in results[protocol].differences if each.metric == metric]
    return found


def _validated(settings: Settings, arm: Arm, seeds: list[int]) -> list[ValidatedRun]:
    folders = [settings.validated(arm, seed) for seed in seeds]
    return [read_run(folder) for folder in folders if (folder / "report" / "metrics.json").exists()]


def _as_it_is(run: ValidatedRun) -> ValidatedRun:
    return run


def _without_rare(run: ValidatedRun) -> ValidatedRun:
    """Return a run on the classes of which there are enough objects."""
    (rare,) = [index for index, name in run.truth.names.items() if name == RARE]
    images = []
    for image in run.truth.images:
        kept = image.classes != rare
        of_objects = {key: getattr(image, key)[kept] for key in ("boxes", "classes", "areas", "crowd")}
        images.append(replace(image, **of_objects))
    return replace(run, truth=replace(run.truth, images=images))


def _without_duplicates(run: ValidatedRun) -> ValidatedRun:
    """Return what a run would have found with `iou=0.7`."""
    found = {}
    for image, all_of_it in run.detections.items():
        kept = suppress_duplicates(all_of_it.boxes, all_of_it.scores, all_of_it.classes, NMS)
        found[image] = ImageDetections(all_of_it.boxes[kept], all_of_it.scores[kept], all_of_it.classes[kept])
    return replace(run, detections=found)


def _write_csv(file: Path, results: dict[str, Comparison], runs: Arms, costs: Mapping[str, Cost]) -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(["arm", "seed", "protocol", "metric", "value"])
        for (protocol, result), arm in itertools.product(results.items(), runs):
            for metric, values in result.values[arm].items():
                for run, value in zip(runs[arm], values, strict=True):
                    writer.writerow([arm, run.record["seed"], protocol, metric, f"{value:.5f}"])
        for arm, cost in costs.items():
            writer.writerow([arm, "", "cost", "GFLOPs", f"{cost.gflops:.2f}"])
            writer.writerow([arm, "", "cost", "ms", f"{cost.milliseconds:.1f}"])


def _markdown(
    results: dict[str, Comparison],
    runs: Arms,
    differences: Mapping[tuple[str, str], Difference],
    costs: Mapping[str, Cost],
) -> str:
    first = next(iter(runs))
    columns = {
        title: (protocol, metric)
        for title, (protocol, metric) in _COLUMNS.items()
        if any(np.isfinite(arm[metric]).any() for arm in results[protocol].values.values())
    }
    titles = ["arm", "runs", *columns, *(f"{name} against {first}" for name in _COMPARED)]
    titles += ["GFLOPs", "ms"] if costs else []
    rows = [titles, ["---"] * len(titles)]
    for arm, seeds in runs.items():
        cells = [_cell(results[protocol].values[arm][metric]) for protocol, metric in columns.values()]
        against = [differences.get((arm, title)) for title in _COMPARED]
        rows.append([arm, str(len(seeds)), *cells, *map(_interval, against)])
        if costs:
            cost = costs.get(arm)
            rows[-1] += [f"{cost.gflops:.2f}", f"{cost.milliseconds:.1f}"] if cost else ["", ""]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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
