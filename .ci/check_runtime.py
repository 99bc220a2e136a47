"""Detects with an exported file where PyTorch, Ultralytics and timm are not installed, and proves that they are not."""

from __future__ import annotations

import importlib.util
import sys

from uavdet.data.scenes import Scene, SceneConfig
from uavdet.runtime import Detector

for package in ("torch", "torchvision", "ultralytics", "timm"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed here"
frame = Scene(SceneConfig(seed=22, modality="thermal", ground="urban", objects=24, min_size=12)).render(0)
found = Detector(sys.argv[1], conf=0.2)(frame.image)
assert len(found), "nothing was detected"
print(f"{len(found)} detections without PyTorch, {len(frame.boxes)} objects in the picture")
