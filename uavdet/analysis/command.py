"""`uavdet analyze KIND`: looks at what a model does to images."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from uavdet.assets import DEMO_WEIGHTS
from uavdet.errors import UsageError, suggest_name
from uavdet.json_output import print_json

_SAMPLES = ("data", "split", "images", "imgsz", "device", "skip_bad")
"""Options of the kinds that look at annotated images, `uavdet.analysis.samples`."""
_SCORING = ("data", "split", "imgsz", "batch", "device", "conf", "skip_bad", "fraction", "protocol", "samples")
"""Options of the kinds that score variants of a model, `uavdet.analysis.variants`."""
_EVERY_KIND = ("kind", "model", "project", "name", "exist_ok", "json")


@dataclass(frozen=True)
class Kind:
    """A kind of analysis.

    Attributes:
        function: Its module and function, which takes the options of the mode and returns a report with `as_dict()`
            and `table()`; imported when it is called.
        shows: What its figures show, for the help.
        options: Names of the options that mean something to it, beside those of every kind.
    """

    function: str
    shows: str
    options: tuple[str, ...]


KINDS = {
    "bands": Kind(
        "uavdet.analysis.bands:analyze_bands",
        "AP by size of objects without each frequency band of the features (SET, Fig. 1)",
        (*_SCORING, "levels", "each_level", "bands", "band_filter", "region"),
    ),
    "spectrum": Kind(
        "uavdet.analysis.spectrum:analyze_spectrum",
        "spectra of objects' features by size (SET, Fig. 2)",
        (*_SAMPLES, "channel"),
    ),
    "pca": Kind(
        "uavdet.analysis.pca:analyze_pca", "principal components of feature maps beside images (SET, Fig. 4)", _SAMPLES
    ),
    "saliency": Kind(
        "uavdet.analysis.saliency:analyze_saliency",
        "the features that objects' scores rest on, by size (SET, Fig. 5)",
        (*_SAMPLES, "conf", "gradient"),
    ),
    "smoothing": Kind(
        "uavdet.analysis.smoothing:analyze_smoothing",
        "spectra of the background before and after SET's smoothing (SET, Fig. 7)",
        (*_SAMPLES, "bands", "smoothing", "steps"),
    ),
    "ddf": Kind(
        "uavdet.analysis.ddf:analyze_ddf",
        "what the frequency branch of dual-domain fusion does, and AP by size without it (SO-DETR)",
        (*_SCORING, "images"),
    ),
    "thumbnail": Kind(
        "uavdet.analysis.thumbnail:analyze_thumbnail",
        "thumbnails beside resized images, and their moments (ThumbDet, Figs. 5 and 6)",
        ("source", "images", "imgsz", "thumbnail", "thumbnail_kind", "thumbnail_layers"),
    ),
}
"""The kinds of analysis by name."""


def describe_kinds() -> list[str]:
    """Return the kinds and the options of each as lines of the help."""
    lines = [f"kinds, and what each takes beside {', '.join(name for name in _EVERY_KIND if name != 'kind')}:"]
    for name, kind in KINDS.items():
        lines.append(f"  {name:18} {kind.shows}")
        lines.append(f"  {'':18}   {', '.join(kind.options)}")
    return lines


def run_analyze(options: dict[str, Any]) -> int:
    """Look at images through a model, print what was found and write pictures and tables.

    Args:
        options: `kind`, and those that the kind takes, see `KINDS`; optionally `model`, by default the bundled weights,
            `project`, `name`, `exist_ok`, `json`.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: The kind is unknown or missing, or an option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        DataError: The images or their labels cannot be used, or there are none.
        CheckpointError: The model cannot be read.
    """
    kind = options.get("kind")
    if kind not in KINDS:
        given = f"There is no analysis '{kind}'.{suggest_name(kind, KINDS)}" if kind else "No analysis was named."
        raise UsageError(f"{given} Known: {', '.join(KINDS)}. Write: uavdet analyze pca data=X.")
    from uavdet.commands import messages_apart

    _refuse_foreign(kind, options, KINDS[kind].options)
    module, _, function = KINDS[kind].function.partition(":")
    with messages_apart(bool(options.get("json"))):
        report = getattr(importlib.import_module(module), function)({"model": DEMO_WEIGHTS.stem, **options})
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
