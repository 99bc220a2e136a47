"""How the analyses write their numbers: as CSV files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]], header: Iterable[str]) -> Path:
    """Write a CSV file; a reader meets the old file or the new one, never a part.

    Args:
        file: The file.
        rows: A mapping from column to value each. Floats are written with six significant digits, None as nothing.
        header: The columns, in order; they are written where there is no row as well.

    Returns:
        The file.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(header))
            writer.writeheader()
            for row in rows:
                writer.writerow({name: _text(value) for name, value in row.items()})
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
