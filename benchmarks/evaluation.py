"""Seconds and peak memory of scoring, ours and pycocotools, on the same detections in one run.

    python benchmarks/evaluation.py [--images 5000] [--detections 500] [--objects 60] [--classes 10]

Each evaluator scores in a process of its own, which makes the same random images first: objects in clusters, of 4 to
120 pixels; detections that are objects moved and mistaken for others, and background. The seconds begin with boxes in
memory (arrays for ours, COCO's dict and an array of results for pycocotools) and end with the metrics; the memory is
the highest of the process, and what it grew by over the boxes. The last columns compare with the first evaluator,
pycocotools' COCO unless `--evaluators` says otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

SIZE = (1920, 1080)
EVALUATORS = ("pycocotools", "coco", "coco500", "aitod", "visdrone", "tinyperson")


def make_scene(rng: np.random.Generator, name: str, args: argparse.Namespace) -> tuple[ImageTruth, ImageDetections]:
    count = max(int(rng.normal(args.objects, args.objects / 4)), 0)
    hubs = rng.uniform(0, SIZE, (6, 2))
    centre = hubs[rng.integers(0, 6, count)] + rng.normal(0, 120, (count, 2))
    side = np.exp(rng.uniform(np.log(4), np.log(120), (count, 1))) * rng.uniform(0.6, 1.4, (count, 2))
    boxes = np.concatenate([centre - side / 2, centre + side / 2], 1)
    classes = rng.integers(0, args.classes, count)
    regions = rng.uniform(0, 900, (3, 2))
    truth = ImageTruth(
        name,
        SIZE,
        boxes,
        classes,
        side.prod(1),
        rng.random(count) < 0.03,
        np.concatenate([regions, regions + rng.uniform(30, 200, (3, 2))], 1),
    )
    return truth, make_detections(rng, boxes, classes, args)


def make_detections(
    rng: np.random.Generator, boxes: np.ndarray, classes: np.ndarray, args: argparse.Namespace
) -> ImageDetections:
    near = args.detections // 2 if len(boxes) else 0
    source = rng.integers(0, max(len(boxes), 1), near)
    side = np.tile(boxes[source, 2:] - boxes[source, :2], 2)
    moved = boxes[source] + rng.normal(0, 0.12, (near, 4)) * side
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    corner = rng.uniform(0, SIZE, (args.detections - near, 2))
    background = np.concatenate([corner, corner + np.exp(rng.uniform(1.4, 4.8, corner.shape))], 1)
    mistaken = rng.random(near) < 0.3
    kinds = np.where(mistaken, rng.integers(0, args.classes, near), classes[source])
    return ImageDetections(
        np.concatenate([moved, background]),
        np.concatenate([rng.beta(2, 3, near), rng.beta(1, 8, len(background))]),
        np.concatenate([kinds, rng.integers(0, args.classes, len(background))]),
    )


def make_data(args: argparse.Namespace) -> tuple[GroundTruth, dict[str, ImageDetections]]:
    rng = np.random.default_rng(args.seed)
    scenes = [make_scene(rng, f"{index}.jpg", args) for index in range(args.images)]
    names = {index: f"class {index}" for index in range(args.classes)}
    return GroundTruth([truth for truth, _ in scenes], names), {truth.name: found for truth, found in scenes}


def prepare_pycocotools(truth: GroundTruth, detections: dict[str, ImageDetections]) -> Callable[[], float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    content: dict[str, Any] = {"info": {}, "images": [], "annotations": []}
    content["categories"] = [{"id": index, "name": name} for index, name in truth.names.items()]
    rows = []
    for number, image in enumerate(truth.images, start=1):
        content["images"].append({"id": number})
        for box, kind, area, crowd in zip(image.boxes, image.classes, image.areas, image.crowd, strict=True):
            entry: dict[str, Any] = {
                "image_id": number,
                "category_id": int(kind),
                "area": float(area),
                "iscrowd": int(crowd),
            }
            entry |= {"id": len(content["annotations"]) + 1, "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]}
            content["annotations"].append(entry)
        found = detections[image.name]
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        ids = np.full(len(sides), number)
        rows.append(np.column_stack([ids, found.boxes[:, :2], sides, found.scores, found.classes]))
    results = np.concatenate(rows)

    def score() -> float:
        api = COCO()
        api.dataset = content
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        return float(precision[precision > -1].mean())

    return score


def peak() -> float:
    """Return the highest memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(name: str, args: argparse.Namespace) -> dict[str, float]:
    truth, detections = make_data(args)
    if name == "pycocotools":
        score = prepare_pycocotools(truth, detections)
    else:
        protocol = find_protocols([name])[0]
        score = lambda: next(iter(protocol.score(truth, detections).metrics.values()))  # noqa: E731
    before, started = peak(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        value = score()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak": peak(), "growth": peak() - before, "value": value}


def measure_apart(name: str, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments, "--only", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=500)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluators", nargs="+", choices=EVALUATORS, default=EVALUATORS)
    parser.add_argument("--only", choices=EVALUATORS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return
    print(f"{args.images} images, {args.detections} detections and about {args.objects} objects each\n")
    print(f"{'':14}{'seconds':>10}{'peak GB':>10}{'growth GB':>11}{'first metric':>14}{'speed':>8}{'memory':>8}")
    reference = None
    for name in args.evaluators:
        row = measure_apart(name, sys.argv[1:])
        reference = reference or row
        ratios = f"{reference['seconds'] / row['seconds']:7.1f}x{row['growth'] / reference['growth']:7.2f}x"
        values = f"{row['seconds']:10.2f}{row['peak']:10.2f}{row['growth']:11.2f}{row['value']:14.4f}"
        print(f"{name:14}{values}{ratios}", flush=True)


if __name__ == "__main__":
    main()
