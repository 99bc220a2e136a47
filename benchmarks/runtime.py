"""What the torch-free runtime costs: from start to the first detection, in memory, and around the network.

    python benchmarks/runtime.py [--model detector.onnx] [--size 1080,1920] [--rounds 200] [--starts 5] [--threads 2]

The first table has a fresh process a row, in turn: packages imported; and packages imported, a file opened and one
image detected in. Seconds count from the start of the process; memory is what is resident at the end, and the most
there was. The second compares one detector's way from pixels to boxes with its network alone, both in turn in one
process. Without `--model` it is the bundled weights, exported first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_OURS = "from uavdet.runtime import Detector\n"
_THEIRS = "from ultralytics import RTDETR\n"
_PREPARED = "import uavdet.environment\n"
_STARTS = {
    "import numpy, cv2, onnxruntime": "import numpy, cv2, onnxruntime\n",
    "import uavdet.runtime": _OURS,
    "import ultralytics.RTDETR (torch)": _PREPARED + _THEIRS,
    "uavdet.runtime, first detection": _OURS
    + "found = Detector(model, device='cpu', threads=threads, conf=0.2)(image)\n",
    "Ultralytics, same file, first detection": _PREPARED
    + _THEIRS
    + "found = RTDETR(model).predict(image, conf=0.2, verbose=False, device='cpu')[0]\n",
    "uavdet.UAVDet, same file, first detection": "from uavdet import UAVDet\n"
    + "found = UAVDet(model).predict(image, conf=0.2, verbose=False, device='cpu')[0]\n",
}
_CHILD = """
import sys, time
start, model, picture, threads = float(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
if {detects}:
    import numpy
    image = numpy.load(picture)
{code}
seconds = time.time() - start
told = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
kilobytes = {{key: int(value.split()[0]) for key, value in told.items()}}
import json
print(json.dumps({{"seconds": seconds, "resident": kilobytes["VmRSS"], "peak": kilobytes["VmHWM"]}}))
"""


def start_once(code: str, model: Path, picture: Path, threads: int) -> dict[str, float]:
    """Run a row in a fresh process."""
    program = _CHILD.format(code=code, detects="found" in code)
    words = [sys.executable, "-c", program, str(time.time()), str(model), str(picture), str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "YOLO_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure_starts(model: Path, image: np.ndarray, args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "image.npy"
        np.save(picture, image)
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in _STARTS}
        for _ in range(args.starts):
            for name, code in _STARTS.items():
                rows[name].append(start_once(code, model, picture, args.threads))
    print(f"{'fresh process':45} {'seconds':>8} {'resident MB':>12} {'peak MB':>9}")
    for name, measured in rows.items():
        seconds = np.median([row["seconds"] for row in measured])
        resident, peak = (np.median([row[key] for row in measured]) / 1024 for key in ("resident", "peak"))
        print(f"{name:45} {seconds:8.2f} {resident:12.0f} {peak:9.0f}")


def measure_overhead(model: Path, image: np.ndarray, args: argparse.Namespace) -> None:
    """Time the parts of a detection and all of it, in turn."""
    from uavdet.runtime import Detector
    from uavdet.runtime.postprocess import decode_rows
    from uavdet.runtime.preprocess import InputBuffer

    detector = Detector(model, device=args.device, threads=args.threads)
    session = detector.session
    buffer = InputBuffer(session.network.images)
    count = session.batch or 1
    images = [image] * count
    batch = buffer.fill(images, count).copy()
    rows = session.run(batch)
    parts = {
        "network alone": lambda: session.infer(batch),
        "pixels to boxes": lambda: detector.detect(images),
        "  image to input": lambda: buffer.fill(images, count),
        "  rows to boxes": lambda: [
            decode_rows(found, image.shape[:2], session.names, iou=detector.iou) for found in rows
        ],
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for index in range(args.rounds + 10):
        names = list(parts) if index % 2 else list(reversed(parts))
        for name in names:
            start = time.perf_counter()
            parts[name]()
            if index >= 10:
                times[name].append((time.perf_counter() - start) * 1e3)
    height, width = session.imgsz
    print(f"\n{model.name}, {count} x {image.shape[1]}x{image.shape[0]} to {width}x{height}, {session.device}")
    print(f"{'':20} {'p50 ms':>9} {'p90 ms':>9} {'ratio':>7}")
    base = np.median(times["network alone"])
    for name, measured in times.items():
        p50, p90 = np.percentile(measured, [50, 90])
        print(f"{name:20} {p50:9.3f} {p90:9.3f} {p50 / base:7.3f}")


def export_demo(folder: Path) -> Path:
    """Export the bundled weights in a process of its own, so that this one stays without PyTorch."""
    code = "import sys; from uavdet import UAVDet; UAVDet().export(out=sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder / "detector.onnx")], check=True, stdout=subprocess.DEVNULL)
    return folder / "detector.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", default="1080,1920", help="height,width of the image")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--starts", type=int, default=5, help="fresh processes a row; 0 leaves the first table out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    height, width = (int(side) for side in args.size.split(","))
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or export_demo(Path(folder))
        if args.starts:
            measure_starts(model.resolve(), image, args)
        measure_overhead(model, image, args)


if __name__ == "__main__":
    main()
