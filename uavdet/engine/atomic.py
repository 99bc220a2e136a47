"""Writes files and folders so that a reader finds either the old or the new one, whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, sync the file, and rename it to `path`.

    The temporary name holds the number of the process, so that two that write one path do not mix: the later one stays.
    What killed processes left beside `path` is removed, where the system tells which processes there are.
    """
    temporary = _prepare(path)
    try:
        write(temporary)
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_folder_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, where it makes a folder, and rename that to `path`.

    An earlier folder of that name is moved aside first, since no system replaces one that holds something: for a moment
    there is none. Temporary names and what killed processes left are as in `write_atomically`.
    """
    temporary, aside = _prepare(path), _temporary(path, "old")
    try:
        write(temporary)
        if path.exists():
            path.replace(aside)
        temporary.replace(path)
    finally:
        if aside.exists() and not path.exists():  # the rename failed: the earlier folder gets its name back
            aside.replace(path)
        _remove(temporary)
        _remove(aside)
    _sync_folder(path.parent)


def _prepare(path: Path) -> Path:
    """Make the folder of `path`, clear it of leftovers, and return where to write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    return _temporary(path)


def _temporary(path: Path, ending: str = "tmp") -> Path:
    return path.with_name(f".{os.getpid()}.{path.name}.{ending}")


def _remove_leftovers(path: Path) -> None:
    for found in path.parent.iterdir():
        number = found.name.removeprefix(".").removesuffix(f".{path.name}.tmp")
        if found.name == f".{number}.{path.name}.tmp" and number.isdecimal() and not _is_running(int(number)):
            _remove(found)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
