"""A detector that looks at frames tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from uavdet.errors import DataError
from uavdet.runtime.detections import Detections
from uavdet.runtime.preprocess import check_picture
from uavdet.tiling.combining import combine_tiles
from uavdet.tiling.options import TilingOptions
from uavdet.tiling.planning import TilePlan, plan_tiles, read_training_sizes

TILES_A_RUN = 8
"""Tiles a run on an accelerator, where the network takes any number."""
BORDER = 2.0
"""Network pixels from a tile's border within which the side of a box counts as cut by it."""


class TileableDetector(Protocol):
    """What tiles are looked at with: `uavdet.runtime.Detector`, or the like for other weights."""

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name."""

    @property
    def batch(self) -> int | None:
        """Images a run, or None for any number."""

    @property
    def imgsz(self) -> tuple[int, int]:
        """(height, width) of the network's input."""

    @property
    def device(self) -> str:
        """What it runs on, such as 'cpu'."""

    @property
    def statistics(self) -> Mapping[str, Any] | None:
        """Sizes of the training's objects, where the weights hold them."""

    @property
    def grey(self) -> bool:
        """Whether the network reads grey pictures."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Milliseconds of the last call over all its images, by step."""

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect objects in images."""


class TiledDetector:
    """Looks at frames tile by tile, and gives one list of detections a frame.

    Tiles are views of their frame; those of several frames share the runs of the network, so that a network of a fixed
    batch size is filled up once a call at most. A frame that is one tile gives what the detector gives.

    Args:
        detector: What looks at a tile.
        options: How frames are tiled, and how what tiles show is merged.
        max_det: Most detections of a frame, or None for all.
        on_plan: Called with the line that says which tiles were chosen and why, once for each size of frames.

    Attributes:
        detector: What looks at a tile.
        options: As given.
        timings: Milliseconds of the last call over all its frames, by step; merging counts as post-processing.
    """

    def __init__(
        self,
        detector: TileableDetector,
        options: TilingOptions | None = None,
        *,
        max_det: int | None = None,
        on_plan: Callable[[str], None] | None = None,
    ) -> None:
        self.detector, self.options = detector, options or TilingOptions()
        self.timings: dict[str, float] = {}
        self._max_det, self._on_plan = max_det, on_plan
        self._training = read_training_sizes(getattr(detector, "statistics", None))
        self._plans: dict[tuple[int, int], TilePlan] = {}

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name."""
        return self.detector.names

    @property
    def batch(self) -> int | None:
        """Images a run of the network, or None for any number."""
        return self.detector.batch

    @property
    def imgsz(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.detector.imgsz

    @property
    def grey(self) -> bool:
        """Whether the network reads grey pictures."""
        return self.detector.grey

    @property
    def device(self) -> str:
        """What it runs on, such as 'cpu'."""
        return self.detector.device

    def __call__(self, image: np.ndarray) -> Detections:
        """Detect objects in one frame, (H, W, 3) uint8 BGR or (H, W) grey."""
        return self.detect([image])[0]

    def plan(self, size: tuple[int, int]) -> TilePlan:
        """Return what is looked at of frames of a size, (width, height) in pixels."""
        if size not in self._plans:
            self._plans[size] = plan_tiles(size, self.detector.imgsz, self.options, self._training)
            if self._on_plan is not None:
                self._on_plan(self._plans[size].reason)
        return self._plans[size]

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect objects in several frames, whose sizes may differ; no frame gives no result.

        Raises:
            DataError: A frame has another shape or type, or is given in the place of several.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise DataError(f"The images are one array of {images.shape}. Give a list of images, or call the detector.")
        for index, image in enumerate(images):
            check_picture(image, index)
        plans = [self.plan((image.shape[1], image.shape[0])) for image in images]
        found, spent = self._look(_cut_tiles(images, plans))
        start = time.perf_counter()
        ends = np.cumsum([len(plan.windows) for plan in plans])
        results = [
            self._combine(found[end - len(plan.windows) : end], plan) for plan, end in zip(plans, ends, strict=True)
        ]
        spent["postprocess"] = spent.get("postprocess", 0.0) + 1e3 * (time.perf_counter() - start)
        self.timings = spent
        return results

    def _look(self, tiles: list[np.ndarray]) -> tuple[list[Detections], dict[str, float]]:
        """Return the detections of tiles, and the milliseconds that they took by step."""
        found: list[Detections] = []
        spent: dict[str, float] = {}
        size = self._tiles_a_run()
        for start in range(0, len(tiles), size):
            found += self.detector.detect(tiles[start : start + size])
            for step, milliseconds in self.detector.timings.items():
                spent[step] = spent.get(step, 0.0) + milliseconds
        return found, spent

    def _tiles_a_run(self) -> int:
        """Return how many tiles go to the network at once: a CPU, which one tile fills, takes them one by one."""
        if self.detector.batch:
            return self.detector.batch
        return 1 if self.detector.device.startswith("cpu") else TILES_A_RUN

    def _combine(self, found: list[Detections], plan: TilePlan) -> Detections:
        if len(found) == 1:
            return found[0]
        if plan.full_frame:
            found = [*found[:-1], _large_ones(found[-1], plan.whole_side)]
        height, width = self.detector.imgsz
        margins = BORDER * (plan.windows[:, 2:] - plan.windows[:, :2]) / (width, height)
        return combine_tiles(found, plan.windows, plan.size, self.options, margins, self._max_det)


def _cut_tiles(images: Sequence[np.ndarray], plans: list[TilePlan]) -> list[np.ndarray]:
    """Return the tiles of all frames as views."""
    return [
        image[top:bottom, left:right]
        for image, plan in zip(images, plans, strict=True)
        for left, top, right, bottom in plan.windows.tolist()
    ]


def _large_ones(found: Detections, whole_side: float) -> Detections:
    """Return what the full frame is looked at for; what is smaller is whole in a tile, where it is seen better."""
    rows = np.flatnonzero((found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0) > whole_side)
    return Detections(found.boxes[rows], found.scores[rows], found.classes[rows], found.names)
