"""`uavdet compare RUN RUN ...`: validated runs in a table, with bootstrap intervals for every difference."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from uavdet.arguments import defaults_of
from uavdet.errors import DataError, UsageError
from uavdet.evaluation.comparison import Arms, Comparison, Difference, compare_arms, seed_deviation
from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.run_files import ValidatedRun, read_run
from uavdet.evaluation.truth import ImageTruth
from uavdet.json_output import as_plain, print_json
from uavdet.run_folders import output_folder

_WIDTH = 120
_SAME_IN_AN_ARM = ("network", "imgsz", "conf", "iou", "max_det", "queries")


def run_compare(options: Mapping[str, Any]) -> int:
    """`uavdet compare`.

    Args:
        options: `runs`, `protocol`, `samples`, `seed`, `project`, `name`, `exist_ok` and `json`, as the argument
            table describes them.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: Fewer than two runs are given, one twice, or an unknown protocol.
        DataError: A folder is no validated run, or runs were scored on different truths.
    """
    options = {**defaults_of("compare"), **options}
    protocols = find_protocols(options["protocol"])
    runs = read_runs(options["runs"])
    arms = group_runs(runs)
    results = [compare_arms(p, arms, samples=options["samples"], seed=options["seed"]) for p in protocols]
    record = as_record(arms, results, samples=options["samples"], seed=options["seed"])
    file = write_record(record, output_folder("compare", options))
    if options["json"]:
        print_json({**record, "file": file})
    else:
        print(f"{comparison_text(arms, results, options['samples'])}\n\nWritten to {file}")
    return 0


def write_record(record: Mapping[str, Any], folder: Path) -> Path:
    """Write a comparison to compare.json in a folder, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "compare.json"
    file.write_text(json.dumps(as_plain(record), indent=1) + "\n", encoding="utf-8")
    return file


def read_runs(folders: list[str]) -> list[ValidatedRun]:
    """Read run folders and check that they can be compared.

    Raises:
        UsageError: Fewer than two are given, or one twice.
        DataError: A folder is no validated run or one without images, or two were scored on different truths.
    """
    if len(folders) < 2:
        given = f"One run, '{folders[0]}', was" if folders else "No run was"
        raise UsageError(f"{given} given. A comparison takes two or more: uavdet compare runs/val/a runs/val/b.")
    seen: dict[Path, str] = {}
    runs = []
    for folder in folders:
        run = read_run(folder)
        if run.folder.resolve() in seen:
            raise UsageError(f"Run '{folder}' is given twice. Give every run once.")
        seen[run.folder.resolve()] = folder
        runs.append(run)
    if not runs[0].truth.images:
        raise DataError(f"Run '{folders[0]}' has no image. Validate the model on a split with images.")
    for other in runs[1:]:
        _check_same_truth(runs[0], other)
    return [runs[0], *(_in_order_of(runs[0], other) for other in runs[1:])]


def _in_order_of(first: ValidatedRun, other: ValidatedRun) -> ValidatedRun:
    """Return a run with its images in the order of another's, so that a sample draws the same ones of both."""
    order = [PurePath(image.name).name for image in first.truth.images]
    if order == [PurePath(image.name).name for image in other.truth.images]:
        return other
    by_name = {PurePath(image.name).name: image for image in other.truth.images}
    return replace(other, truth=replace(other.truth, images=[by_name[name] for name in order]))


def _check_same_truth(first: ValidatedRun, other: ValidatedRun) -> None:
    if first.truth_hash == other.truth_hash:
        return
    raise DataError(
        f"Runs '{first.folder}' and '{other.folder}' were not scored on the same truth: {_tell_apart(first, other)}. "
        "Only runs on the same images and annotations can be compared: validate both with the same data= and split=."
    )


def _tell_apart(first: ValidatedRun, other: ValidatedRun) -> str:
    """Say what is different in the truths of two runs."""
    images, others = first.truth.images, other.truth.images
    if first.truth.names != other.truth.names:
        return f"their classes are {list(first.truth.names.values())} and {list(other.truth.names.values())}"
    if len(images) != len(others):
        return f"they have {len(images)} and {len(others)} images"
    for image, twin in zip(images, others, strict=True):
        if PurePath(image.name).name != PurePath(twin.name).name:
            return f"one has the image {image.name} where the other has {twin.name}"
        if not _same_objects(image, twin):
            return f"the annotations of {image.name} differ ({len(image.classes)} and {len(twin.classes)} objects)"
    return "their annotations differ"


def _same_objects(image: ImageTruth, twin: ImageTruth) -> bool:
    names = ("boxes", "classes", "areas", "crowd", "ignore_regions")
    return all(np.array_equal(getattr(image, name), getattr(twin, name)) for name in names)


