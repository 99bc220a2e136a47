"""Builds TensorRT engines from the ONNX files of this folder, on the computer that they run on.

    python3 build_engine.py [detections|deepstream ...] [--precision fp16|fp32] [--workspace GIB]

Without a name both are built. It takes TensorRT's Python package and NumPy, and no PyTorch. From TensorRT 10 on half
precision is built from the *_fp16.onnx files, strongly typed: what is float32 there stays float32. TensorRT 8.6 builds
it from the files in float32, with constraints on the same layers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uavdet.errors import UAVDetError
from uavdet.export.cuda_memory import CudaRuntime
from uavdet.export.engine_file import hash_file, sidecar_of, with_origin, write_engine_file
from uavdet.export.tensorrt_build import BuildSettings, build_engine, import_tensorrt, this_platform
from uavdet.export.tensorrt_versions import Platform, check_opset, check_platform, rules_of

LAYOUTS = ("detections", "deepstream")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layouts", nargs="*", metavar="NAME", help="detections, deepstream; default: both")
    parser.add_argument("--precision", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--workspace", type=float, default=2.0, help="memory for building in GiB (default 2)")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent, help="where the files lie")
    parser.add_argument("--describe", action="store_true", help="only write the JSON beside engines of trtexec")
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.layouts if name not in LAYOUTS]
    if unknown:
        parser.error(f"'{unknown[0]}' is unknown; give {' or '.join(LAYOUTS)}")
    return parsed


def graph_of(folder: Path, layout: str, precision: str, here: Platform) -> Path:
    """Return the ONNX file that an engine is built from."""
    in_graph = precision == "fp16" and not rules_of(here.tensorrt).explicit_batch
    return folder / f"{layout}{'_fp16' if in_graph else ''}.onnx"


def build(trt: Any, folder: Path, layout: str, precision: str, workspace: float, here: Platform) -> Path:
    """Build one engine and return its file."""
    export = read_export(folder)
    graph = graph_of(folder, layout, precision, here)
    settings = BuildSettings(
        precision=precision,
        strongly_typed=precision == "fp16" and not rules_of(here.tensorrt).explicit_batch,
        float32_scopes=frozenset(export["float32_scopes"]),
        batch=export["batch"],
        workspace=workspace,
        timing_cache=folder / f"timing-{here.tensorrt}-sm{here.sm}.cache",
    )
    engine = folder / f"{layout}.engine"
    origin = with_origin(export["metadata"][layout], here, hash_file(graph), precision)
    write_engine_file(engine, build_engine(trt, graph, settings), origin, bare=True)
    return engine


def describe(folder: Path, layout: str, precision: str, here: Platform) -> Path:
    """Write the JSON beside an engine that trtexec built here, and return its file."""
    engine = folder / f"{layout}.engine"
    graph = graph_of(folder, layout, precision, here)
    origin = with_origin(read_export(folder)["metadata"][layout], here, hash_file(graph), precision)
    write_engine_file(engine, engine.read_bytes(), origin, bare=True)
    return sidecar_of(engine)


def read_export(folder: Path) -> dict[str, Any]:
    """Return what the export wrote of its files."""
    content: dict[str, Any] = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = parse_arguments(arguments)
    try:
        trt = import_tensorrt()
        here = this_platform(trt, CudaRuntime())
        for warning in check_platform(here):
            print(f"Warning: {warning}")
        check_opset(here.tensorrt, read_export(given.folder)["opset"])
        for layout in given.layouts or LAYOUTS:
            if given.describe:
                print(f"Wrote {describe(given.folder, layout, given.precision, here)}")
                continue
            print(f"Building {layout}.engine in {given.precision} for SM {here.sm} with TensorRT {here.tensorrt} ...")
            print(f"Wrote {build(trt, given.folder, layout, given.precision, given.workspace, here)}")
    except UAVDetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
