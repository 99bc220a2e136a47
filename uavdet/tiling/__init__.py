"""Tiling: large frames are looked at tile by tile, at the scale of the training, and merged into one list."""

from uavdet.tiling.detector import TiledDetector
from uavdet.tiling.options import TilingOptions
from uavdet.tiling.planning import TilePlan, plan_tiles

__all__ = ["TilePlan", "TiledDetector", "TilingOptions", "plan_tiles"]
