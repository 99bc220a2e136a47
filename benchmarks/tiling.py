"""What tiling costs and finds, against SAHI: one ONNX file, the same pictures, in turn in one process.

    python benchmarks/tiling.py [--model detector.onnx] [--pictures 24] [--threads 2] [--conf 0.01] [--out tiling.json]

Needs SAHI (`pip install sahi`, or its folder on PYTHONPATH) and Ultralytics, through which SAHI runs the file. The
pictures are synthetic thermal scenes. The rows:

* SAHI as it comes: tiles of 512, overlap 0.2, the full frame as well, its own choice of merging.
* SAHI around our detector: the same, but the file runs as in the rows below, so that what differs is the tiling.
* uavdet, the same tiles; uavdet with tile=auto; and uavdet without tiles.

AP is COCO's with 500 detections a picture; intervals of differences to SAHI as it comes are of a paired bootstrap over
pictures. `pixels` is the time of a picture over that of the bare ONNX Runtime session, run on as many prepared inputs
as there were tiles: what is above 1 is the cost of cutting, stretching, decoding and merging.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uavdet.evaluation.bootstrap import draw_image_weights
from uavdet.evaluation.coco import Coco500
from uavdet.evaluation.comparison import measure_difference
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth
from uavdet.runtime import Detections, Detector
from uavdet.tiling import TiledDetector, TilingOptions

CLASSES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}
TILE = 512
REFERENCE = "SAHI"
Arm = Callable[[np.ndarray], ImageDetections]


def make_scenes(count: int, size: tuple[int, int]) -> tuple[list[np.ndarray], GroundTruth]:
    """Return pictures whose objects are as large as those that the bundled weights were trained on, and their truth."""
    from uavdet.data.scenes import CLASS_NAMES, Scene, SceneConfig

    ids = np.array([list(CLASSES).index(name) if name in CLASSES else -1 for name in CLASS_NAMES])
    pictures, truths = [], []
    for seed in range(count):
        config = SceneConfig(
            seed=500 + seed, size=size, modality="thermal", objects=60, min_size=8, max_size=80, classes=tuple(CLASSES)
        )
        frame = Scene(config).render(0)
        boxes = frame.boxes.astype(float)
        pictures.append(frame.image)
        truths.append(
            ImageTruth(
                name=str(seed),
                size=size,
                boxes=boxes,
                classes=ids[frame.classes],
                areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
                crowd=np.zeros(len(boxes), dtype=bool),
                ignore_regions=frame.ignore_regions.astype(float),
            )
        )
    return pictures, GroundTruth(truths, dict(enumerate(CLASSES.values())))


def as_scored(found: Detections) -> ImageDetections:
    return ImageDetections(found.boxes.astype(float), found.scores.astype(float), found.classes)


def sahi_arm(model: Any) -> Arm:
    """Return SAHI's sliced prediction with its defaults, around a model."""
    from sahi.predict import get_sliced_prediction

    def predict(picture: np.ndarray) -> ImageDetections:
        rows = get_sliced_prediction(
            picture[..., ::-1], model, slice_height=TILE, slice_width=TILE, verbose=0
        ).object_prediction_list
        return ImageDetections(
            np.array([row.bbox.to_xyxy() for row in rows], float).reshape(-1, 4),
            np.array([row.score.value for row in rows], float),
            np.array([row.category.id for row in rows], int),
        )

    return predict


def sahi_model(model: Path, conf: float) -> Any:
    """Return SAHI's model of an ONNX file, which Ultralytics runs."""
    from sahi import AutoDetectionModel

    found = AutoDetectionModel.from_pretrained(
        model_type="ultralytics", model_path=str(model), confidence_threshold=conf, device="cpu"
    )
    found.image_size = Detector(model, device="cpu", threads=1).imgsz[0]
    return found


def sahi_model_of(detector: Detector) -> Any:
    """Return a model of SAHI that asks our detector."""
    from sahi.models.base import DetectionModel
    from sahi.prediction import ObjectPrediction
    from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list

    class RuntimeModel(DetectionModel):
        def load_model(self) -> None:
            self.model = detector

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = detector.detect([image[..., ::-1]])

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=box,
                        category_id=category,
                        score=score,
                        category_name=found.names[category],
                        shift_amount=[int(value) for value in shift],
                        full_shape=[int(value) for value in shape],
                    )
                    for box, score, category in zip(
                        found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
                    )
                ]
                for found, shift, shape in zip(
                    self._original_predictions,
                    fix_shift_amount_list(shift_amount_list),
                    fix_full_shape_list(full_shape_list),
                    strict=True,
                )
            ]

    return RuntimeModel(confidence_threshold=detector.conf, device="cpu")


