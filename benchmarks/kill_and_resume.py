"""Kills a training at random moments, resumes it each time, and counts what was lost.

    python benchmarks/kill_and_resume.py [--kills 20] [--seed 0]

A run on a few synthetic scenes is killed with SIGKILL at random moments of its epochs, saving included. After each kill
the newest checkpoint must load, and at most the running epoch, the one whose checkpoint was not yet written, may be
lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from uavdet.data.scenes import SceneConfig, write_dataset
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.errors import CheckpointError


def rows_of(csv: Path) -> int:
    return max(0, len(csv.read_text().splitlines()) - 1) if csv.exists() else 0


def start(words: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "uavdet", "train", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_once(words: list[str], csv: Path, delay: float) -> None:
    """Start a run, wait until it has written one more epoch, then `delay` seconds more, and kill it."""
    before, process = rows_of(csv), start(words)
    while rows_of(csv) <= before and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    delays = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        config = SceneConfig(seed=3, size=(160, 128), objects=6)
        data = write_dataset(root / "data", {"train": 8, "val": 4}, config, {"person": "person", "car": "car"})
        folder, last = root / "runs" / "run", root / "runs" / "run" / "weights" / "last.pt"
        words = [
            "model=rtdetr-n.yaml",
            f"data={data}",
            "imgsz=64",
            "batch=4",
            "queries=20",
            "plots=False",
            "device=cpu",
        ]
        words += [f"epochs={4 * args.kills}", f"project={root / 'runs'}", "name=run"]
        failures, lost = 0, 0
        for kill in range(args.kills):
            kill_once(words, folder / "results.csv", delays.uniform(0, 1.2))
            try:
                epoch = read_checkpoint(last).meta["epoch"] + 1
                behind = rows_of(folder / "results.csv") - epoch
                lost = max(lost, behind)
                state = "killed before its checkpoint was written" if behind else "being trained"
                print(f"kill {kill + 1:2}: checkpoint of epoch {epoch}; lost: epoch {epoch + 1}, {state}", flush=True)
            except CheckpointError as error:
                failures += 1
                print(f"kill {kill + 1:2}: {error}", flush=True)
            words = [f"resume={last}"]
        verdict = "never more than the running epoch was lost" if lost <= 1 else "MORE than the running epoch was lost"
        print(f"\n{args.kills} kills: {failures} unreadable checkpoints; {verdict}")
    sys.exit(1 if failures or lost > 1 else 0)


if __name__ == "__main__":
    main()
