"""What the networks of a table cost in ONNX Runtime on one thread: GFLOPs and milliseconds of processor time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from arms import Arm
from runner import Settings, write_model

_RUNS = 60


@dataclass(frozen=True)
class Cost:
    """Of one image.

    Attributes:
        gflops: 10^9 operations.
        milliseconds: Processor time from the picture to detections, the median of the runs.
    """

    gflops: float
    milliseconds: float


def read_costs(settings: Settings) -> dict[str, Cost]:
    """Return what was measured, by the arms' names."""
    file = _file(settings)
    return {name: Cost(**cost) for name, cost in json.loads(file.read_text()).items()} if file.exists() else {}


def measure(settings: Settings, arms: Iterable[Arm], seed: int) -> None:
    """Time each trained arm and keep its cost; the networks take turns, and the same network is timed once."""
    networks: dict[Path, list[str]] = {}
    for arm in arms:
        if arm.recipe is None:
            continue  # uavdet exports no YOLO, so Ultralytics' models are left out
        weights = settings.trained(arm, seed)
        if weights.exists() or arm.epochs == 0:
            networks.setdefault(_export(settings, arm, weights), []).append(arm.name)
    if not networks:
        return
    files = ",".join(map(str, networks))
    figures = json.loads(_output(["benchmark", f"model={files}", f"runs={_RUNS}", "threads=1", "json=True"]))["models"]
    costs = read_costs(settings)
    for figure, names in zip(figures, networks.values(), strict=True):
        costs |= dict.fromkeys(names, Cost(figure["gflops"], figure["processor"]["p50"]))
    _file(settings).write_text(json.dumps({name: asdict(cost) for name, cost in costs.items()}, indent=1))


def _file(settings: Settings) -> Path:
    return settings.folder / "costs.json"


def _export(settings: Settings, arm: Arm, weights: Path) -> Path:
    """Write the network of an arm, once for arms that differ in training alone, and return the file."""
    shrink = [option.replace("=", "-") for option in arm.options if option.startswith("thumbnail")]
    model = write_model(settings, replace(arm, expansion=None)).stem.removesuffix("-set")
    file = settings.folder / "exports" / f"{'-'.join([model, *shrink, str(arm.imgsz)])}.onnx"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        _output(["export", f"model={weights}", f"imgsz={arm.imgsz}", f"out={file}", "parity=False"])
    return file


def _output(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "uavdet", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
