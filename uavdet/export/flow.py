"""From a detector to a file that is proven to agree with it.

The file is written under a temporary name, compared with the checkpoint, and only then renamed to its own: a reader
never finds a half-written or unproven file under it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from ultralytics.utils import LOGGER

from uavdet.engine.atomic import write_atomically
from uavdet.errors import ExportError
from uavdet.export.network import NetworkOptions
from uavdet.export.registry import ExportFormat

_FEW_IMAGES = 16
_IMAGES = {"int8": 128, "bf16": 128}
"""Images of a comparison, of precisions whose rounding moves the AP of a few images by more than they may lose."""

if TYPE_CHECKING:
    from uavdet.export.parity_report import ParityReport


def report_file(file: Path) -> Path:
    """Return where the parity report of an exported file lies: beside it."""
    return file.with_name(f"{file.name}.parity.json")


def read_report(file: Path) -> dict[str, Any] | None:
    """Return the parity report of an exported file, or None where it was not compared."""
    path = report_file(file)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def export_proven(
    model: nn.Module,
    chosen: ExportFormat,
    out: Path,
    options: NetworkOptions,
    meta: dict[str, Any],
    *,
    parity: bool = True,
    data: str | None = None,
) -> Path:
    """Write a detector in another form, and compare it with the detector before it gets its name.

    Args:
        model: The detector; it stays as it is.
        chosen: The format.
        out: The file to write. The report lies beside it (`report_file`).
        options: What to settle in the file.
        meta: The checkpoint's metadata; may be empty.
        parity: Compare; False writes the file unproven.
        data: Dataset whose validation images to compare on; by default synthetic scenes.

    Returns:
        `out`.

    Raises:
        ExportError: The file does not agree with the detector. It then lies beside `out` as `*.rejected`.
        MissingDependencyError: A package that the format needs is not installed.
        UsageError: The format cannot hold the model or the options.
    """
    exporter = chosen.load_exporter()
    if chosen.folder:
        exporter(model, out, options, meta, parity=parity, data=data)
        return out
    reports: list[ParityReport] = []

    def write(temporary: Path) -> None:
        if chosen.gated and parity:
            reports.append(write_proven(exporter, model, temporary, out, options, meta, data))
        else:
            exporter(model, temporary, options, meta)
        report_file(out).unlink(missing_ok=True)  # of an earlier file, which this one replaces

    write_atomically(out, write)
    finish_report(out, reports)
    return out


def finish_report(out: Path, reports: Sequence[ParityReport]) -> None:
    """Write the report of an exported file beside it, in the place of that of an earlier file."""
    report_file(out).unlink(missing_ok=True)
    for report in reports:
        report.write(report_file(out))
        LOGGER.info(report.summary())


def write_proven(
    exporter: Callable[..., None],
    model: nn.Module,
    temporary: Path,
    out: Path,
    options: NetworkOptions,
    meta: dict[str, Any],
    data: str | None,
) -> ParityReport:
    """Write a file under a temporary name and compare it with the model; name it `*.rejected` where they differ.

    A file in int8 that differs is written again with more rows in float, as long as that makes sense.

    Args:
        exporter: Writes the file or folder.
        model: The detector.
        temporary: Where to write.
        out: Where the file is to go.
        options: What to settle in it.
        meta: The checkpoint's metadata.
        data: Dataset to compare on.

    Raises:
        ExportError: The file does not agree with the detector.
    """
    from uavdet.export.parity import check_parity

    while True:
        exporter(model, temporary, options, meta)
        report = check_parity(
            model,
            temporary,
            precision=options.precision,
            data=data,
            images=_IMAGES.get(options.precision, _FEW_IMAGES),
            output=options.output,
            max_det=options.max_det,
        )
        if report.passed:
            return replace(report, file=str(out))
        further = options.quantization and options.quantization.keep_more()
        if not further:
            break
        LOGGER.info(f"{report.summary()} Keeping {', '.join(further.kept)} in float.")
        options = replace(options, quantization=further)
    raise _reject(report, temporary, out)


def _reject(report: ParityReport, temporary: Path, out: Path) -> ExportError:
    """Name a file `*.rejected`, and return what tells of it."""
    rejected = out.with_name(f"{out.name}.rejected")
    replace(report, file=str(rejected)).write(report_file(rejected))
    if rejected.is_dir():  # of an earlier export: only an empty folder is replaced by a rename
        shutil.rmtree(rejected)
    temporary.replace(rejected)
    return ExportError(
        f"'{out}' does not agree with its weights and was named {rejected.name}: {report.summary()} "
        f"{report_file(rejected).name} has the details; parity=False would write the file all the same."
    )
