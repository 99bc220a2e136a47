"""Where a run puts its results. Nothing here imports PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uavdet.errors import UsageError


def run_folder(mode: str, options: Mapping[str, Any]) -> Path:
    """Return the folder of a new run, `runs/<mode>/<name>`, numbered where it exists."""
    project = Path(options.get("project") or Path("runs") / mode).expanduser().absolute()
    folder = project / (options.get("name") or mode)
    if not folder.exists() or options.get("exist_ok"):
        return folder
    number = 2
    while (numbered := folder.with_name(f"{folder.name}{number}")).exists():
        number += 1
    return numbered


def output_folder(mode: str, options: Mapping[str, Any]) -> Path:
    """Return the folder of a new run, as `run_folder` numbers it.

    Raises:
        UsageError: It would lie in a file.
    """
    folder = run_folder(mode, options)
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"The results cannot go to {folder}: {path} is a file. Give a folder: project=FOLDER.")
            break
    return folder
