"""What the pipeline gives: frames a second of whole commands and in the steady state, and the age of live frames.

    python benchmarks/stream.py CLIP_OR_FOLDER [--model detector.onnx] [--rounds 3] [--save] [--out stream.json]

Frames a second are given by the clock, and by the processors' time, which other programs on the machine disturb less.
Three parts. The first runs `uavdet predict` and `yolo predict` with the same ONNX file on the same clips, in turn, each
a process of its own from its start to its end. The second reads the same clips by both Python APIs and counts from the
tenth frame on. The third has a source that gives frames several times faster than the detector takes them, and looks
at how old a frame is when it is published, `latency=live` beside a queue of 64 frames. Without `--model` it is the
bundled weights, exported first with output=detections, as Ultralytics reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uavdet.runtime import Detector
from uavdet.video.frames import VideoFrame
from uavdet.video.pipeline import Stream
from uavdet.video.sources import Source, find_files

Rounds = dict[str, list[tuple[float, float]]]
"""By program, frames a second of each round: by the clock, and by the processors' time."""

_WARM_UP = 10
_STEADY = """
import json, sys, time
model, clips, threads, save = sys.argv[1], sys.argv[2:-2], int(sys.argv[-2]), sys.argv[-1] == "True"
{code}
moments = []
for clip in clips:
    for _ in frames(clip):
        moments.append((time.perf_counter(), time.process_time()))
count, first, last = len(moments) - 1 - {warm_up}, moments[{warm_up}], moments[-1]
print(json.dumps([count / (after - before) for before, after in zip(first, last)]))
"""
_OURS = """
from uavdet.runtime import Detector
detector = Detector(model, device="cpu", threads=threads)
frames = lambda clip: detector.stream(clip, save=save)
"""
_THEIRS = """
import uavdet.environment
from ultralytics import RTDETR
detector = RTDETR(model)
frames = lambda clip: detector.predict(clip, stream=True, save=save, verbose=False, device="cpu", conf=0.25)
"""


class FastSource(Source):
    """Gives frames from memory at a rate, whoever takes them, for a while."""

    def __init__(self, images: list[np.ndarray], rate: float, seconds: float) -> None:
        super().__init__("memory", 0, True)
        self._images, self.rate, self._seconds = images, rate, seconds

    def frames(self) -> Iterator[VideoFrame]:
        """Yield frames at even distances."""
        start = time.monotonic()
        for index in range(round(self.rate * self._seconds)):
            if self._closed.wait(max(start + index / self.rate - time.monotonic(), 0.0)):
                return
            image = self._images[index % len(self._images)]
            yield VideoFrame(image, self.name, 0, index, time.monotonic(), index / self.rate, self.rate)


def environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false"}


