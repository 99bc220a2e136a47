"""The exceptions that users meet.

Every message follows one grammar: what was given, what is wrong with it, what is allowed, and the command or the
setting that mends it. The command line prints the message alone, on one line, and exits with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UAVDetError(Exception):
    """Something the user can mend. The command line prints its message without a traceback."""

    exit_code = 1


class UsageError(UAVDetError, ValueError):
    """A command, a key or a value that the command line or the Python API does not accept."""

    exit_code = 2


class ConfigError(UAVDetError, ValueError):
    """A model, dataset, recipe or tracker YAML that cannot be used; names the file and the row."""

    exit_code = 2


class DataError(UAVDetError, ValueError):
    """Images or labels that cannot be used; names the file and the line."""

    exit_code = 3


class CheckpointError(UAVDetError, ValueError):
    """A weights file that is missing, foreign, damaged or does not fit the model."""

    exit_code = 4


class TrainingError(UAVDetError, RuntimeError):
    """Training cannot go on: the loss is not finite, or the memory is not enough."""

    exit_code = 5


class MissingDependencyError(UAVDetError, ImportError):
    """A package that the asked-for mode needs is not installed; names the extra that brings it."""

    exit_code = 6


class ExportError(UAVDetError, RuntimeError):
    """An exported file that does not agree with the weights it was made from."""

    exit_code = 7


def one_line(error: BaseException) -> str:
    """Return what an error says on one line, or the name of its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def suggest_name(given: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name nearest to `given`, or an empty string when none is near."""
    matches = difflib.get_close_matches(str(given), [str(name) for name in known], n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
