"""`uavdet doctor`: checks a dataset before a day of training is spent on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uavdet.data.doctor.diagnosis import Diagnosis, examine
from uavdet.data.doctor.page import write_page
from uavdet.errors import DataError, UsageError, one_line
from uavdet.json_output import print_json
from uavdet.run_folders import run_folder


def run_doctor(options: dict[str, Any]) -> int:
    """Examine a dataset, print what was found, and write doctor.json and doctor.html.

    Args:
        options: `data`; optionally `model`, `queries`, `imgsz`, `project`, `name`, `exist_ok`, `json`.

    Returns:
        0, or the exit code of `DataError` where something would stop training or scoring.

    Raises:
        ConfigError: The dataset or the model YAML is missing or malformed.
        UsageError: The results cannot be written where they should be.
    """
    diagnosis = examine(
        options.get("data") or "",
        model=options.get("model"),
        queries=options.get("queries"),
        imgsz=options.get("imgsz"),
    )
    if not options.get("json"):
        print(diagnosis.table(), flush=True)
    folder = write_results(diagnosis, run_folder("doctor", options))
    if options.get("json"):
        print_json({**diagnosis.as_dict(), "save_dir": folder})
    else:
        print(f"\n{len(diagnosis.images):,} images in {diagnosis.seconds:.1f} s. Page: {folder / 'doctor.html'}")
    return 0 if diagnosis.usable else DataError.exit_code


def write_results(diagnosis: Diagnosis, folder: Path) -> Path:
    """Write doctor.json and doctor.html into a folder, which is made where it is missing, and return it.

    Raises:
        UsageError: They cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "doctor.json").write_text(json.dumps(diagnosis.as_dict(), indent=1) + "\n", encoding="utf-8")
        (folder / "doctor.html").write_text(write_page(diagnosis), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"The results cannot be written to {folder}: {one_line(error)}. Give a folder that can be: project=FOLDER."
        ) from error
    return folder
