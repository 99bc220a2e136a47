"""Seconds of a training step, ours and stock Ultralytics RT-DETR, per image and per GFLOP, in one run.

    python benchmarks/training.py [--imgsz 320] [--batch 2] [--steps 6] [--ours so-detr-r50.yaml]

Each model takes a step (forward, loss, backward, clipping, optimizer, moving average) on the same random batch, as its
trainer takes it: ours in the precision and memory layout of this project's trainer, the stock model in those of
Ultralytics' trainer on the CPU. Steps alternate, so that a change of the machine's speed meets both. A third row runs
ours in Ultralytics' precision and layout, to show what the criterion and the network alone are worth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

import uavdet.environment

# isort: split
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils.torch_utils import ModelEMA

from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.plan import resolve_precision
from uavdet.engine.profile import profile_model

OBJECTS = 30


@dataclass
class Contestant:
    """A model and how it takes a training step."""

    name: str
    gflops: float
    step: Callable[[], None]


def make_batch(images: int, imgsz: int, classes: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    count = images * OBJECTS
    return {
        "img": torch.rand(images, 3, imgsz, imgsz, generator=generator),
        "cls": torch.randint(0, classes, (count, 1), generator=generator).float(),
        "bboxes": torch.rand(count, 4, generator=generator) * 0.05 + 0.4,
        "batch_idx": torch.arange(images).repeat_interleave(OBJECTS).float(),
    }


def make_step(model: torch.nn.Module, batch: dict[str, torch.Tensor], clip: float) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
    average = ModelEMA(model)

    def step() -> None:
        loss, _ = model(batch)
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)

    return step


def make_contestants(ours: str, stock: str, batch: dict[str, torch.Tensor], classes: int) -> list[Contestant]:
    imgsz = batch["img"].shape[-1]
    theirs = RTDETRDetectionModel(stock, nc=classes, verbose=False).train()
    theirs.nc = classes
    found = [Contestant(f"Ultralytics {stock}", _gflops(stock, classes, imgsz), make_step(theirs, batch, 10.0))]
    precision = resolve_precision("auto", "cpu")
    for name, dtype, layout in (
        (f"uavdet {ours}, {precision}", {"bf16": torch.bfloat16, "fp32": None}[precision], torch.channels_last),
        (f"uavdet {ours}, fp32", None, torch.contiguous_format),
    ):
        model = build_model(load_model_config(ours), nc=classes).train().to(memory_format=layout)
        model.autocast_dtype = dtype
        images = {**batch, "img": batch["img"].contiguous(memory_format=layout)}
        found.append(Contestant(name, _gflops(ours, classes, imgsz), make_step(model, images, 0.1)))
    return found


def _gflops(name: str, classes: int, imgsz: int) -> float:
    return profile_model(build_model(load_model_config(name), nc=classes), (imgsz, imgsz)).gflops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", default="so-detr-r50.yaml")
    parser.add_argument("--stock", default="rtdetr-resnet50.yaml")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(uavdet.environment.processors())
    batch = make_batch(args.batch, args.imgsz, 10)
    contestants = make_contestants(args.ours, args.stock, batch, 10)
    times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for index in range(args.steps + 1):
        for contestant in contestants:
            started = time.perf_counter()
            contestant.step()
            if index:  # the first step warms up
                times[contestant.name].append(time.perf_counter() - started)
    print(f"{args.imgsz} pixels, batch {args.batch}, {OBJECTS} objects an image, {torch.get_num_threads()} threads\n")
    print(f"{'':40}{'s / image':>12}{'GFLOPs':>10}{'ms / GFLOP':>12}{'ratio':>8}")
    reference = statistics.median(times[contestants[0].name]) / args.batch / contestants[0].gflops
    for contestant in contestants:
        seconds = statistics.median(times[contestant.name]) / args.batch
        rate = seconds / contestant.gflops
        print(f"{contestant.name:40}{seconds:12.3f}{contestant.gflops:10.1f}{1000 * rate:12.2f}{rate / reference:8.2f}")


if __name__ == "__main__":
    main()
