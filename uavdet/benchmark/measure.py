"""Runs models in turn and times them.

A round is one run of every model, in an order that is turned round from round to round: what slows the machine down for
a while slows all of them, and a ratio within a round still holds.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from uavdet.assets import find_weights
from uavdet.benchmark.process import ModelProcess
from uavdet.benchmark.report import BenchmarkReport, Machine, figures_of
from uavdet.benchmark.settings import PassTimes, SubjectSettings
from uavdet.errors import UsageError
from uavdet.runtime.files import processors
from uavdet.video.sources import read_picture

WARM_UP = 3
"""Rounds before those that count: the first runs allocate memory and choose kernels."""

_SCENE_SIZE = (1920, 1080)
_CPU_INFO = Path("/proc/cpuinfo")


def measure_models(
    models: Sequence[str | Path],
    *,
    source: str | Path | None = None,
    imgsz: int | list[int] | None = None,
    batch: int | None = None,
    device: str | int | None = None,
    threads: int | None = None,
    runs: int = 100,
    half: bool = False,
    queries: int | None = None,
) -> BenchmarkReport:
    """Time models beside one another, each in a process of its own; all of them are held in memory at once.

    Args:
        models: Weights, model YAMLs (random weights), exported files and folders; the first is what others are
            compared with. One may be given twice, which shows the noise.
        source: Picture to detect in; by default a synthetic scene of 1920 x 1080 pixels.
        imgsz: Side of the input in pixels, or [height, width]; by default each model's own.
        batch: Images a run; by default the number that an exported file fixes, else 1.
        device: As in `uavdet predict`; by default the fastest that works for each model.
        threads: CPU threads of each; by default one for each processor.
        runs: Rounds.
        half: Compute in half precision.
        queries: Number of object queries of checkpoints.

    Returns:
        The figures.

    Raises:
        CheckpointError: A file is missing, damaged or foreign.
        DataError: The picture cannot be read.
        MissingDependencyError: A package that runs a model is not installed.
        UsageError: No model is given, or a setting does not go with one.
    """
    if not models:
        raise UsageError("No model was given. Give one or more: uavdet benchmark model=a.onnx,b.onnx,c.pt.")
    threads = threads or processors()
    machine = Machine(_processor_name(), os.cpu_count() or 1, threads, _load())
    with tempfile.TemporaryDirectory(prefix="uavdet-benchmark-") as folder, contextlib.ExitStack() as stack:
        picture = _write_picture(source, Path(folder) / "picture.npy")
        settings = [
            SubjectSettings(find_weights(str(model)), str(picture), imgsz, batch, device, threads, bool(half), queries)
            for model in models
        ]
        opened = [stack.enter_context(_opened(each)) for each in settings]
        passes = _run_rounds(opened, runs)
        finishes = [each.finish() for each in opened]
        first = passes[0], opened[0].description.batch
        return BenchmarkReport(
            models=[
                figures_of(str(model), each.description, finish, times, first)
                for model, each, finish, times in zip(models, opened, finishes, passes, strict=True)
            ],
            runs=runs,
            image=list(np.load(picture, mmap_mode="r").shape[:2]),
            machine=machine,
        )


@contextlib.contextmanager
def _opened(settings: SubjectSettings) -> Iterator[ModelProcess]:
    process = ModelProcess(settings)
    try:
        yield process
    finally:
        process.close()


def _run_rounds(opened: Sequence[ModelProcess], runs: int) -> list[list[PassTimes]]:
    """Return the runs of each model, those of the same round at the same index."""
    passes: list[list[PassTimes]] = [[] for _ in opened]
    order = list(range(len(opened)))
    for index in range(WARM_UP + runs):
        order.reverse()
        for number in order:
            times = opened[number].run()
            if index >= WARM_UP:
                passes[number].append(times)
    return passes


def _write_picture(source: str | Path | None, file: Path) -> Path:
    """Write the picture as an array."""
    np.save(file, _draw_scene() if source is None else read_picture(Path(source).expanduser()))
    return file


def _draw_scene() -> np.ndarray:
    from uavdet.data.scenes import Scene, SceneConfig

    return Scene(SceneConfig(seed=1, size=_SCENE_SIZE, objects=60)).render(0).image


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _processor_name() -> str:
    """Return the processor's name, as Linux or Python tells it; empty where neither does."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8", errors="replace"), re.M)
        if found:
            return found[1].strip()
    return platform.processor()