def make_arms(model: Path, threads: int, conf: float) -> tuple[dict[str, Arm], dict[str, TiledDetector]]:
    """Return what is compared by name, and which of it are tiled detectors of ours."""
    detector = Detector(model, device="cpu", threads=threads, conf=conf)
    tiled = {
        f"uavdet tile={TILE}": TiledDetector(detector, TilingOptions(tile=TILE, full_frame=True)),
        "uavdet tile=auto": TiledDetector(detector, on_plan=print),
    }
    ours: dict[str, Arm] = {name: lambda picture, t=entry: as_scored(t(picture)) for name, entry in tiled.items()}
    arms = {REFERENCE: sahi_arm(sahi_model(model, conf)), "SAHI, our detector": sahi_arm(sahi_model_of(detector))}
    return arms | ours | {"uavdet, no tiles": lambda picture: as_scored(detector(picture))}, tiled


def measure(
    arms: dict[str, Arm], bare: Callable[[], object], pictures: list[np.ndarray]
) -> tuple[dict[str, list[float]], dict[str, dict[str, ImageDetections]], list[float]]:
    """Run every arm on every picture in turn; return seconds and detections, and seconds of the bare session."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    found: dict[str, dict[str, ImageDetections]] = {name: {} for name in arms}
    bare_seconds: list[float] = []
    for arm in arms.values():
        arm(pictures[0])
    for index, picture in enumerate(pictures):
        for name in list(arms) if index % 2 else list(reversed(arms)):
            bare_seconds += [timed(bare)[0] for _ in range(3)]
            spent, found[name][str(index)] = timed(lambda arm=arms[name], given=picture: arm(given))
            seconds[name].append(spent)
    return seconds, found, bare_seconds


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def score(truth: GroundTruth, found: dict[str, dict[str, ImageDetections]]) -> dict[str, dict[str, Any]]:
    """Return AP by arm, with the interval of its difference to the reference."""
    count = len(truth.images)
    weights = np.vstack([np.ones((1, count), np.int64), draw_image_weights(count, 500, 0)])
    sampled = {name: Coco500().resample(truth, entry, weights) for name, entry in found.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, metrics in sampled.items():
        rows[name] = {key: round(float(metrics[key][0]), 4) for key in ("AP", "AP50", "AP_small")}
        for key in ("AP", "AP_small"):
            apart = measure_difference(name, REFERENCE, key, metrics[key], sampled[REFERENCE][key])
            rows[name][f"{key} - SAHI's"] = [round(value, 4) for value in (apart.value, apart.low, apart.high)]
    return rows


def export_demo(folder: Path) -> Path:
    """Export the bundled weights in a process of its own."""
    code = "import sys; from uavdet import UAVDet; UAVDet().export(out=sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder / "detector.onnx")], check=True, stdout=subprocess.DEVNULL)
    return folder / "detector.onnx"


def compare(model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the record of one run."""
    width, height = (int(side) for side in args.size.split("x"))
    pictures, truth = make_scenes(args.pictures, (width, height))
    arms, tiled = make_arms(model, args.threads, args.conf)
    session = Detector(model, device="cpu", threads=args.threads).session
    images = session.network.black_images()
    seconds, found, bare = measure(arms, lambda: session.infer(images), pictures)
    rows = score(truth, found)
    reference, run = np.median(seconds[REFERENCE]), np.median(bare) / len(images)
    windows = {name: len(entry.plan((width, height)).windows) for name, entry in tiled.items()}
    for name, row in rows.items():
        spent = np.median(seconds[name])
        row["runs"] = 1 if "no tiles" in name else windows.get(name, windows[f"uavdet tile={TILE}"])
        row["images a second"] = round(1 / spent, 3)
        row["times SAHI's"] = round(reference / spent, 2)
        row["pixels"] = round(spent / (run * row["runs"]), 3)
    settings = {key: getattr(args, key) for key in ("pictures", "size", "threads", "conf")}
    return {**settings, "milliseconds of a bare run": round(1e3 * run, 1), "rows": rows}


def print_table(record: dict[str, Any]) -> None:
    print(f"\n{record['pictures']} pictures of {record['size']}, conf={record['conf']}, {record['threads']} threads")
    print(f"{'':22} {'runs':>4} {'img/s':>7} {'x SAHI':>7} {'pixels':>7} {'AP':>7} {'AP small':>9}  AP - SAHI's")
    for name, row in record["rows"].items():
        (apart, low, high), faster = row["AP - SAHI's"], row["times SAHI's"]
        print(
            f"{name:22} {row['runs']:4} {row['images a second']:7.3f} {faster:7.2f} {row['pixels']:7.2f} "
            f"{row['AP']:7.4f} {row['AP_small']:9.4f}  {apart:+.4f} [{low:+.4f}, {high:+.4f}]"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--size", default="1920x1080", help="of the pictures, WxH")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--conf", type=float, default=0.01, help="lowest score; below 0.1 SAHI suppresses by IoU")
    parser.add_argument("--out", type=Path, help="where the record is written, as JSON")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # so that everything has as many threads, whatever library starts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    import uavdet.environment  # noqa: F401  (before Ultralytics)

    with tempfile.TemporaryDirectory() as folder:
        record = compare(args.model or export_demo(Path(folder)), args)
    print_table(record)
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
