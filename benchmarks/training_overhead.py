"""Measures what training methods cost: seconds of a training step and peak memory, with each method over without.

Every arm is a real training in a process of its own, on synthetic scenes; the arms take turns, and the median step of
all turns counts. Teachers have random weights, which cost what trained ones cost.

    python benchmarks/training_overhead.py
    python benchmarks/training_overhead.py --model so-detr-r18 --teacher so-detr-r50 --imgsz 640 --batch 2
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uavdet.environment

ARMS = {
    "plain": [],
    "so-detr-kd": ["methods=so-detr-kd", "so-detr-kd.teacher={teacher}"],
    "kd-detr": ["methods=kd-detr", "kd-detr.teacher={teacher}"],
    "ds2d2, explicit": ["methods=ds2d2", "ds2d2.teacher={teacher}", "ds2d2.full=0"],
    "ds2d2, full dense": ["methods=ds2d2", "ds2d2.teacher={teacher}", "ds2d2.decoder=False"],
    "ds2d2": ["methods=ds2d2", "ds2d2.teacher={teacher}"],
    "so-detr-kd and ds2d2": [
        *("methods=so-detr-kd,ds2d2", "so-detr-kd.teacher={teacher}", "ds2d2.teacher={teacher}"),
    ],
}
"""Arguments of each arm, over those of the plain training."""


def prepare(folder: Path, teacher: str, images: int) -> None:
    """Write the scenes and the teacher."""
    from uavdet import UAVDet
    from uavdet.data.scenes import SceneConfig, write_dataset

    config = SceneConfig(seed=1, size=(640, 512), objects=30, min_size=8, max_size=60)
    write_dataset(
        folder / "data", {"train": images, "val": 2}, config, {"person": "person", "car": "car"}, ("thermal",)
    )
    model = UAVDet(f"{teacher}.yaml")
    from uavdet.engine.checkpoint import Checkpoint, describe_model, save_checkpoint
    from uavdet.engine.families import build_model

    module = build_model(model.module.yaml, nc=2)  # type: ignore[union-attr]
    module.names = {0: "person", 1: "car"}  # type: ignore[assignment]
    save_checkpoint(Checkpoint(module.state_dict(), describe_model(module)), folder / "teacher.pt")


def work(words: list[str]) -> None:
    """Train for one epoch and print the seconds of its steps and the peak memory of the process."""
    from uavdet.arguments import parse_options
    from uavdet.cli import split_words
    from uavdet.engine.train import train

    seconds: list[float] = []
    started = [0.0]

    def begin(trainer: object) -> None:
        started[0] = time.perf_counter()

    def end(trainer: object) -> None:
        seconds.append(time.perf_counter() - started[0])

    options = parse_options(split_words(words), "train")
    train(options, {"on_train_batch_start": [begin], "on_train_batch_end": [end]})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("RESULT " + json.dumps({"seconds": seconds[1:], "peak": peak}))  # the first step warms up


def run(words: list[str]) -> dict[str, list[float]]:
    """Return what a worker measured."""
    command = [sys.executable, __file__, "--work", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT "))


def main() -> None:
    if "--work" in sys.argv:
        work(sys.argv[sys.argv.index("--work") + 1 :])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="so-detr-n")
    parser.add_argument("--teacher", default="so-detr-r18")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--arms", default=",".join(ARMS), help="arms to measure, separated by commas (', ' stays)")
    args = parser.parse_args()
    arms = [name for name in ARMS if name == "plain" or name in args.arms]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.teacher, args.batch * (args.steps + 1))
        plain = [f"model={args.model}.yaml", f"data={folder / 'data' / 'data.yaml'}", "epochs=1", "plots=False"]
        plain += [f"imgsz={args.imgsz}", f"batch={args.batch}", "val=False", "device=cpu", "mosaic=0", "verbose=False"]
        plain += [f"project={folder / 'runs'}"]
        measured: dict[str, list[dict[str, list[float]]]] = {arm: [] for arm in arms}
        for _ in range(args.turns):
            for arm in arms:
                extra = [word.format(teacher=folder / "teacher.pt") for word in ARMS[arm]]
                measured[arm].append(run([*plain, *extra]))
    report(measured, args)


def report(measured: dict[str, list[dict[str, list[float]]]], args: argparse.Namespace) -> None:
    """Print the table."""
    threads = uavdet.environment.processors()
    print(f"{args.model}, teacher {args.teacher}, {args.imgsz} pixels, batch {args.batch}, {threads} threads\n")
    print(f"{'':24}{'s / step':>10}{'ratio':>8}{'peak GB':>10}{'ratio':>8}")
    seconds = {arm: statistics.median(s for turn in turns for s in turn["seconds"]) for arm, turns in measured.items()}
    peaks = {arm: max(turn["peak"] for turn in turns) for arm, turns in measured.items()}  # type: ignore[type-var]
    for arm in measured:
        time_ratio, memory_ratio = seconds[arm] / seconds["plain"], peaks[arm] / peaks["plain"]  # type: ignore[operator]
        print(f"{arm:24}{seconds[arm]:10.3f}{time_ratio:8.2f}{peaks[arm]:10.2f}{memory_ratio:8.2f}")


if __name__ == "__main__":
    main()
