"""`format=jetson`: a folder to copy to a Jetson, with everything that builds, tests and runs the detector there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import onnx
from torch import nn

from uavdet.engine.atomic import write_folder_atomically
from uavdet.errors import ExportError
from uavdet.export.flow import export_proven, read_report, report_file
from uavdet.export.half import float32_scopes
from uavdet.export.jetson_files.smoke_test import to_pixels
from uavdet.export.metadata import describe_export
from uavdet.export.network import NetworkOptions, channels_of, exported_network
from uavdet.export.reference import Reference, training_input
from uavdet.export.registry import FORMATS
from uavdet.export.samples import read_samples
from uavdet.export.tensorrt_versions import JETPACKS

LAYOUTS = ("detections", "deepstream")
SUPPORT = (
    "engine.atomic",
    "errors",
    "export.cuda_memory",
    "export.engine_file",
    "export.tensorrt_build",
    "export.tensorrt_engine",
    "export.tensorrt_precision",
    "export.tensorrt_versions",
)
"""Modules of uavdet that the folder's scripts import, from copies: they take nothing but NumPy."""

_PACKAGE = "uavdet_engine"
_SOURCE = Path(__file__).parent / "jetson_files"
_SMOKE_IMAGES = 4
_CONFIDENT, _AT_LEAST = 0.25, 5  # stored detections: those of this score, and so many where there are fewer
_FLOAT32_OPERATORS = {"GridSample", "LayerNormalization", "Softmax", "TopK"}


def write_jetson(
    model: nn.Module, out: Path, options: NetworkOptions, meta: dict[str, Any], *, parity: bool, data: str | None
) -> Path:
    """Write the folder.

    It is made under another name and gets its own when it is complete; a folder of an earlier export is replaced.

    Args:
        model: The detector, a DETR; it stays as it is.
        out: The folder to write.
        options: What to settle in the files; `output` and `half` are settled by the folder.
        meta: The checkpoint's metadata; may be empty.
        parity: Compare every ONNX file with the detector.
        data: Dataset whose validation images to compare on and to store; by default synthetic scenes.

    Raises:
        ExportError: A file does not agree with the detector. It then lies beside `out` as `*.rejected`.
        UsageError: The format cannot hold the model or the options.
    """
    write_folder_atomically(out, lambda folder: _write_files(model, folder, out, options, meta, parity, data))
    return out


def _write_files(
    model: nn.Module,
    folder: Path,
    out: Path,
    options: NetworkOptions,
    meta: dict[str, Any],
    parity: bool,
    data: str | None,
) -> None:
    """Write all files into a folder that is to be named `out`, beside which a rejected one is left."""
    folder.mkdir()
    scopes = float32_scopes(exported_network(model, options))
    try:
        for layout in LAYOUTS:
            _write_graphs(model, folder, replace(options, output=layout), meta, parity, data)
            names = float32_nodes(onnx.load(str(folder / f"{layout}.onnx")), scopes)
            (folder / f"float32_layers_{layout}.txt").write_text(",".join(f"{name}:fp32" for name in names))
    except ExportError as error:
        for rejected in folder.glob("*.rejected*"):
            rejected.replace(out.with_name(rejected.name))
        raise ExportError(str(error).replace(str(folder), str(out))) from error
    _write_export(model, folder, options, meta, scopes)
    _write_smoke_test(model, folder, options, data)
    _copy_scripts(folder, options, channels_of(model))
    _write_deepstream(model, folder, options)
    _write_readme(model, folder, options, parity)


def _write_graphs(
    model: nn.Module, folder: Path, options: NetworkOptions, meta: dict[str, Any], parity: bool, data: str | None
) -> None:
    """Write the ONNX files of one layout."""
    for suffix, half in (("", False), ("_fp16", True)):
        file = folder / f"{options.output}{suffix}.onnx"
        export_proven(model, FORMATS["onnx"], file, replace(options, half=half), meta, parity=parity, data=data)
        if (report := read_report(file)) is not None:
            report_file(file).write_text(json.dumps({**report, "file": file.name}, indent=2) + "\n", encoding="utf-8")


def float32_nodes(graph: Any, scopes: frozenset[str]) -> list[str]:
    """Return the nodes of an ONNX model that stay in float32 under weak typing: those that give floating-point numbers.

    Args:
        graph: The model in float32.
        scopes: Names that the nodes of modules in float32 have in their paths.
    """
    inferred = onnx.shape_inference.infer_shapes(graph)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    floating = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return [
        node.name
        for node in graph.graph.node
        if node.op_type not in {"Constant", "Cast"}
        and floating.issuperset(node.output[:1])
        and (node.op_type in _FLOAT32_OPERATORS or scopes & set(node.name.split("/")))
    ]


