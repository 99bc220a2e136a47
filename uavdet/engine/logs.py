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
