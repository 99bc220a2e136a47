"""Three cameras that break down 200 times, and 10,000 frames afterwards: what is lost, and what memory does.

    python benchmarks/stream_soak.py [--faults 200] [--frames 10000] [--rate 60] [--seed 0] [--out soak.json]

The cameras run in a process of their own: JPEGs over HTTP, H.264 in a transport stream over HTTP, H.264 over RTSP. They
number their frames in the pixels, and break down at random: they close and reset connections, refuse to be reached,
stall, damage their data and change the size of their frames. The whole pipeline reads them in live mode, with a
detector that waits and finds nothing. Then the cameras' records are compared with the numbers that were read:

- missing: frames that a camera sent whole and that were not read; unknown or repeated: frames that were made up
- received = processed + dropped, for each source
- memory: resident megabytes, sampled throughout; the slope of a line through those of the calm frames, after the first
  tenth of them, in kilobytes a thousand frames
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the cameras are a tool of the tests, which are no installed package

from tests.video.fault_server import Record, settle  # noqa: E402
from tests.video.painted import read_number  # noqa: E402
from uavdet.runtime.detections import Detections  # noqa: E402
from uavdet.video.events import StreamEvent  # noqa: E402
from uavdet.video.frames import VideoFrame  # noqa: E402
from uavdet.video.pipeline import Stream  # noqa: E402
from uavdet.video.sources import Reconnection, StreamSource  # noqa: E402

_EVERY = 100  # frames between two samples of memory
_MOST = 2_000_000  # frames of a source
_UNREADABLE = -1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WatchedSource(StreamSource):
    """Keeps the numbers of the frames that it gives, in memory that is there from the start."""

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the stream's frames."""
        self._seen = np.full(_MOST, _UNREADABLE, np.int32)
        for frame in super().frames():
            number = read_number(frame.image)
            if number is not None:
                self._seen[frame.index] = number
            yield frame

    @property
    def numbers(self) -> list[int | None]:
        """The numbers so far; None is a frame whose number cannot be read."""
        return [None if number == _UNREADABLE else number for number in self._seen[: self.statistics.frames].tolist()]


class WaitingDetector:
    """Finds nothing, in a given time."""

    names, batch = {0: "object"}, None
    timings: dict[str, float] = {}  # noqa: RUF012

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._nothing = Detections(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), self.names
        )

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Wait."""
        time.sleep(self._seconds)
        return [self._nothing for _ in images]


class Cameras:
    """The cameras' process.

    Args:
        faults: Of all of them.
        rate: Frames a second of each.
        seed: Of the faults.
    """

    def __init__(self, faults: int, rate: float, seed: int) -> None:
        each = -(-faults // 3)
        words = ["--faults", str(each), "--rate", str(rate), "--seed", str(seed)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.video.fault_server", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addresses: list[str] = json.loads(self._line())
        self.calm = threading.Event()
        threading.Thread(target=self._wait_for_calm, daemon=True).start()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _wait_for_calm(self) -> None:
        self._line()
        self.calm.set()

    def stop(self) -> list[Record]:
        """End the process and return what each camera did."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        records = [Record(**told) for told in json.loads(self._line())]
        self._process.wait(30)
        return records


def resident() -> float:
    """Return this process' resident memory in megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20


def soak(stream: Stream, cameras: Cameras, frames: int) -> list[tuple[int, bool, float]]:
    """Read until there have been so many frames after the last fault; return (frames so far, calm, megabytes)."""
    samples: list[tuple[int, bool, float]] = []
    calm_since: int | None = None
    for count, _ in enumerate(stream):
        if calm_since is None and cameras.calm.is_set():
            calm_since = count
        if count % _EVERY == 0:
            samples.append((count, calm_since is not None, resident()))
        if calm_since is not None and count - calm_since >= frames:
            return samples
    raise SystemExit("the stream ended before its time")


def memory(samples: list[tuple[int, bool, float]]) -> dict[str, float]:
    """Return what memory did."""
    calm = np.array([(count, megabytes) for count, is_calm, megabytes in samples if is_calm])
    late = calm[len(calm) // 10 :]
    slope, _ = np.polyfit(late[:, 0] / 1000, late[:, 1] * 1024, 1)
    faulty = [megabytes for _, is_calm, megabytes in samples if not is_calm]
    return {
        "first_fault_mb": round(faulty[min(5, len(faulty) - 1)], 1),
        "last_fault_mb": round(faulty[-1], 1),
        "calm_first_mb": round(float(late[0, 1]), 1),
        "calm_last_mb": round(float(late[-1, 1]), 1),
        "calm_most_mb": round(float(late[:, 1].max()), 1),
        "calm_kb_per_1000_frames": round(float(slope), 1),
    }


def settle_all(records: list[Record], stream: Stream) -> list[dict[str, Any]]:
    """Return what became of each camera's frames."""
    rows = []
    for record, source, told in zip(records, stream.sources, stream.report.sources, strict=True):
        faults = Counter(kind for kind, *_ in record.faults)
        row = settle(record, source.numbers)  # type: ignore[attr-defined]
        balanced = told.received == told.processed + told.dropped.total() == len(source.numbers)  # type: ignore[attr-defined]
        rows.append({**told.as_dict(), "faults": dict(faults), **row, "balanced": balanced})
    return rows


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the cameras and the pipeline, and return all figures."""
    kinds: Counter[str] = Counter()

    def count(event: StreamEvent) -> None:
        kinds[event.kind] += 1

    cameras = Cameras(options.faults, options.rate, options.seed)
    again = Reconnection(stall_timeout=options.stall_timeout)
    sources = [
        WatchedSource(address, slot, reconnection=again, on_event=count)
        for slot, address in enumerate(cameras.addresses)
    ]
    start = time.monotonic()
    with Stream(sources, WaitingDetector(options.inference), latency="live") as stream:
        samples = soak(stream, cameras, options.frames)
    rows = settle_all(cameras.stop(), stream)
    return {
        "faults": sum(sum(row["faults"].values()) for row in rows),
        "seconds": round(time.monotonic() - start, 1),
        "events": dict(kinds),
        "memory": memory(samples),
        "threads_left": [thread.name for thread in threading.enumerate() if thread.name.startswith("uavdet")],
        "age_ms": stream.report.as_dict()["milliseconds"].get("age"),
        "sources": rows,
        "samples_mb": [round(megabytes, 2) for *_, megabytes in samples],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=200, help="of the three cameras together")
    parser.add_argument("--frames", type=int, default=10_000, help="processed after the last fault")
    parser.add_argument("--rate", type=float, default=60.0, help="frames a second of a camera")
    parser.add_argument("--inference", type=float, default=0.004, help="seconds that a detection takes")
    parser.add_argument("--stall-timeout", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    options = parser.parse_args()
    figures = run(options)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    del figures["samples_mb"]
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
