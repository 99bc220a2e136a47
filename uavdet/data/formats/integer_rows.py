"""Text files whose rows are integers with commas between them, as VisDrone and UAVDT have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from uavdet.data.formats.text_lines import read_lines
from uavdet.errors import DataError

# Python's int() takes 1_0 as well, and as many digits as a float cannot hold.
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,15}\s*", re.ASCII)


def integer_rows(file: Path, fields: Sequence[str], at_least: int | None = None) -> Iterator[tuple[int, list[int]]]:
    """Yield (line number, values) of a file of integers with commas between them; a comma at the end is allowed.

    Args:
        file: The text file.
        fields: What the fields are, in order, for messages.
        at_least: How many must be there where later ones are not read; None means that all must, and no more.

    Raises:
        DataError: The file cannot be read, or a row has another number of fields or one that is no integer.
    """
    for number, line in enumerate(read_lines(file), start=1):
        row = line.strip()
        if not row:
            continue
        parts = row.removesuffix(",").split(",")
        if len(parts) < (at_least or len(fields)) or (at_least is None and len(parts) != len(fields)):
            raise DataError(f"{file} line {number}: {len(parts)} fields in '{row[:60]}'. "
                            f"A row is {','.join(fields)}. Correct the row.")  # fmt: skip
        parts = parts[:at_least]
        if not all(map(_INTEGER.fullmatch, parts)):
            raise DataError(f"{file} line {number}: '{row[:60]}' has a field that is no integer. "
                            f"A row is {','.join(fields)}. Correct the row.")  # fmt: skip
        yield number, [int(part) for part in parts]
