"""The figures of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from uavdet.benchmark.settings import Description, PassTimes

_NAME_WIDTH = 34
_HEADER = (
    f"{'':{_NAME_WIDTH}} {'':14} {'':9} {'':>5} {'':>7} {'peak':>6} {'before':>7} {'network, ms':>23} {'after':>7} "
    f"{'whole, ms':>23} {'CPU':>7} {'':>6}\n"
    f"{'model':{_NAME_WIDTH}} {'on':14} {'input':9} {'batch':>5} {'GFLOPs':>7} {'MB':>6} {'p50':>7} "
    f"{'p50':>7} {'p90':>7} {'p99':>7} {'p50':>7} {'p50':>7} {'p90':>7} {'p99':>7} {'p50':>7} {'ratio':>6}"
)


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of times in milliseconds."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """Return those of times in seconds."""
        return cls(*(round(float(value) * 1e3, 4) for value in np.percentile(seconds, [50, 90, 99])))


@dataclass(frozen=True)
class ModelFigures:
    """The figures of one model; times are milliseconds of one run, which is of `batch` images.

    Attributes:
        model: As it was given.
        device: What it ran on.
        precision: What it computed in.
        imgsz: [height, width] of its input in pixels.
        batch: Images a run.
        gflops: 10^9 operations an image, attention and Fourier transforms counted; None where it is not known.
        peak_mb: Most memory of its process, in MB of 10^6 bytes, without a GPU's; None where it is not known.
        preprocess: From pictures to the network's input.
        inference: The network.
        postprocess: From its outputs to detections.
        whole: All of it.
        processor: Processor time of all threads: it stays the same where other programs take turns on the processor.
        ratio: Its time an image over the first model's: the median of the ratios within each round.
    """

    model: str
    device: str
    precision: str
    imgsz: list[int]
    batch: int
    gflops: float | None
    peak_mb: float | None
    preprocess: Percentiles
    inference: Percentiles
    postprocess: Percentiles
    whole: Percentiles
    processor: Percentiles
    ratio: float


@dataclass(frozen=True)
class Machine:
    """Where it ran.

    Attributes:
        processor: Its name, where the system tells it.
        processors: Their number.
        threads: CPU threads of each model.
        load: Programs that ran or waited for a processor, on average over the minute before; None where not known.
    """

    processor: str
    processors: int
    threads: int
    load: float | None

    @property
    def busy(self) -> bool:
        """Whether other programs had processors that the models were to use."""
        return self.load is not None and self.load > self.processors - self.threads + 0.5


@dataclass(frozen=True)
class BenchmarkReport:
    """What a benchmark found.

    Attributes:
        models: Figures of each model, in the order given.
        runs: Rounds that were timed, each one run of every model.
        image: [height, width] of the picture in pixels.
        machine: Where it ran.
    """

    models: list[ModelFigures]
    runs: int
    image: list[int]
    machine: Machine

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {**asdict(self), "machine": {**asdict(self.machine), "busy": self.machine.busy}}

    def table(self) -> str:
        """Return the figures as text for people."""
        return "\n".join([_HEADER, *(_row(figures) for figures in self.models), "", self._footer()])

    def _footer(self) -> str:
        machine = self.machine
        name = f" ({machine.processor})" if machine.processor else ""
        lines = [
            f"{self.runs} rounds of one run each, {self.image[1]}x{self.image[0]} pixels, CPU threads a model: "
            f"{machine.threads}, on {machine.processors} processors{name}.",
            "Ratio: time an image over the first model's, median of the rounds. CPU: processor time of all threads.",
        ]
        if len({tuple(figures.imgsz) for figures in self.models}) > 1:
            lines.append("The models take inputs of different sizes, each its own: the ratio is of different work.")
        if machine.busy:
            lines.append(
                f"Other programs used the processors: the load was {machine.load:.1f} at the start. Times are longer "
                "than on an idle machine; ratios and CPU change less."
            )
        return "\n".join(lines)


def figures_of(
    model: str,
    description: Description,
    finish: dict[str, Any],
    passes: Sequence[PassTimes],
    first: tuple[Sequence[PassTimes], int],
) -> ModelFigures:
    """Return the figures of a model.

    Args:
        model: As it was given.
        description: What it ran on.
        finish: Its `peak_mb` and `gflops`.
        passes: Its runs.
        first: The first model's runs, of the same rounds, and its batch size.
    """
    others, batch = first
    ratios = [
        (ours.whole / description.batch) / (theirs.whole / batch) for ours, theirs in zip(passes, others, strict=True)
    ]
    parts: dict[str, Any] = {
        name: Percentiles.of([getattr(each, name) for each in passes]) for name in asdict(passes[0])
    }
    return ModelFigures(model=model, **asdict(description), **finish, **parts, ratio=round(float(np.median(ratios)), 4))


def _row(figures: ModelFigures) -> str:
    name = figures.model
    name = name if len(name) <= _NAME_WIDTH else f"...{name[3 - _NAME_WIDTH :]}"
    height, width = figures.imgsz
    place = f"{figures.device} {figures.precision}"
    gflops = "" if figures.gflops is None else f"{figures.gflops:.1f}"
    peak = "" if figures.peak_mb is None else f"{figures.peak_mb:.0f}"
    return (
        f"{name:{_NAME_WIDTH}} {place:14} {f'{width}x{height}':9} {figures.batch:5} {gflops:>7} {peak:>6} "
        f"{figures.preprocess.p50:7.2f} {_percentiles(figures.inference)} {figures.postprocess.p50:7.2f} "
        f"{_percentiles(figures.whole)} {figures.processor.p50:7.1f} {figures.ratio:6.2f}"
    )


def _percentiles(times: Percentiles) -> str:
    return f"{times.p50:7.1f} {times.p90:7.1f} {times.p99:7.1f}"
