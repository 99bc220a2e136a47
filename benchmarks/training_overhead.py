"""Measures what training methods cost: seconds of a training step and peak memory, with each method over without.

Every arm is a real training in a process of its own, on synthetic scenes; the arms take turns, and the median step of
all turns counts. Teachers have random weights, which cost what trained ones cost. Beside the seconds of wall time
stand those of the processor, which other programs on the machine disturb less. The arms of `set` are split into what
smoothing, gradients and the auxiliary pass take, forwards and backwards.

    python benchmarks/training_overhead.py
    python benchmarks/training_overhead.py --model so-detr-r18 --teacher so-detr-r50 --imgsz 640 --batch 2
    python benchmarks/training_overhead.py --model so-detr-r18 --imgsz 640 --batch 2 --arms "plain,set,set: smoothing"
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    "set: smoothing": ["methods=set", "set.perturbation=False"],
    "set: perturbation": ["methods=set", "set.smoothing=False", "set.start_epoch=0"],
    "set": ["methods=set", "set.start_epoch=0"],
    "set, merged": ["methods=set", "set.branches=merged", "set.start_epoch=0"],
}
"""Arguments of each arm, over those of the plain training."""

PARTS = ("smoothing", "smoothing back", "gradients", "auxiliary", "auxiliary back")
"""What the steps of `set` are split into; `back` is what the backward pass takes for it."""


def prepare(folder: Path, teacher: str | None, images: int) -> None:
    """Write the scenes, and the teacher if an arm has one."""
    from uavdet import UAVDet
    from uavdet.data.scenes import SceneConfig, write_dataset

    config = SceneConfig(seed=1, size=(640, 512), objects=30, min_size=8, max_size=60)
    write_dataset(
        folder / "data", {"train": images, "val": 2}, config, {"person": "person", "car": "car"}, ("thermal",)
    )
    if teacher is None:
        return
    model: Any = UAVDet(f"{teacher}.yaml").module
    from uavdet.engine.checkpoint import Checkpoint, describe_model, save_checkpoint
    from uavdet.engine.families import build_model

    module = build_model(model.yaml, nc=2)
    module.names = {0: "person", 1: "car"}  # type: ignore[assignment]
    save_checkpoint(Checkpoint(module.state_dict(), describe_model(module)), folder / "teacher.pt")


def work(words: list[str]) -> None:
    """Train for one epoch and print the seconds of its steps and the peak memory of the process."""
    from uavdet.arguments import parse_options
    from uavdet.cli import split_words
    from uavdet.engine.train import train

    seconds: dict[str, list[float]] = {"wall": [], "processor": []}
    started = [0.0, 0.0]

    def begin(trainer: object) -> None:
        started[:] = time.perf_counter(), time.process_time()

    def end(trainer: object) -> None:
        seconds["wall"].append(time.perf_counter() - started[0])
        seconds["processor"].append(time.process_time() - started[1])

    parts = Parts(seconds["wall"]).attach() if "methods=set" in words else None
    options = parse_options(split_words(words), "train")
    train(options, {"on_train_batch_start": [begin], "on_train_batch_end": [end]})
    measured = {"seconds": seconds["wall"], "processor": seconds["processor"]}
    for name, values in (parts.seconds if parts else {}).items():
        measured[name] = values or [0.0] * len(seconds["wall"])
    warm = {name: values[1:] for name, values in measured.items()}  # the first step warms up
    print("RESULT " + json.dumps({**warm, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))


class Parts:
    """Processor seconds that the parts of `set` take, a value a step.

    The backward pass begins with what was computed last: with the auxiliary pass, until its inputs have their
    gradients, then the smoothing, until it has handed them on.

    Args:
        done: As long as the number of finished steps.
    """

    def __init__(self, done: list[float]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in PARTS}
        self._done, self._lap = done, 0.0

    def add(self, name: str, seconds: float) -> None:
        """Count seconds for the running step."""
        values = self.seconds[name]
        values += [0.0] * (len(self._done) + 1 - len(values))
        values[-1] += seconds

    def lap(self, name: str) -> None:
        """Count the seconds since the last lap of the backward pass."""
        now = time.process_time()
        self.add(name, now - self._lap)
        self._lap = now

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts its own seconds."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = function(*args, **kwargs)
            self.add(name, time.process_time() - start)
            return result

        return call

    def attach(self) -> Parts:
        """Let the method's functions be timed in this process."""
        from torch import Tensor

        from uavdet.methods.spectral_enhancement import method
        from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing

        smooth, auxiliary, backward = BackgroundSmoothing.forward, method.auxiliary_terms, Tensor.backward

        def watched_smooth(block: Any, features: Any, kept: Any) -> Any:
            features = features.view_as(features)
            features.register_hook(lambda gradient: self.lap("smoothing back"))
            return smooth(block, features, kept)

        def watched_auxiliary(model: Any, recorder: Any, maps: Any, *args: Any, **kwargs: Any) -> Any:
            for level in maps:
                level.register_hook(lambda gradient: self.lap("auxiliary back"))
            return auxiliary(model, recorder, maps, *args, **kwargs)

        def watched_backward(*args: Any, **kwargs: Any) -> Any:
            self._lap = time.process_time()
            return backward(*args, **kwargs)

        BackgroundSmoothing.forward = self.timed("smoothing", watched_smooth)  # type: ignore[method-assign]
        method.auxiliary_terms = self.timed("auxiliary", watched_auxiliary)
        method.adversarial_perturbation = self.timed("gradients", method.adversarial_perturbation)
        Tensor.backward = watched_backward  # type: ignore[method-assign]
        return self


