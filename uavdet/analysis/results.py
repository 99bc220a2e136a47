"""Where an analysis puts its figures and tables, and what they say they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uavdet.engine.calls import new_folder
from uavdet.run_folders import output_folder


@contextmanager
def new_results(kind: str, options: Mapping[str, Any]) -> Iterator[Path]:
    """Make the folder of an analysis before its work begins, and remove it where an error leaves nothing in it.

    Args:
        kind: Of the analysis; the name of the folder where the options have none.
        options: `project`, `name` and `exist_ok` of mode `analyze`.

    Raises:
        UsageError: It would lie in a file, or cannot be made.
    """
    folder = output_folder("analyze", {**options, "name": options["name"] or kind})
    with new_folder(folder):
        yield folder


def describe_subject(options: Mapping[str, Any]) -> str:
    """Return of which model and which data an analysis is, for the note of a figure.

    Args:
        options: `model`, `data` and `split`.
    """
    data = Path(options["data"]).absolute()
    return f"{Path(options['model']).name} on {data.parent.name}/{data.name}, {options['split']} images"
