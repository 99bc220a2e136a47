"""Synthetic aerial scenes: clips and datasets with exact boxes, tracks and ignore regions, drawn from a seed.

A scene is a painted ground seen by a pinhole camera, with small solid objects that move over it. Every frame is a
function of (seed, index) alone.
"""

from uavdet.data.scenes.config import CLASS_NAMES, SceneConfig
from uavdet.data.scenes.scene import Scene, SceneFrame, write_dataset

__all__ = ["CLASS_NAMES", "Scene", "SceneConfig", "SceneFrame", "write_dataset"]
