"""Loads the faults that benchmarks/planted_faults.py plants."""

import importlib.util
from pathlib import Path

_FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "planted_faults.py"
_SPEC = importlib.util.spec_from_file_location("planted_faults", _FILE)
faults = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(faults)
