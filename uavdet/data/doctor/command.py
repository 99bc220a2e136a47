"""`uavdet doctor`: checks a dataset before a day of training is spent on it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uavdet.errors import DataError, MissingDependencyError, UsageError, one_line
from uavdet.json_output import print_json
from uavdet.run_folders import run_folder

if TYPE_CHECKING:
    from uavdet.data.doctor.diagnosis import Diagnosis

_PACKAGES = {"cv2": "opencv-python", "PIL": "Pillow"}


def run_doctor(options: dict[str, Any]) -> int:
    """Examine a dataset, print what was found, and write doctor.json and doctor.html.

    Args:
        options: `data`; optionally `model`, `queries`, `imgsz`, `project`, `name`, `exist_ok`, `json`.

    Returns:
        0, or the exit code of `DataError` where something would stop training or scoring.

    Raises:
        ConfigError: The dataset or the model YAML is missing or malformed.
        UsageError: The results cannot be written where they should be.
        MissingDependencyError: OpenCV or Pillow is not installed.
    """
    check_packages()
    from uavdet.data.doctor.diagnosis import examine

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


def check_packages() -> None:
    """Refuse to start without the packages that read images.

    Raises:
        MissingDependencyError: One is not installed.
    """
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(f"{package} is not installed. It comes with: pip install 'uavdet[train]'.")


def write_results(diagnosis: Diagnosis, folder: Path) -> Path:
    """Write doctor.json and doctor.html into a folder, which is made where it is missing, and return it.

    Raises:
        UsageError: They cannot be written there.
    """
    from uavdet.data.doctor.page import write_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "doctor.json").write_text(json.dumps(diagnosis.as_dict(), indent=1) + "\n", encoding="utf-8")
        page = write_page(diagnosis)
        # Names of files need not be UTF-8; a page must be.
        (folder / "doctor.html").write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"The results cannot be written to {folder}: {one_line(error)}. Give a folder that can be: project=FOLDER."
        ) from error
    return folder