def group_runs(runs: list[ValidatedRun]) -> dict[str, list[ValidatedRun]]:
    """Return runs by the name that `uavdet val` was told: those of one name are seeds of one arm.

    Raises:
        UsageError: Runs of one name were made with different networks or settings.
    """
    arms: dict[str, list[ValidatedRun]] = {}
    for run in runs:
        arms.setdefault(run.name, []).append(run)
    for name, seeds in arms.items():
        for key in _SAME_IN_AN_ARM:
            values = list(dict.fromkeys(str(run.record.get(key)) for run in seeds))
            if len(values) > 1:
                raise UsageError(
                    f"The runs called '{name}' have {key}={' and '.join(values)}. Runs of one name are seeds of one "
                    "arm, which differ in their weights alone: validate with another name=NAME."
                )
    return arms


def as_record(arms: Arms, results: list[Comparison], *, samples: int, seed: int) -> dict[str, Any]:
    """Return the comparison as JSON can hold it."""
    truth = next(iter(arms.values()))[0].truth
    return {
        "runs": {name: [run.folder for run in runs] for name, runs in arms.items()},
        "images": len(truth.images),
        "objects": int(truth.counts.sum()),
        "samples": samples,
        "seed": seed,
        "protocols": {result.protocol: result.as_dict() for result in results},
    }


def comparison_text(arms: Arms, results: list[Comparison], samples: int) -> str:
    """Return tables of the arms and of their differences, in percent and in points of percent."""
    truth = next(iter(arms.values()))[0].truth
    lines = [f"{len(truth.images)} images, {truth.counts.sum()} objects"]
    for name, runs in arms.items():
        folders = ", ".join(str(run.folder) for run in runs)
        lines.append(f"{name}: {len(runs)} {'run' if len(runs) == 1 else 'runs'} ({folders})")
    for key in _SAME_IN_AN_ARM:
        values = {name: str(runs[0].record.get(key)) for name, runs in arms.items()}
        if len(set(values.values())) > 1:
            lines.append(f"{key} differs: {', '.join(f'{name} {value}' for name, value in values.items())}")
    for result in results:
        lines += ["", *_value_lines(result)]
        lines += _difference_lines(result.differences, samples, any(len(runs) > 1 for runs in arms.values()))
        if not result.resampled:
            lines.append(f"No intervals: {result.protocol} is not resampled; all others are.")
    if len(arms) == 1:
        lines += ["", f"All runs are called '{runs[0].name}', so they are seeds of one arm: there is no difference."]
        lines.append("Give other arms another name: uavdet val ... name=NAME.")
    return "\n".join(lines)


def _value_lines(result: Comparison) -> list[str]:
    """Return a row for each metric and a column for each arm, without metrics that have no object to score."""
    metrics = list(next(iter(result.values.values())))
    metrics = [m for m in metrics if any(np.isfinite(arm[m]).any() for arm in result.values.values())]
    rows = [["in percent", *result.values]]
    rows += [[name, *(_mean_text(arm[name]) for arm in result.values.values())] for name in metrics]
    rules = textwrap.wrap(f"{result.protocol}: {result.rules}", _WIDTH)
    return [*rules, *_align(rows)]


def _mean_text(values: np.ndarray) -> str:
    if not np.isfinite(values).all():
        return "n/a"
    deviation = "" if len(values) == 1 else f" ± {100 * seed_deviation(values):.2f}"
    return f"{100 * values.mean():.2f}{deviation}"


def _difference_lines(differences: list[Difference], samples: int, seeds: bool) -> list[str]:
    """Return a block for each pair of arms."""
    drawn = "images and runs" if seeds else "images"
    lines: list[str] = []
    for baseline, arm in dict.fromkeys((d.baseline, d.arm) for d in differences):
        rows = [["", "points", "95 % interval", "below 0"]]
        rows += [_difference_row(d) for d in differences if (d.baseline, d.arm) == (baseline, arm) and d.samples]
        lines += ["", f"{arm} - {baseline}, {samples} paired samples of {drawn}", *_align(rows)]
    return lines


def _difference_row(difference: Difference) -> list[str]:
    low, high = (_signed(end) for end in (difference.low, difference.high))
    return [difference.metric, _signed(difference.value), f"[{low}, {high}]", f"{100 * difference.below_zero:.1f} %"]


def _signed(value: float) -> str:
    text = f"{100 * value:+.2f}"
    return "0.00" if text in {"+0.00", "-0.00"} else text


def _align(rows: list[list[str]]) -> list[str]:
    """Return rows as lines, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]
