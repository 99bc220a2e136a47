"""Compares trackers on synthetic moving-camera clips whose true tracks are known: HOTA, MOTA, IDF1, identity switches.

Clips are thermal, as the demo weights expect. A seed is a world with its objects; it is flown three times: `drift`, 10
frames a second of a slowly moving camera; `fast`, the same flight at 2.5 frames a second, so that objects move four
times as far from frame to frame; and `shake`, as drift, cut from a larger frame by a window that gusts push about.
`dropped` is drift with two frames of five, as a slow detector sees a live stream. The model runs once a clip. Seeds
below `--fit` are for choosing settings; the others are reported. Duplicates go as in `uavdet track`, or with `--iou 1`
stay; detections are cached with them.

    python benchmarks/tracking.py --model demo.onnx --cache clips --csv docs/results/tracking.csv
    python benchmarks/tracking.py --model demo.onnx --cache clips --search botsort
    python benchmarks/tracking.py --cost

The first writes a row a clip and tracker to the CSV and prints the table of docs/results/tracking.md. The second tries
settings of a tracker on the seeds for fitting. The third times the trackers.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uavdet.data.scenes import Scene, SceneConfig
from uavdet.runtime.detections import Detections
from uavdet.runtime.postprocess import NMS_IOU, suppress_duplicates
from uavdet.video.frames import VideoFrame
from uavdet.video.tracking import LOWEST_SCORE, SourceTracker, TrackerConfig

_SIZE = (640, 512)
_MARGIN = 64
_MOTIONS = {"drift": 10.0, "fast": 2.5, "shake": 10.0}
_DROPPED = "dropped"
_KEPT = 0.4
_COMPENSATED, _PLAIN = "botsort, motion compensated", "botsort, not compensated"
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sort": ("sort", {}),
    "bytetrack": ("bytetrack", {}),
    "ocsort": ("ocsort", {}),
    _COMPENSATED: ("botsort", {"camera_motion": True}),
    "botsort, compensated at half": ("botsort", {"cmc_downscale": 2}),
    _PLAIN: ("botsort", {"camera_motion": False}),
}
_UNTIMED = ", times not used"
_METRICS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches")
# The first value of each list is where the search starts.
_GRIDS: dict[str, dict[str, list[Any]]] = {
    "sort": {
        "track_activation_threshold": [0.3, 0.4, 0.5, 0.6],
        "minimum_iou_threshold": [0.15, 0.05, 0.1, 0.3],
        "buffer_ratio": [0.0, 0.2, 0.4],
        "minimum_consecutive_frames": [3, 2],
    },
    "bytetrack": {
        "track_activation_threshold": [0.35, 0.45, 0.55],
        "high_conf_det_threshold": [0.3, 0.2, 0.4],
        "minimum_iou_threshold": [0.1, 0.05, 0.2],
        "buffer_ratio": [0.0, 0.2, 0.4],
        "minimum_consecutive_frames": [2, 3],
    },
    "ocsort": {
        "high_conf_det_threshold": [0.3, 0.2, 0.4, 0.5],
        "minimum_iou_threshold": [0.15, 0.05, 0.3],
        "buffer_ratio": [0.0, 0.2, 0.4],
        "minimum_consecutive_frames": [3, 2],
    },
    "botsort": {
        "track_activation_threshold": [0.35, 0.45, 0.55],
        "high_conf_det_threshold": [0.3, 0.2, 0.4],
        "minimum_iou_threshold_first_assoc": [0.05, 0.02, 0.1],
        "minimum_iou_threshold_second_assoc": [0.3, 0.1, 0.5],
        "buffer_ratio": [0.0, 0.2, 0.4],
        "minimum_consecutive_frames": [2, 3],
    },
}


@dataclass
class Clip:
    """A clip with its true tracks and the model's detections, a list entry a frame.

    Attributes:
        seed: Of the world.
        motion: How the camera moves.
        encoded: The frames as JPEG.
        truth: Boxes (N, 4) xyxy in pixels and their tracks (N,).
        ignored: (M, 4) regions whose objects are unlabelled.
        found: Boxes (N, 4), scores (N,) and classes (N,).
        numbers: Of the frames in the video; by default all from 0.
    """

    seed: int
    motion: str
    encoded: list[np.ndarray]
    truth: list[tuple[np.ndarray, np.ndarray]]
    ignored: list[np.ndarray]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    numbers: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return _MOTIONS.get(self.motion, 10.0)

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the frames as a stream gives them."""
        names = {0: "Person", 1: "Car", 2: "Bicycle", 3: "OtherVehicle"}
        numbers = self.numbers or range(len(self.encoded))
        for index, picture, found in zip(numbers, self.encoded, self.found, strict=True):
            image = cv2.imdecode(picture, cv2.IMREAD_COLOR)
            yield VideoFrame(
                image,
                f"{self.motion}-{self.seed}",
                0,
                index,
                0.0,
                index / self.rate,
                self.rate,
                detections=Detections(*found, names),
            )


