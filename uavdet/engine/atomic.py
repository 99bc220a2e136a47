"""Writes files so that a reader finds either the old or the new one, whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, sync the file, and rename it to `path`.

    The temporary name holds the number of the process, so that two that write one path do not mix: the later one stays.
    What killed processes left beside `path` is removed, where the system tells which processes there are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _remove_leftovers(path: Path) -> None:
    for found in path.parent.iterdir():
        number = found.name.removeprefix(".").removesuffix(f".{path.name}.tmp")
        if found.name == f".{number}.{path.name}.tmp" and number.isdecimal() and not _is_running(int(number)):
            found.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Return whether there is a process of that number; True where the system does not tell."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
