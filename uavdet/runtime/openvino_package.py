"""Brings in OpenVINO without its telemetry.

`import openvino` starts a session with Google Analytics: it makes `~/intel`, writes an identifier there, and sends an
event from a process of its own, without asking. Where its package `openvino_telemetry` cannot be imported it takes a
stub that does nothing; so it is hidden while OpenVINO is imported.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from uavdet.errors import MissingDependencyError

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """Return the module `openvino`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    hidden = "openvino" not in sys.modules and _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        return importlib.import_module("openvino")
    except ImportError:
        raise MissingDependencyError(
            "openvino is not installed. It comes with: pip install 'uavdet[openvino]'."
        ) from None
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
