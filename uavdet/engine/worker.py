"""One process of a training on several GPUs of a machine; started by `uavdet.engine.distributed.launch_workers`."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from uavdet.engine.train import train


def main(arguments_file: str) -> None:
    """Train by the arguments that the launching process wrote."""
    file = Path(arguments_file)
    options = yaml.safe_load(file.read_text(encoding="utf-8"))
    train({**options, "project": str(file.parent.parent), "name": file.parent.name, "exist_ok": True})


if __name__ == "__main__":
    main(sys.argv[1])
