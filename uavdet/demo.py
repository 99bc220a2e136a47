"""`uavdet demo`: detects and tracks in a drone clip with the bundled weights.

Without a source the clip is a synthetic thermal flight whose truth is known, so that the report has an AP; nothing is
downloaded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.data.scenes import CLASS_NAMES, Scene, SceneConfig, SceneFrame
from uavdet.engine.calls import new_folder
from uavdet.errors import DataError
from uavdet.evaluation.coco import score_coco
from uavdet.evaluation.protocol import Score
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth
from uavdet.model import UAVDet
from uavdet.run_folders import output_folder
from uavdet.runtime.detections import Detections
from uavdet.video.drawing import DrawingOptions, Painter, fit_canvas
from uavdet.video.tracking import SourceTracker, TrackerConfig, read_tracker
from uavdet.video.writer import VideoWriter

_FRAMES = 100
_SCENE = SceneConfig(
    seed=22,
    modality="thermal",
    ground="urban",
    objects=24,
    moving_camera=True,
    min_size=12,
    max_size=70,
    classes=("person", "car", "bicycle", "truck"),
)
_DATASET_NAMES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}
_SCORED = 0.01
_TRACKED = 0.1
_COUNTED = 0.3


@dataclass
class DemoReport:
    """What the demo found and wrote.

    Attributes:
        save_dir: Its folder.
        frames: Number of frames.
        detections: Detections with a score of at least 0.3, over all frames.
        tracks: Number of tracks.
        seconds: Wall-clock seconds by step.
        metrics: COCO metrics against the clip's truth, or None for a real clip.
    """

    save_dir: Path
    frames: int = 0
    detections: int = 0
    tracks: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    metrics: Score | None = None

    @property
    def frames_per_second(self) -> float:
        """Frames a second of detection and tracking, without drawing and encoding."""
        return self.frames / max(self.seconds.get("detect", 0) + self.seconds.get("track", 0), 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        scores = self.metrics.as_row() if self.metrics is not None else {}
        return {
            "save_dir": str(self.save_dir),
            "frames": self.frames,
            "detections": self.detections,
            "tracks": self.tracks,
            "frames_per_second": round(self.frames_per_second, 2),
            "seconds": {key: round(value, 3) for key, value in self.seconds.items()},
            **{key: round(value, 4) for key, value in scores.items()},
        }

    def table(self) -> str:
        """Return the report as text for people."""
        per_frame = {key: 1000 * value / max(self.frames, 1) for key, value in self.seconds.items()}
        lines = [
            f"\n{'frames':24}{self.frames}",
            f"{'detections (>= 0.3)':24}{self.detections}",
            f"{'tracks':24}{self.tracks}",
        ]
        lines += [f"{key + ', ms a frame':24}{value:.1f}" for key, value in per_frame.items()]
        lines.append(f"{'detect + track':24}{self.frames_per_second:.1f} frames/s")
        if self.metrics is not None:
            for key, value in self.metrics.as_row().items():
                lines.append(
                    f"{key.removeprefix('coco/'):24}{value:.3f}" if value >= 0 else f"{key.removeprefix('coco/'):24}-"
                )
        files = ", ".join(sorted(path.name for path in self.save_dir.iterdir()))
        return "\n".join([*lines, f"\nWritten to {self.save_dir}: {files}"])


def run(options: dict[str, Any]) -> DemoReport:
    """Run the demo.

    Args:
        options: The arguments of `uavdet demo`.

    Returns:
        The report; an annotated video, detections as JSON Lines and the report as JSON lie in its `save_dir`.
    """
    folder = output_folder("demo", options)
    tracker = read_tracker(options.get("tracker") or "botsort")
    settings = {key: options[key] for key in ("imgsz", "device") if options.get(key) is not None}
    model = UAVDet()
    model.predict(options.get("source") or "clip.mp4", stream=True, **settings)  # refuses what is wrong; reads nothing
    with new_folder(folder):
        return _run(model, tracker, settings, options.get("source"), folder)


def _run(model: UAVDet, tracker: TrackerConfig, settings: dict[str, Any], source: Any, folder: Path) -> DemoReport:
    truths = None
    if source is None:
        source, truths = folder / "clip.mp4", _write_clip(folder / "clip.mp4")
    report = DemoReport(folder, seconds=dict.fromkeys(("detect", "track", "draw"), 0.0))
    found = _process(model, str(source), tracker, settings, report)
    if truths is not None:
        report.metrics = score_coco(_truth(truths), found)
    (folder / "report.json").write_text(json.dumps(report.as_dict(), indent=2), encoding="utf-8")
    return report


def _write_clip(path: Path) -> list[SceneFrame]:
    scene = Scene(_SCENE)
    frames = []
    with VideoWriter(path, _SCENE.fps) as writer:
        for frame in scene.frames(_FRAMES):
            writer.write(frame.image)
            frames.append(frame)
    return frames


def _process(
    model: UAVDet, source: str, config: TrackerConfig, settings: dict[str, Any], report: DemoReport
) -> dict[str, ImageDetections]:
    """Detect, track, draw and write every frame; return the detections by frame number."""
    identities: set[int] = set()
    found: dict[str, ImageDetections] = {}
    fps, tracker = _frame_rate(source), SourceTracker(config)
    painter = Painter(DrawingOptions(conf=False, enlarge=True))
    with _Output(report.save_dir, fps) as output:
        for index, (result, seconds) in enumerate(_detect(model, source, settings)):
            report.seconds["detect"] += seconds
            started = time.perf_counter()
            boxes = result.boxes.cpu().numpy()
            strong = np.flatnonzero(boxes.conf >= _TRACKED)
            rows, ids = tracker.update(
                boxes.xyxy[strong], boxes.conf[strong], boxes.cls[strong], result.orig_img, frame_rate=fps
            )
            report.seconds["track"] += time.perf_counter() - started
            started = time.perf_counter()
            identity = np.zeros(len(boxes.conf), dtype=int)
            identity[strong[rows]] = ids
            output.write_line(_line(index, boxes, identity, model.names))
            output.write_frame(painter.draw(result.orig_img, _shown(boxes, identity, model.names)))
            report.seconds["draw"] += time.perf_counter() - started
            identities.update(ids.tolist())
            found[str(index)] = ImageDetections(
                boxes.xyxy.astype(float), boxes.conf.astype(float), boxes.cls.astype(int)
            )
            report.detections += int((boxes.conf >= _COUNTED).sum())
    if not found:
        raise DataError(f"source={source} has no frame that can be read.")
    report.frames, report.tracks = len(found), len(identities)
    return found


def _shown(boxes: Any, identity: np.ndarray, names: dict[int, str]) -> Detections:
    """Return the tracks of a frame and what else was found with a good score; an identity of 0 is no track."""
    found = Detections(boxes.xyxy, boxes.conf, boxes.cls.astype(np.int64), names, identity)
    return found[(identity > 0) | (boxes.conf >= _COUNTED)]


class _Output:
    """The annotated video and the detections of a run; frames of another size than the first are fitted into it."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._folder, self._fps = folder, fps
        self._lines = (folder / "detections.jsonl").open("w", encoding="utf-8")
        self._writer: VideoWriter | None = None
        self._size = (0, 0)

    def write_line(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")

    def write_frame(self, canvas: np.ndarray) -> None:
        if self._writer is None:
            self._writer = VideoWriter(self._folder / "annotated.mp4", self._fps)
            self._size = canvas.shape[:2]
        self._writer.write(fit_canvas(canvas, self._size))

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        if self._writer is not None:
            self._writer.close()


def _detect(model: UAVDet, source: str, settings: dict[str, Any]) -> Iterator[tuple[Any, float]]:
    """Yield the result and the seconds of each frame."""
    results = iter(model.predict(source, stream=True, conf=_SCORED, save=False, verbose=False, **settings))
    while True:
        started = time.perf_counter()
        result = next(results, None)
        if result is None:
            return
        yield result, time.perf_counter() - started


def _frame_rate(source: str) -> float:
    import cv2

    capture = cv2.VideoCapture(source)
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return float(rate) if rate and rate > 0 else 10.0


def _line(index: int, boxes: Any, identity: np.ndarray, names: dict[int, str]) -> dict[str, Any]:
    """Return one line of detections.jsonl: the frame number and its detections of at least 0.1."""
    rows = [
        {
            "class": names[int(boxes.cls[row])],
            "confidence": round(float(boxes.conf[row]), 4),
            "box": [round(float(v), 2) for v in boxes.xyxy[row]],
            "track_id": int(identity[row]) or None,
        }
        for row in np.flatnonzero(boxes.conf >= _TRACKED).tolist()
    ]
    return {"frame": index, "detections": rows}


def _truth(frames: list[SceneFrame]) -> GroundTruth:
    """Return the truth of a clip under the class ids of the bundled weights."""
    names = list(_DATASET_NAMES.values())
    ids = np.array([names.index(_DATASET_NAMES[name]) if name in _DATASET_NAMES else -1 for name in CLASS_NAMES])
    images = []
    for index, frame in enumerate(frames):
        boxes = frame.boxes.astype(float)
        images.append(
            ImageTruth(
                name=str(index),
                size=(frame.image.shape[1], frame.image.shape[0]),
                boxes=boxes,
                classes=ids[frame.classes],
                areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
                crowd=np.zeros(len(boxes), dtype=bool),
                ignore_regions=frame.ignore_regions.astype(float),
            )
        )
    return GroundTruth(images, dict(enumerate(names)))