def _write_export(
    model: nn.Module, folder: Path, options: NetworkOptions, meta: dict[str, Any], scopes: frozenset[str]
) -> None:
    content = {
        "opset": options.opset,
        "batch": options.batch,
        "float32_scopes": sorted(scopes),
        "metadata": {layout: describe_export(model, replace(options, output=layout), meta) for layout in LAYOUTS},
    }
    (folder / "export.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_smoke_test(model: nn.Module, folder: Path, options: NetworkOptions, data: str | None) -> None:
    """Store images of the network's size and what the detector finds in them."""
    reference, channels = Reference(model), channels_of(model)
    samples = read_samples(_names(model), options.imgsz, data, _SMOKE_IMAGES)
    pictures, stored = [], []
    for image in list(samples.images.values())[:_SMOKE_IMAGES]:
        batch = training_input(image, options.imgsz, channels)
        pictures.append((batch[0].transpose(1, 2, 0) * 255).round().astype(np.uint8))
        rows = to_pixels(reference(batch)[0], options.imgsz)[: options.max_det]
        count = min(max(int((rows[:, 4] >= _CONFIDENT).sum()), _AT_LEAST), len(rows))
        lowest = float(rows[count - 1, 4]) if count else 1.0
        stored.append({"lowest_score": lowest, "rows": rows[:count].astype(float).round(5).tolist()})
    np.save(folder / "smoke_images.npy", np.stack(pictures))
    (folder / "smoke_detections.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _names(model: nn.Module) -> dict[int, str]:
    names: Any = model.names
    return {int(key): str(name) for key, name in names.items()}


def _copy_scripts(folder: Path, options: NetworkOptions, channels: int) -> None:
    """Copy the scripts and the modules that they import, whose imports then name the copies."""
    package = folder / _PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text(
        '"""Parts of uavdet that build and run TensorRT engines; AGPL-3.0-or-later."""\n'
    )
    root = Path(__file__).parents[1]
    for module in SUPPORT:
        source = root.joinpath(*module.split(".")).with_suffix(".py")
        (package / source.name).write_text(point_to_copies(source.read_text(encoding="utf-8")), encoding="utf-8")
    for name in ("build_engine.py", "smoke_test.py"):
        text = (_SOURCE / name).read_text(encoding="utf-8")
        (folder / name).write_text(point_to_copies(text), encoding="utf-8")
    sides = f"{channels}x{options.imgsz[0]}x{options.imgsz[1]}"
    shapes = f"--minShapes=images:1x{sides} --optShapes=images:{options.batch}x{sides} --maxShapes=images:"
    shapes = f" \\\n        {shapes}{max(options.batch, 8)}x{sides}" if options.dynamic else ""
    script = folder / "build_engine.sh"
    script.write_text((_SOURCE / script.name).read_text(encoding="utf-8").replace("@shapes@", shapes), encoding="utf-8")
    script.chmod(0o755)


def point_to_copies(text: str) -> str:
    """Return a module's text with imports of the folder's copies in the place of those of uavdet."""
    return re.sub(r"^from uavdet(?:\.\w+)*\.(\w+) import", rf"from {_PACKAGE}.\1 import", text, flags=re.MULTILINE)


def _write_deepstream(model: nn.Module, folder: Path, options: NetworkOptions) -> None:
    target, names = folder / "deepstream", _names(model)
    target.mkdir()
    for name in ("uavdet_parser.cpp", "Makefile"):
        shutil.copyfile(_SOURCE / name, target / name)
    _fill(_SOURCE / "config_infer.txt", target / "config_infer.txt", _values(model, options))
    (folder / "labels.txt").write_text("".join(f"{names[key]}\n" for key in sorted(names)), encoding="utf-8")


def _values(model: nn.Module, options: NetworkOptions) -> dict[str, Any]:
    head: Any = model.model[-1]  # type: ignore[index]
    channels, (height, width) = channels_of(model), options.imgsz
    return {
        "batch": options.batch,
        "classes": len(_names(model)),
        "channels": channels,
        "height": height,
        "width": width,
        "color": 2 if channels == 1 else 0,  # grey or RGB, as nvinfer counts
        "rows": min(options.max_det, head.num_queries),
        "shape": f"({'B' if options.dynamic else options.batch}, {channels}, {height}, {width})",
    }


def _write_readme(model: nn.Module, folder: Path, options: NetworkOptions, parity: bool) -> None:
    described = describe_export(model, options, {})
    proven = (
        "Every ONNX file of this folder was compared with the weights it was made from, in ONNX Runtime on a CPU, and\n"
        "passed (*.parity.json)."
        if parity
        else "The ONNX files of this folder were NOT compared with their weights (parity=False)."
    )
    title = f"{described['description']}, written by uavdet {described['version']}"
    values = {**_values(model, options), "title": f"{title}\n{'=' * len(title)}", "run": proven, "install": _install()}
    _fill(_SOURCE / "README.txt", folder / "README.txt", values)


def _install() -> str:
    parts = []
    for jetpack in JETPACKS:
        lines = "\n".join(f"    {line}" for line in jetpack.install)
        brings = f"TensorRT {jetpack.tensorrt}, CUDA {jetpack.cuda}, Python {jetpack.python}"
        parts.append(f"JetPack {jetpack.name} ({jetpack.boards}; {brings}; {jetpack.known}):\n\n{lines}")
    return "\n\n".join(parts)


def _fill(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    target.write_text(Template(source.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
