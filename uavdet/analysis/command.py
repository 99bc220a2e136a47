"""`uavdet analyze KIND`: looks at what a model does to images."""

from __future__ import annotations

import importlib
from typing import Any

from uavdet.errors import UsageError, suggest_name
from uavdet.json_output import print_json

_KINDS = {"thumbnail": "uavdet.analysis.thumbnail:analyze_thumbnail"}
"""Each takes the options of the mode and returns a report with `as_dict()` and `table()`."""


def run_analyze(options: dict[str, Any]) -> int:
    """Look at images through a model, print what was found and write pictures and tables.

    Args:
        options: `kind`, `model`, `source`; optionally `imgsz`, `images`, `thumbnail`, `thumbnail_kind`,
            `thumbnail_layers`, `project`, `name`, `exist_ok`, `json`.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: The kind is unknown or missing, or an option cannot be used.
        DataError: The source holds no image.
        CheckpointError: The model cannot be read.
    """
    kind = options.get("kind")
    if kind not in _KINDS:
        given = f"There is no analysis '{kind}'.{suggest_name(kind, _KINDS)}" if kind else "No analysis was named."
        raise UsageError(f"{given} Known: {', '.join(_KINDS)}. Write: uavdet analyze {next(iter(_KINDS))} model=X.")
    from uavdet.commands import messages_apart

    module, _, function = _KINDS[kind].partition(":")
    with messages_apart(bool(options.get("json"))):
        report = getattr(importlib.import_module(module), function)(options)
    print_json(report.as_dict()) if options.get("json") else print(report.table())
    return 0
