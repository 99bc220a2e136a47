"""Results as JSON on standard output."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null."""
    print(json.dumps(as_plain(value)), flush=True)


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
