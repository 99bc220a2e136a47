"""Run an exported detector with NumPy, OpenCV and ONNX Runtime alone, as on a drone.

uavdet export format=onnx imgsz=640 out=detector.onnx
python examples/run_without_torch.py detector.onnx image.jpg
"""

from __future__ import annotations

import json
import sys

import cv2

from uavdet.runtime import Detector


def main(weights: str, picture: str) -> None:
    detector = Detector(weights)
    image = cv2.imread(picture)
    if image is None:
        sys.exit(f"{picture} cannot be read")
    found = detector(image)
    for detection in found.to_json():
        print(json.dumps(detection))
    print(f"{len(found)} detections; PyTorch loaded: {'torch' in sys.modules}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print("usage: python examples/run_without_torch.py detector.onnx image.jpg", file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:])
