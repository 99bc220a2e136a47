"""`uavdet analyze KIND`: looks at what a model does to images."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from uavdet.errors import UsageError, suggest_name
from uavdet.json_output import print_json

_SAMPLES = ("data", "split", "images", "imgsz", "device", "skip_bad")
"""Options of the kinds that look at annotated images, `uavdet.analysis.samples`."""
_SCORING = ("data", "split", "imgsz", "batch", "device", "conf", "skip_bad", "fraction", "protocol", "samples")
"""Options of the kinds that score variants of a model, `uavdet.analysis.variants`."""
_EVERY_KIND = ("kind", "model", "project", "name", "exist_ok", "json")

_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "thumbnail": (
        "uavdet.analysis.thumbnail:analyze_thumbnail",
        ("source", "images", "imgsz", "thumbnail", "thumbnail_kind", "thumbnail_layers"),
    ),
    "spectrum": ("uavdet.analysis.spectrum:analyze_spectrum", (*_SAMPLES, "channel")),
    "pca": ("uavdet.analysis.pca:analyze_pca", _SAMPLES),
    "saliency": ("uavdet.analysis.saliency:analyze_saliency", (*_SAMPLES, "conf", "gradient")),
    "bands": (
        "uavdet.analysis.bands:analyze_bands",
        (*_SCORING, "levels", "each_level", "bands", "band_filter", "region"),
    ),
    "ddf": ("uavdet.analysis.ddf:analyze_ddf", (*_SCORING, "images")),
    "smoothing": ("uavdet.analysis.smoothing:analyze_smoothing", (*_SAMPLES, "bands", "smoothing", "steps")),
}
"""Each kind's function and the options that mean something to it, beside those of every kind.

The function takes the options of the mode and returns a report with `as_dict()` and `table()`.
"""


def run_analyze(options: dict[str, Any]) -> int:
    """Look at images through a model, print what was found and write pictures and tables.

    Args:
        options: `kind` and `model`; those that the kind takes, see `_KINDS`; optionally `project`, `name`, `exist_ok`,
            `json`.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: The kind is unknown or missing, or an option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        DataError: The images or their labels cannot be used, or there are none.
        CheckpointError: The model cannot be read.
    """
    kind = options.get("kind")
    if kind not in _KINDS:
        given = f"There is no analysis '{kind}'.{suggest_name(kind, _KINDS)}" if kind else "No analysis was named."
        raise UsageError(f"{given} Known: {', '.join(_KINDS)}. Write: uavdet analyze {next(iter(_KINDS))} model=X.")
    from uavdet.commands import messages_apart

    place, taken = _KINDS[kind]
    _refuse_foreign(kind, options, taken)
    module, _, function = place.partition(":")
    with messages_apart(bool(options.get("json"))):
        report = getattr(importlib.import_module(module), function)(options)
    print_json(report.as_dict()) if options.get("json") else print(report.table())
    return 0


def _refuse_foreign(kind: str, given: Iterable[str], taken: tuple[str, ...]) -> None:
    """Refuse options that mean nothing to a kind of analysis.

    Raises:
        UsageError: There is one.
    """
    for name in given:
        if name not in _EVERY_KIND and name not in taken:
            raise UsageError(f"'{name}' means nothing to analyze {kind}. It takes model, {', '.join(taken)}. Drop it.")
