"""Where real drone images for tests lie, if they are at hand."""

from __future__ import annotations

import os
from pathlib import Path


def _find() -> Path | None:
    for folder in (os.environ.get("UAVDET_DATA"), Path(__file__).resolve().parents[2] / "shared" / "data"):
        if folder and (Path(folder) / "hituav" / "data.yaml").is_file():
            return Path(folder)
    return None


REAL_DATA = _find()
