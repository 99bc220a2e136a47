"""Runs exported detectors with NumPy, OpenCV and ONNX Runtime alone; never imports PyTorch or Ultralytics.

>>> from uavdet.runtime import Detector
>>> detections = Detector("best.onnx")(image)  # doctest: +SKIP
"""

from __future__ import annotations

from uavdet.runtime.detections import Detections
from uavdet.runtime.detector import Detector
from uavdet.runtime.session import Session

__all__ = ["Detections", "Detector", "Session"]
