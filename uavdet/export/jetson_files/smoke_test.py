"""Runs a file of this folder on stored images, and compares what it finds with what the weights found.

    python3 smoke_test.py [FILE]

FILE is an engine or an ONNX file; without one it is detections.engine, or detections.onnx where there is no engine. It
takes NumPy, and for an engine TensorRT's Python package or for an ONNX file ONNX Runtime; no PyTorch, no OpenCV. It
ends with exit code 0 where the detections agree and 1 where they do not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.errors import UAVDetError
from uavdet.export.cuda_memory import CudaRuntime
from uavdet.export.engine_file import hash_file
from uavdet.export.tensorrt_build import import_tensorrt
from uavdet.export.tensorrt_engine import Engine

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Tolerance:
    """What a precision has to keep to.

    Attributes:
        overlap: Least IoU of a detection that counts as found again.
        score: Greatest difference of its score.
        share: Share of the stored detections that have to be found again.
    """

    overlap: float
    score: float
    share: float


TOLERANCES = {"fp32": Tolerance(0.98, 0.01, 0.98), "fp16": Tolerance(0.75, 0.05, 0.95)}


def open_file(file: Path) -> tuple[Run, int | None, str]:
    """Open an engine or an ONNX file; return what runs it, images a run (None: any), and its precision."""
    if file.suffix == ".engine":
        return open_engine(file)
    import onnxruntime

    there = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
    session = onnxruntime.InferenceSession(str(file), providers=providers)
    print(f"ONNX Runtime {onnxruntime.__version__} with {session.get_providers()[0]}")
    given = session.get_inputs()[0]
    batch = given.shape[0] if isinstance(given.shape[0], int) else None
    precision = "fp16" if file.stem.endswith("_fp16") else "fp32"
    return lambda images: session.run(None, {given.name: images}), batch, precision


def open_engine(file: Path) -> tuple[Run, int | None, str]:
    """Open an engine of this folder; one that was built from another ONNX file is refused."""
    trt = import_tensorrt()
    known = [path for path in (file.with_suffix(".onnx"), file.with_name(f"{file.stem}_fp16.onnx")) if path.is_file()]
    engine = Engine(file, trt, CudaRuntime())
    origin = engine.metadata["uavdet"]["engine"]
    if known and origin["onnx_sha256"] not in {hash_file(path) for path in known}:
        raise UAVDetError(f"'{file}' was built from other ONNX files than those here. Run build_engine.py again.")
    print(f"TensorRT {trt.__version__} on SM {origin['sm']}")
    batch = engine.input_shape[0]
    return engine, batch if batch > 0 else None, engine.metadata["uavdet"]["precision"]


def detect(run: Run, batch: int | None, image: np.ndarray, pixels: bool) -> tuple[np.ndarray, float]:
    """Run one stored image.

    Args:
        run: Runs a batch.
        batch: Images a run, or None for any number.
        image: (H, W, C) uint8, RGB or grey, of the network's size.
        pixels: Whether the file gives corners in pixels, as for DeepStream.

    Returns:
        Rows (K, 6): x1, y1, x2, y2 in pixels, score, class; and the milliseconds that it took.
    """
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
    images = np.repeat(planes, batch or 1, axis=0)
    started = time.perf_counter()
    rows = np.asarray(run(images)[0], dtype=np.float32)[0]
    seconds = time.perf_counter() - started
    if not np.isfinite(rows).all():
        raise UAVDetError("The file gives NaN or infinity. Build it in fp32: build_engine.py --precision fp32.")
    return (rows if pixels else to_pixels(rows, image.shape[:2])), 1000 * seconds


def to_pixels(rows: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Turn normalised centres and sides into corners in pixels."""
    scale = np.array([size[1], size[0]], dtype=np.float32)
    centre, half = rows[:, :2] * scale, rows[:, 2:4] * scale / 2
    return np.concatenate([centre - half, centre + half, rows[:, 4:]], axis=1)


def count_found(wanted: np.ndarray, found: np.ndarray, tolerance: Tolerance) -> int:
    """Return how many wanted rows have a counterpart of their class, box and score among the found ones."""
    if not len(wanted) or not len(found):
        return 0
    same = wanted[:, None, 5] == found[None, :, 5]
    near = np.abs(wanted[:, None, 4] - found[None, :, 4]) <= tolerance.score
    return int((same & near & (overlaps(wanted, found) >= tolerance.overlap)).any(1).sum())


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU (N, M) of boxes, whose sides count as a pixel at least."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = (high - low).clip(0).prod(-1)
    areas = [(rows[:, 2:4] - rows[:, :2]).clip(1).prod(-1) for rows in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6)


def run_test(folder: Path, file: Path) -> bool:
    """Run all stored images; print a line for each, and return whether the detections agree."""
    images = np.load(folder / "smoke_images.npy")
    stored: list[Any] = json.loads((folder / "smoke_detections.json").read_text(encoding="utf-8"))
    run, batch, precision = open_file(file)
    tolerance, pixels = TOLERANCES[precision], file.stem.startswith("deepstream")
    again = total = surplus = 0
    times = []
    for index, (image, expected) in enumerate(zip(images, stored, strict=True)):
        wanted = np.array(expected["rows"], dtype=np.float32).reshape(-1, 6)
        rows, milliseconds = detect(run, batch, image, pixels)
        found = count_found(wanted, rows, tolerance)
        strong = rows[rows[:, 4] > expected["lowest_score"] + tolerance.score]
        extra = len(strong) - count_found(strong, wanted, tolerance)
        print(f"image {index}: {found} of {len(wanted)} detections found again, {extra} more; {milliseconds:.1f} ms")
        again, total, surplus = again + found, total + len(wanted), surplus + extra
        times.append(milliseconds)
    allowed = (1 - tolerance.share) * total
    passed = total > 0 and total - again <= allowed and surplus <= allowed
    print(f"{'PASSED' if passed else 'FAILED'}: {file.name} ({precision}) found {again} of {total} stored detections")
    print(f"and {surplus} others; median {float(np.median(times)):.1f} ms an image")
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="an engine or ONNX file of this folder")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent, help="where the files lie")
    given = parser.parse_args(arguments)
    engine = given.folder / "detections.engine"
    file = given.file or (engine if engine.is_file() else given.folder / "detections.onnx")
    try:
        return 0 if run_test(given.folder, file) else 1
    except UAVDetError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