def run(words: list[str]) -> dict[str, Any]:
    """Return what a worker measured."""
    command = [sys.executable, __file__, "--work", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT "))


def chosen_arms(given: str) -> list[str]:
    """Return the arms of `--arms`, the plain one first."""
    named = re.split(r",(?! )", given)
    unknown = [name for name in named if name not in ARMS]
    if unknown:
        raise SystemExit(f"There is no arm '{unknown[0]}'. Known: {'; '.join(ARMS)}.")
    return [name for name in ARMS if name == "plain" or name in named]


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
    parser.add_argument("--amp", default="auto")
    parser.add_argument("--arms", default=",".join(ARMS), help="arms to measure, separated by commas (', ' stays)")
    args = parser.parse_args()
    arms = chosen_arms(args.arms)
    taught = any("{teacher}" in word for arm in arms for word in ARMS[arm])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.teacher if taught else None, args.batch * (args.steps + 1))
        plain = [f"model={args.model}.yaml", f"data={folder / 'data' / 'data.yaml'}", "epochs=1", "plots=False"]
        plain += [f"imgsz={args.imgsz}", f"batch={args.batch}", "val=False", "device=cpu", "mosaic=0", "verbose=False"]
        plain += [f"project={folder / 'runs'}", f"amp={args.amp}"]
        measured: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
        for _ in range(args.turns):
            for arm in arms:
                extra = [word.format(teacher=folder / "teacher.pt") for word in ARMS[arm]]
                measured[arm].append(run([*plain, *extra]))
    report(measured, args, taught)


def median(turns: list[dict[str, Any]], name: str) -> float:
    """Return the median step of all turns."""
    return statistics.median(value for turn in turns for value in turn[name])


def report(measured: dict[str, list[dict[str, Any]]], args: argparse.Namespace, taught: bool) -> None:
    """Print the tables."""
    teacher = f", teacher {args.teacher}" if taught else ""
    threads = uavdet.environment.processors()
    print(f"{args.model}{teacher}, {args.imgsz} pixels, batch {args.batch}, amp={args.amp}, {threads} threads\n")
    print(f"{'':24}{'s / step':>10}{'ratio':>8}{'processor s':>13}{'ratio':>8}{'peak GB':>10}{'ratio':>8}")
    peaks = {arm: max(turn["peak"] for turn in turns) for arm, turns in measured.items()}
    plain = measured["plain"]
    for arm, turns in measured.items():
        line = f"{arm:24}"
        for name, width in (("seconds", 10), ("processor", 13)):
            line += f"{median(turns, name):{width}.3f}{median(turns, name) / median(plain, name):8.2f}"
        print(f"{line}{peaks[arm]:10.2f}{peaks[arm] / peaks['plain']:8.2f}")
    split = [arm for arm in measured if arm.startswith("set")]
    if split:
        print(f"\n{'processor s / step':24}" + "".join(f"{name:>16}" for name in PARTS))
    for arm in split:
        print(f"{arm:24}" + "".join(f"{median(measured[arm], name):16.3f}" for name in PARTS))


if __name__ == "__main__":
    main()
