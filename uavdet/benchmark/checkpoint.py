"""A checkpoint as `UAVDet.predict` runs it: fused, in PyTorch's eager mode."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)
from uavdet.benchmark.settings import Description, PassTimes, SubjectSettings
from uavdet.engine.calls import half_where_it_works
from uavdet.engine.device import check_device, runs_on_cpu
from uavdet.engine.profile import count_gflops
from uavdet.model import UAVDet


class CheckpointSubject:
    """Weights, or a model YAML with random ones, timed by Ultralytics' own clocks around each part.

    Args:
        settings: What was asked for.
    """

    def __init__(self, settings: SubjectSettings) -> None:
        self._model = UAVDet(settings.model, settings.queries)
        device, batch = check_device(settings.device), settings.batch or 1
        imgsz = settings.imgsz or self._model.own_size()
        half = half_where_it_works({"half": settings.half, "device": device})
        self._size = (imgsz[0], imgsz[1]) if isinstance(imgsz, list) else (imgsz, imgsz)
        self._options: dict[str, Any] = {
            "imgsz": imgsz,
            "device": device,
            "half": half,
            "batch": batch,
            "verbose": False,
        }
        self._images = [np.load(settings.image)] * batch
        place = "cpu" if runs_on_cpu(device) else device if device == "mps" else f"cuda:{device or 0}"
        self.description = Description(place, "fp16" if half else "fp32", list(self._size), batch)

    def run(self) -> PassTimes:
        """Detect in one batch, and return what it took."""
        processor, start = time.process_time(), time.perf_counter()
        results = list(self._model.predict(self._images, **self._options))
        whole = time.perf_counter() - start
        parts = {name: ms * len(results) / 1e3 for name, ms in results[0].speed.items()}
        return PassTimes(**parts, whole=whole, processor=time.process_time() - processor)

    def gflops(self) -> float:
        """Count the operations of the fused model; this takes a copy of it and a run."""
        return count_gflops(self._model.module, self._size)  # type: ignore[arg-type]
