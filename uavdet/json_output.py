"""Results as JSON on standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from uavdet.errors import one_line


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null."""
    print(json.dumps(as_plain(value)), flush=True)


def write_results(
    entries: Iterable[dict[str, Any]],
    folder: Callable[[], Path | None],
    output: TextIO,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Write results as one JSON object, the entries of its list `results` as they come; return their number.

    Nothing is written before the first entry. An error after it ends the object with an entry `error`, and goes on.

    Args:
        entries: The results.
        folder: Returns the folder of the run, `save_dir`, which is null where it was not made.
        output: Where to write.
        more: More entries of the object.
    """
    count = 0

    def end(error: BaseException | None) -> None:
        made = folder() if count else None
        rest: dict[str, Any] = {"save_dir": made if made is not None and made.is_dir() else None, **(more or {})}
        if error is not None:
            rest["error"] = one_line(error)
        if count:
            output.write("], " + json.dumps(as_plain(rest)).removeprefix("{") + "\n")
            output.flush()

    try:
        for entry in entries:
            output.write((",\n" if count else '{"results": [') + json.dumps(entry))
            output.flush()
            count += 1
    except BrokenPipeError:
        raise
    except BaseException as error:
        if isinstance(entries, Generator):
            entries.close()  # what it adds to `more` at its end belongs to the object
        end(error)
        raise
    end(None)
    return count


def as_plain(value: Any) -> Any:
    """Return a value as JSON can hold it: paths as text, NaN and infinities as None, NumPy scalars as numbers."""
    if isinstance(value, dict):
        return {str(key): as_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy":
        return as_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
