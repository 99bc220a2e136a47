"""Text files whose rows are integers with commas between them, as VisDrone and UAVDT have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from uavdet.errors import DataError


def integer_rows(file: Path, fields: Sequence[str], at_least: int | None = None) -> Iterator[tuple[int, list[int]]]:
    """Yield (line number, values) of a file of integers with commas between them; a comma at the end is allowed.

    Args:
        file: The text file.
        fields: What the fields are, in order, for messages.
        at_least: How many must be there where later ones are not read; None means that all must, and no more.

    Raises:
        DataError: The file cannot be read, or a row has another number of fields or one that is no integer.
    """
    for number, line in enumerate(_read_lines(file), start=1):
        row = line.strip()
        if not row:
            continue
        parts = row.removesuffix(",").split(",")
        if len(parts) < (at_least or len(fields)) or (at_least is None and len(parts) != len(fields)):
            raise DataError(f"{file} line {number}: {len(parts)} fields in '{row[:60]}'. "
                            f"A row is {','.join(fields)}. Correct the row.")  # fmt: skip
        parts = parts[:at_least]
        try:
            yield number, [int(part) for part in parts]
        except ValueError:
            raise DataError(f"{file} line {number}: '{row[:60]}' has a field that is no integer. "
                            f"A row is {','.join(fields)}. Correct the row.") from None  # fmt: skip


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Add it, or correct source=.") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text. Replace the file.") from None
