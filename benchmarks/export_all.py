"""Exports every model of cfg/models, proves the files, and asks TensorRT whether it builds them.

    python benchmarks/export_all.py [--imgsz 640] [--models so-detr-n rtdetr-n] [--half] [--images 4] [--json FILE]

Weights are drawn from a seed, so that AP tells nothing, and the gate compares detections alone. The table says for each
model: megabytes and nodes of the ONNX file; whether all operators are among those that TensorRT 8.6 and 10.1 import;
what the parity gate says, with the worst IoU; and whether `tensorrt_rtx` builds an engine, with its megabytes and
seconds. Nothing runs on a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
from planted_faults import random_model

from uavdet.assets import list_assets
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.operators import operators, tensorrt_importers
from uavdet.export.parity import check_parity
from uavdet.export.tensorrt_check import check_graph


def measure(name: str, imgsz: int, half: bool, images: int, folder: Path) -> dict[str, Any]:
    """Return the row of one model."""
    model, file = random_model(name), folder / f"{name}.onnx"
    options = NetworkOptions(imgsz=(imgsz, imgsz), half=half)
    started = time.perf_counter()
    write_onnx(model, file, options, {})
    seconds = time.perf_counter() - started
    graph = onnx.load(str(file))
    lacking = sorted({op for known in tensorrt_importers().values() for op in operators(graph) - known})
    report = check_parity(model, file, precision=options.precision, images=images)
    check = check_graph(file)
    figures = report.figures
    return {
        "model": name,
        "export_s": round(seconds, 1),
        "onnx_mb": round(file.stat().st_size / 1e6, 1),
        "nodes": len(graph.graph.node),
        "lacking": ",".join(lacking) or "none",
        "gate": "passed" if report.passed else report.reason,
        "worst_iou": round(figures.worst_iou, 5) if figures is not None else None,
        "built": check.passed,
        "engine_mb": round(check.engine_bytes / 1e6, 1),
        "build_s": check.seconds,
        "problems": "; ".join(f"{one.operator} '{one.node}' {one.reason}" for one in check.problems),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--models", nargs="*", default=sorted(list_assets("cfg/models")))
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    given = parser.parse_args()
    rows = []
    heads = {"MB": 6, "nodes": 6, "lacking": 8, "gate": 8, "worst IoU": 10, "RTX": 6, "MB ": 6, "s": 6}
    print(f"{'model':22}", *(f"{head:>{width}}" for head, width in heads.items()))
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            row = measure(name, given.imgsz, given.half, given.images, Path(folder))
            rows.append(row)
            built = "builds" if row["built"] else "FAILS"
            gate = "passed" if row["gate"] == "passed" else "FAILED"
            print(
                f"{Path(name).stem:22} {row['onnx_mb']:6.1f} {row['nodes']:6} {row['lacking']:>8} {gate:>8} "
                f"{row['worst_iou'] or 0:10.5f} {built:>6} {row['engine_mb']:6.1f} {row['build_s']:6.1f}",
                flush=True,
            )
            for problem in (row["problems"], row["gate"] if gate == "FAILED" else ""):
                print(f"    {problem}") if problem else None
            (Path(folder) / f"{name}.onnx").unlink()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