def run_command(words: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """Return the seconds of a command, by the clock and of the processors."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, cwd=folder, env=environment(threads), capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_commands(model: Path, clips: list[Path], frames: int, args: argparse.Namespace) -> Rounds:
    """Return frames a second of whole commands."""
    settings = [f"save={args.save}", "device=cpu", "conf=0.25"]
    yolo = Path(sys.executable).with_name("yolo")
    starts = {
        "uavdet predict": [sys.executable, "-m", "uavdet", "predict"],
        "yolo predict": [str(yolo), "detect", "predict"],
    }
    measured: Rounds = {name: [] for name in starts}
    for _ in range(args.rounds):
        for name, words in starts.items():
            spent = []
            for clip in clips:
                with tempfile.TemporaryDirectory() as folder:
                    options = [f"model={model}", f"source={clip}", *settings]
                    spent.append(run_command([*words, *options], Path(folder), args.threads))
            measured[name].append((frames / sum(wall for wall, _ in spent), frames / sum(cpu for _, cpu in spent)))
    return measured


def measure_steady(model: Path, clips: list[Path], args: argparse.Namespace) -> Rounds:
    """Return frames a second from the tenth frame on."""
    programs = {"uavdet": _OURS, "ultralytics": _THEIRS}
    measured: Rounds = {name: [] for name in programs}
    for _ in range(args.rounds):
        for name, code in programs.items():
            program = _STEADY.format(code=code, warm_up=_WARM_UP)
            words = [sys.executable, "-c", program, str(model), *map(str, clips), str(args.threads), str(args.save)]
            with tempfile.TemporaryDirectory() as folder:
                done = subprocess.run(
                    words, check=True, cwd=folder, env=environment(args.threads), capture_output=True, text=True
                )
            wall, cpu = json.loads(done.stdout.splitlines()[-1])
            measured[name].append((wall, cpu))
    return measured


def measure_age(model: Path, clip: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return how old frames are under overload, beside what detecting takes meanwhile, once a round."""
    detector = Detector(model, device="cpu", threads=args.threads)
    images = read_images(clip, 20)
    detector.detect(images[:2])
    start = time.perf_counter()
    detector.detect(images[:5])
    rate = args.overload * 5 / (time.perf_counter() - start)
    rounds = [measure_live(detector, images, rate, args.seconds) for _ in range(args.rounds)]
    ratios = sorted(row["age_over_own_inference"]["p99"] for row in rounds)
    return {
        "source_frames_per_second": round(rate, 1),
        "age_over_own_inference_p99": {"median": float(np.median(ratios)), "rounds": ratios},
        "rounds": rounds,
        "queue_of_64_age_ms": percentiles(measure_queue(detector, images, rate, args.seconds)),
    }


def measure_live(detector: Detector, images: list[np.ndarray], rate: float, seconds: float) -> dict[str, Any]:
    """Return the ages of frames of one live stream, in milliseconds."""
    stream = Stream([FastSource(images, rate, seconds)], detector)
    rows = [dict(frame.timings) for frame in stream][3:]
    inference = [row["preprocess"] + row["inference"] + row["postprocess"] for row in rows]
    age = [row["age"] for row in rows]
    return {
        "frames": len(rows),
        "dropped": stream.report.dropped,
        "inference_ms": percentiles(inference),
        "age_ms": percentiles(age),
        "age_over_own_inference": percentiles([a / i for a, i in zip(age, inference, strict=True)]),
        "age_p99_over_inference_p50": round(float(np.percentile(age, 99) / np.median(inference)), 2),
        "age_p99_over_inference_p99": round(float(np.percentile(age, 99) / np.percentile(inference, 99)), 2),
    }


def measure_queue(detector: Detector, images: list[np.ndarray], rate: float, seconds: float) -> list[float]:
    """Return how old frames are where 64 of them wait and the oldest comes first, as a plain queue has it."""
    source = FastSource(images, rate, seconds)
    waiting: list[VideoFrame] = []
    lock = threading.Lock()

    def fill() -> None:
        for frame in source.frames():
            with lock:
                if len(waiting) < 64:
                    waiting.append(frame)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    ages = []
    while thread.is_alive():
        with lock:
            frame = waiting.pop(0) if waiting else None
        if frame is None:
            time.sleep(0.001)
            continue
        detector.detect([frame.image])
        ages.append(1e3 * (time.monotonic() - frame.captured))
    return ages


def read_images(clip: Path, count: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(clip))
    return [image for _ in range(count) for done, image in [capture.read()] if done]


def count_frames(clip: Path) -> int:
    capture = cv2.VideoCapture(str(clip))
    return sum(1 for _ in iter(capture.grab, False))


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 2) for share in (50, 95, 99)}


def summarise(measured: Rounds) -> dict[str, Any]:
    """Return medians, and the ratio of each round, as the rounds of both lay side by side."""
    ours, theirs = measured.values()
    summary: dict[str, Any] = {}
    for place, clock in enumerate(("wall", "cpu")):
        ratios = [a[place] / b[place] for a, b in zip(ours, theirs, strict=True)]
        summary[clock] = {
            "frames_per_second": {
                name: round(float(np.median([row[place] for row in rows])), 2) for name, rows in measured.items()
            },
            "ratio": round(float(np.median(ratios)), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
        }
    return summary


def export_demo(folder: Path) -> Path:
    """Export the bundled weights in a process of its own, so that this one stays without PyTorch."""
    code = "import sys; from uavdet import UAVDet; UAVDet().export(out=sys.argv[1], parity=False)"
    subprocess.run([sys.executable, "-c", code, str(folder / "x.onnx")], check=True, stdout=subprocess.DEVNULL)
    return folder / "x.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", help="video, folder of videos, or glob")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save", action="store_true", help="both write annotated videos")
    parser.add_argument("--overload", type=float, default=4.0, help="how many times faster the live source is")
    parser.add_argument("--seconds", type=float, default=8.0, help="of the live source, a round")
    parser.add_argument("--parts", default="commands,steady,age")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    clips = [file for file in find_files(args.clips) if file.suffix.lower() == ".mp4"]
    result: dict[str, Any] = {"clips": [clip.name for clip in clips], "threads": args.threads, "save": args.save}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "rtdetr-detector.onnx"  # by this name `yolo` knows what the file is
        shutil.copy(args.model or export_demo(Path(folder)), model)
        frames = sum(map(count_frames, clips))
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "commands": lambda: summarise(measure_commands(model, clips, frames, args)),
            "steady": lambda: summarise(measure_steady(model, clips, args)),
            "age": lambda: measure_age(model, clips[0], args),
        }
        for name in args.parts.split(","):
            result[name] = parts[name]()
            print(name, json.dumps(result[name], indent=1), flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