def make_clip(seed: int, motion: str, count: int, detector: Any) -> Clip:
    """Render a clip and detect in it."""
    config = SceneConfig(
        seed=1000 + seed,
        size=_SIZE,
        modality="thermal",
        ground="urban",
        objects=24,
        moving_camera=True,
        fps=_MOTIONS[motion],
        min_size=12,
        max_size=70,
        classes=("person", "car", "bicycle", "truck"),
    )
    if motion == "shake":
        config = replace(config, size=(_SIZE[0] + 2 * _MARGIN, _SIZE[1] + 2 * _MARGIN), objects=33)
    clip = Clip(seed, motion, [], [], [], [])
    offsets = _gusts(seed, count) if motion == "shake" else np.zeros((count, 2), int)
    for frame, (left, top) in zip(Scene(config).frames(count), offsets, strict=True):
        image = frame.image[top : top + _SIZE[1], left : left + _SIZE[0]]
        boxes, kept = _cut(frame.boxes, left, top)
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        found = detector(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        clip.encoded.append(encoded)
        clip.truth.append((boxes[kept], frame.track_ids[kept]))
        clip.ignored.append(_cut(frame.ignore_regions, left, top)[0])
        clip.found.append((found.boxes, found.scores, found.classes))
    return clip


def _gusts(seed: int, count: int) -> np.ndarray:
    """Return (count, 2) where the window stands: it is drawn to the middle, and pushed by 4 pixels a frame or so.

    A twelfth of the frames has a push of about 20 pixels.
    """
    rng, place, speed, places = np.random.default_rng([seed, 7]), np.zeros(2), np.zeros(2), []
    for _ in range(count):
        push = rng.normal(0, 20 if rng.random() < 1 / 12 else 3, 2)
        speed = 0.6 * speed - 0.08 * place + push
        place = np.clip(place + speed, -_MARGIN, _MARGIN)
        places.append(np.rint(place + _MARGIN).astype(int))
    return np.stack(places)


def _cut(boxes: np.ndarray, left: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes as a window of the frame has them, and which of them are at least 40 % inside."""
    moved = boxes - np.array([left, top, left, top])
    clipped = np.clip(moved, 0, np.array([*_SIZE, *_SIZE]))
    share = (clipped[:, 2:] - clipped[:, :2]).prod(1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(1), 1e-9)
    return clipped, share >= 0.4


def load_clips(args: argparse.Namespace) -> list[Clip]:
    """Return all clips, from the cache where they are there."""
    args.cache.mkdir(parents=True, exist_ok=True)
    detector, clips = None, []
    for seed, motion in itertools.product(range(args.seeds), _MOTIONS):
        file = args.cache / f"{motion}-{seed}-{args.frames}.npz"
        if not file.is_file():
            if detector is None:
                from uavdet.runtime.detector import Detector

                detector = Detector(args.model, conf=LOWEST_SCORE, iou=1)
            clip = make_clip(seed, motion, args.frames, detector)
            np.savez(file, clip=np.array(clip.__dict__, dtype=object))
            print(f"{file}", flush=True)
        clips.append(Clip(**np.load(file, allow_pickle=True)["clip"].item()))
    return clips


def without_duplicates(clip: Clip, iou: float) -> Clip:
    """Return a clip whose detections have had the weaker of two boxes of a class taken away."""
    kept = [suppress_duplicates(*found, iou) for found in clip.found]
    found = [tuple(values[rows] for values in of_frame) for of_frame, rows in zip(clip.found, kept, strict=True)]
    return replace(clip, found=found)


def drop_frames(clip: Clip) -> Clip:
    """Return a clip as a detector sees it that is too slow for its source: two frames of five, at random."""
    kept = np.random.default_rng([clip.seed, 11]).random(len(clip.encoded)) < _KEPT
    rows = np.flatnonzero(kept).tolist()
    lists = ([entries[row] for row in rows] for entries in (clip.encoded, clip.truth, clip.ignored, clip.found))
    return Clip(clip.seed, _DROPPED, *lists, numbers=rows)


Tracks = list[tuple[np.ndarray, np.ndarray]]


def track(clip: Clip, name: str, settings: Mapping[str, Any], timed: bool = True) -> Tracks:
    """Return the boxes (N, 4) and identities (N,) of every frame."""
    tracker, tracks = SourceTracker(TrackerConfig(name, dict(settings))), []
    for frame in clip.frames():
        frame.pts = frame.pts if timed else None
        found = tracker.track(frame)
        tracks.append((found.boxes.astype(float), found.track_ids))
    return tracks


def score(clip: Clip, tracks: Tracks) -> dict[str, float]:
    """Return the metrics of a clip by the evaluation of `trackers`, which follows TrackEval; classes are not compared.

    Tracks whose centres lie in ignore regions are not counted.
    """
    from trackers.eval import box_iou, compute_clear_metrics, compute_hota_metrics, compute_identity_metrics

    tracks = [_outside(boxes, ids, regions) for (boxes, ids), regions in zip(tracks, clip.ignored, strict=True)]
    true_ids, own_ids = _number(clip.truth), _number(tracks)
    overlaps = [box_iou(true.astype(float), boxes) for (true, _), (boxes, _) in zip(clip.truth, tracks, strict=True)]
    hota = compute_hota_metrics(true_ids, own_ids, overlaps)
    clear = compute_clear_metrics(true_ids, own_ids, overlaps, threshold=0.5)
    identity = compute_identity_metrics(true_ids, own_ids, overlaps, threshold=0.5)
    return {
        **{name: float(hota[name]) for name in ("HOTA", "DetA", "AssA")},
        "MOTA": float(clear["MOTA"]),
        "IDF1": float(identity["IDF1"]),
        "switches": float(clear["IDSW"]),
    }


def _outside(boxes: np.ndarray, ids: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).T[:, :, None]
    x1, y1, x2, y2 = regions.T[:, None]
    kept = ~((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)).any(1)
    return boxes[kept], ids[kept]


def _number(frames: Tracks) -> list[np.ndarray]:
    """Return the identities of every frame as numbers from 0 without gaps."""
    known = {identity: index for index, identity in enumerate(sorted({int(i) for _, ids in frames for i in ids}))}
    return [np.array([known[int(i)] for i in ids], dtype=int) for _, ids in frames]


def compare(clips: list[Clip], variants: Mapping[str, tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row a clip and variant; where frames were dropped, a second one without their times."""
    rows = []
    for clip, (label, (name, settings)) in itertools.product(clips, variants.items()):
        for timed in (True, False) if clip.motion == _DROPPED else (True,):
            scores = score(clip, track(clip, name, settings, timed))
            rows.append({"seed": clip.seed, "motion": clip.motion, "tracker": label + _UNTIMED * (not timed), **scores})
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    """Print a table: the mean over seeds, and the standard deviation over seeds behind it."""
    print("| motion | tracker | " + " | ".join(_METRICS) + " |")
    print("|---|---|" + "---|" * len(_METRICS))
    for motion, label in sorted({(row["motion"], row["tracker"]) for row in rows}):
        chosen = [row for row in rows if (row["motion"], row["tracker"]) == (motion, label)]
        cells = []
        for name in _METRICS:
            values = [row[name] for row in chosen]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            digits = 1 if name == "switches" else 3
            cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}")
        print(f"| {motion} | {label} | " + " | ".join(cells) + " |")


def report_differences(rows: list[dict[str, Any]]) -> None:
    """Print what compensation, and times where frames were dropped, change."""
    for motion in (*_MOTIONS, _DROPPED):
        report_difference(rows, motion, _COMPENSATED, _PLAIN)
    for label in _VARIANTS:
        report_difference(rows, _DROPPED, label, label + _UNTIMED)


def report_difference(rows: list[dict[str, Any]], motion: str, new: str, old: str) -> None:
    """Print a difference seed by seed: its mean, its spread, and in how many seeds it is a gain."""
    for name in ("HOTA", "IDF1", "switches"):
        found = {(row["seed"], row["tracker"]): row[name] for row in rows if row["motion"] == motion}
        seeds = sorted({seed for seed, _ in found})
        changes = [found[seed, new] - found[seed, old] for seed in seeds]
        gains = sum(change < 0 if name == "switches" else change > 0 for change in changes)
        spread = statistics.stdev(changes) if len(changes) > 1 else 0.0
        mean = statistics.mean(changes)
        print(f"{motion}, {new} - {old}: {name} {mean:+.3f} ± {spread:.3f}, better in {gains} of {len(seeds)}")


def search(clips: list[Clip], name: str) -> None:
    """Choose settings one after the other by the mean of HOTA over motions and seeds, from the first of each list."""
    grid = _GRIDS[name]
    chosen = {key: values[0] for key, values in grid.items()}
    best = -1.0
    for key, values in grid.items():
        for value in values:
            settings = {**chosen, key: value}
            rows = compare(clips, {name: (name, settings)})
            means = {metric: statistics.mean(row[metric] for row in rows) for metric in _METRICS}
            print("  ".join(f"{metric} {mean:.3f}" for metric, mean in means.items()), settings, flush=True)
            if means["HOTA"] > best + 1e-9:
                best, chosen = means["HOTA"], settings
    print("chosen", round(best, 3), chosen, flush=True)


def time_trackers(repeats: int) -> None:
    """Print milliseconds a frame with 50 objects."""
    for size in (_SIZE, (1920, 1080)):
        frames = _moving_frames(size, repeats)
        for name, settings in [
            *((name, {}) for name in ("sort", "bytetrack", "ocsort")),
            ("botsort", {"camera_motion": False}),
            *(("botsort", {"cmc_downscale": scale}) for scale in (1, 2, 4, 6)),
        ]:
            tracker, times = SourceTracker(TrackerConfig(name, settings)), []
            for frame in frames:
                start = time.perf_counter()
                tracker.track(replace(frame))
                times.append((time.perf_counter() - start) * 1e3)
            print(f"{size[0]}x{size[1]} {name} {settings}: median {statistics.median(times[2:]):.1f} ms", flush=True)


def _moving_frames(size: tuple[int, int], count: int) -> list[VideoFrame]:
    """Return frames of a scene under a camera that moves by 3 pixels a frame, with 50 objects that stand."""
    scene = Scene(SceneConfig(seed=5, size=(size[0] + 3 * count, size[1]), modality="thermal"))
    picture, rng = scene.render(0).image, np.random.default_rng(0)
    places = rng.uniform((40, 40), (size[0] - 60, size[1] - 60), (50, 2))
    frames = []
    for index in range(count):
        image = np.ascontiguousarray(picture[:, 3 * index : 3 * index + size[0]])
        corners = places - (3 * index, 0)
        boxes = np.concatenate([corners, corners + 14], axis=1).astype(np.float32)
        found = Detections(boxes, np.full(50, 0.6, np.float32), np.zeros(50, np.int64), {0: "person"})
        frames.append(VideoFrame(image, "moving", 0, index, 0.0, index / 30, 30.0, detections=found))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo.onnx", help="the demo weights, exported")
    parser.add_argument("--cache", type=Path, default=Path("tracking_clips"), help="folder for clips and detections")
    parser.add_argument("--csv", type=Path, help="write a row a clip and tracker")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--fit", type=int, default=4, help="seeds below it are for choosing settings")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--iou", type=float, default=NMS_IOU, help="from which duplicates go; 1 leaves all that differ")
    parser.add_argument("--search", choices=sorted(_GRIDS), help="try settings of a tracker")
    parser.add_argument("--cost", action="store_true", help="time the trackers")
    args = parser.parse_args()
    warnings.filterwarnings("error", module="trackers")
    if args.cost:
        time_trackers(30)
        return
    clips = [without_duplicates(clip, args.iou) for clip in load_clips(args)]
    if args.search:
        search([clip for clip in clips if clip.seed < args.fit], args.search)
        return
    clips = [clip for clip in clips if clip.seed >= args.fit]
    rows = compare([*clips, *(drop_frames(clip) for clip in clips if clip.motion == "drift")], _VARIANTS)
    report(rows)
    report_differences(rows)
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
