"""Detect and track with the bundled weights, frame by frame, and print where each object is.

    python examples/track_video.py [SOURCE]

A source is a video, a camera's number, or the address of a stream. Without one, a synthetic thermal flight is tracked.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from uavdet import UAVDet
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.video.writer import VideoWriter


def write_flight(file: Path) -> str:
    config = SceneConfig(seed=5, modality="thermal", moving_camera=True, objects=20, min_size=8)
    with VideoWriter(file, config.fps) as writer:
        for frame in Scene(config).frames(10):
            writer.write(frame.image)
    return str(file)


def main(source: str) -> None:
    stream = UAVDet().stream(source, tracker="botsort", verbose=False)
    for frame in stream:
        found = frame.detections
        objects = zip(found.class_names, found.track_ids, found.boxes, strict=True)
        shown = [f"{name} {identity} at {[round(v) for v in box.tolist()]}" for name, identity, box in objects]
        print(f"frame {frame.index}: {len(shown)} tracks; {'; '.join(shown[:3])}")
    print(stream.report.table())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1] if len(sys.argv) > 1 else write_flight(Path(folder) / "flight.mp4"))
