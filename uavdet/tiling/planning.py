"""Which tiles a frame is cut into: as asked for, or chosen from what the network was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from uavdet.errors import UsageError
from uavdet.tiling.grid import fitting_side, tile_grid
from uavdet.tiling.options import TilingOptions

WHOLE = 1.25
"""How much smaller than in training objects may appear where a frame, or a side of it, is not cut at all."""
ROUNDING = 1.01
"""How much smaller than in training objects may appear in tiles: sizes in statistics and of tiles are rounded."""
LARGE = 32.0
"""Network pixels from which on an object is no small one: COCO's bound. Objects that stay above may shrink further."""
LONG = 1.5
"""Length of an object in square roots of its area, as the statistics measure it: that of a car seen from above."""
MOST_TILES = 50_000
"""More tiles of a frame are taken for a slip; 20,000x20,000 pixels hold 12,500 of 256x256 that overlap by 0.3."""


@dataclass(frozen=True)
class TrainingSizes:
    """How large objects were in training, as the square roots of their areas.

    Attributes:
        scale: Pixels of the network's input for a pixel of the training images.
        smallest: Their 5 % quantile in pixels of the training images.
        median: Their median, likewise.
        largest: Their 95 % quantile, likewise.
    """

    scale: float
    smallest: float
    median: float
    largest: float


@dataclass(frozen=True, eq=False)
class TilePlan:
    """What is looked at of a frame of one size.

    Attributes:
        size: (width, height) of the frame in pixels.
        windows: (T, 4) int64 xyxy of the tiles, and of the frame where it is looked at as well, which then comes last.
        full_frame: Whether it is looked at besides the tiles.
        whole_side: Length in pixels up to which an object is whole in some tile.
        reason: What was chosen and why, in one line.
    """

    size: tuple[int, int]
    windows: np.ndarray
    full_frame: bool
    whole_side: float
    reason: str

    @property
    def tiles(self) -> int:
        """Number of tiles, 1 where the frame is not tiled; the full frame is not counted."""
        return len(self.windows) - self.full_frame


def read_training_sizes(statistics: Any) -> TrainingSizes | None:
    """Return the sizes that stand in the statistics of a training set; None where they are missing or unusable.

    Args:
        statistics: What `uavdet.data.statistics.training_statistics` gave, as weights and exported files hold it.
    """
    original, network = (_quantiles(statistics, key) for key in ("size_original", "size_network"))
    if original is None or network is None:
        return None
    return TrainingSizes(network["p50"] / original["p50"], original["p5"], original["p50"], original["p95"])


def _quantiles(statistics: Any, key: str) -> dict[str, float] | None:
    found = statistics.get(key) if isinstance(statistics, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    values = {name: found.get(name) for name in ("p5", "p50", "p95")}
    good = all(isinstance(value, int | float) and 0 < value < math.inf for value in values.values())
    return values if good else None  # type: ignore[return-value]


def plan_tiles(
    size: tuple[int, int], imgsz: tuple[int, int], options: TilingOptions, training: TrainingSizes | None = None
) -> TilePlan:
    """Choose the tiles of a frame.

    With `tile='auto'` objects shall appear to the network as large as in training. Two things are taken for granted: an
    object has as many pixels in the frame as it had in the training images, and those were shrunk to the network's
    input as the statistics say. A frame in which objects appear at most `WHOLE` times smaller than in training is not
    tiled. Otherwise each side is cut into the fewest tiles that show objects no smaller than training did; they share
    the side evenly, so that objects rather appear a little larger. Where even small objects of the training are large,
    all may shrink until those have `LARGE` pixels. Without statistics the network is taken to have been trained on
    images of its own size.

    Args:
        size: (width, height) of the frame in pixels.
        imgsz: (height, width) of the network's input.
        options: What was asked for.
        training: How large objects were in training, or None where it is not known.

    Raises:
        UsageError: There would be too many tiles.
    """
    inputs = (imgsz[1], imgsz[0])
    tile = _choose_tile(size, inputs, options.overlap, training) if options.tile == "auto" else options.tile
    windows = tile_grid(size, tile, options.overlap)  # type: ignore[arg-type]
    if len(windows) > MOST_TILES:
        raise UsageError(
            f"tile={options.tile} cuts a frame of {size[0]}x{size[1]} into {len(windows)} tiles, more than "
            f"{MOST_TILES}. Give larger tiles, or less overlap."
        )
    whole_side = options.overlap * int((windows[0, 2:] - windows[0, :2]).min())
    full_frame = len(windows) > 1 and _wants_full_frame(whole_side, options, training)
    if full_frame:
        windows = np.concatenate([windows, [[0, 0, *size]]])
    reason = _reason(size, inputs, windows, full_frame, options, training)
    return TilePlan(size, windows, full_frame, whole_side, reason)


def _choose_tile(
    size: tuple[int, int], inputs: tuple[int, int], overlap: float, training: TrainingSizes | None
) -> tuple[int, int]:
    """Return (width, height) of the tile that is best for the frame."""
    scale = training.scale if training else 1.0
    if training:
        scale = min(scale, LARGE / training.smallest)
    if _scale(*size, inputs) >= scale / WHOLE:
        return size
    width, height = (_fit_side(length, side / scale, overlap) for length, side in zip(size, inputs, strict=True))
    return width, height


def _fit_side(length: int, longest: float, overlap: float) -> int:
    """Return the side of the fewest tiles that cover a length and are at most so long."""
    if length <= WHOLE * longest:
        return length
    count = math.ceil((length / (ROUNDING * longest) - overlap) / (1 - overlap) - 1e-9)
    while (side := fitting_side(length, count, overlap)) > max(ROUNDING * longest, 1):
        count += 1
    return side


def _scale(width: float, height: float, inputs: tuple[int, int]) -> float:
    """Return network pixels for a pixel of a tile, the geometric mean of both sides."""
    return math.sqrt(inputs[0] * inputs[1] / (width * height))


def _wants_full_frame(whole_side: float, options: TilingOptions, training: TrainingSizes | None) -> bool:
    """Return whether objects of the training can be larger than the overlap, so that no tile may show them whole."""
    if options.full_frame is not None:
        return options.full_frame
    return training is None or LONG * training.largest > whole_side


def _reason(
    size: tuple[int, int],
    inputs: tuple[int, int],
    windows: np.ndarray,
    full_frame: bool,
    options: TilingOptions,
    training: TrainingSizes | None,
) -> str:
    """Return the line that says what was chosen and why."""
    width, height = (int(side) for side in windows[0, 2:] - windows[0, :2])
    tiles = len(windows) - full_frame
    whole = f"{_scale(*size, inputs):.2f}"
    if tiles == 1:
        chosen, scale = "no tiling", f"The network sees the frame at {whole} of its size"
    else:
        columns, rows = (len(np.unique(windows[:tiles, axis])) for axis in (0, 1))
        chosen = f"{tiles} tiles ({columns}x{rows}) of {width}x{height}"
        chosen += ", and the full frame" if full_frame else ""
        scale = f"The network sees tiles at {_scale(width, height, inputs):.2f} of their size, the frame at {whole}"
    if options.tile != "auto":
        return f"{size[0]}x{size[1]}: {chosen}, as asked for. {scale}."
    known = (
        f"training showed it objects at {training.scale:.2f} (median {training.median:.0f} pixels)" if training else ""
    )
    return f"{size[0]}x{size[1]}: {chosen}. {scale}; {known or 'the weights do not say how training showed objects'}."
