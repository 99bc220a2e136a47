"""What is printed while something runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from ultralytics.utils import LOGGER


@contextlib.contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Print warnings and errors alone, no progress, if that is wanted."""
    level = LOGGER.level
    if wanted:
        LOGGER.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        LOGGER.setLevel(level)


@contextlib.contextmanager
def without(beginning: str) -> Iterator[list[str]]:
    """Keep lines that begin in one way out of what is printed; yields the list that collects them."""
    kept_out: list[str] = []

    def passes(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        if line.startswith(beginning):
            kept_out.append(line)
            return False
        return True

    LOGGER.addFilter(passes)
    try:
        yield kept_out
    finally:
        LOGGER.removeFilter(passes)
