"""`format=openvino`: a folder with OpenVINO's graph, its weights and `metadata.yaml`, as Ultralytics lays it out.

In which precision OpenVINO computes is settled when the folder is opened. `half=True` stores the weights in fp16 and
lets `uavdet.runtime` compute in bf16 where the CPU has instructions for it; the folder is then compared in bf16. Boxes
with the 8 bits of bf16 would be off by pixels, so that what stays in float32 in fp16 (`half`) is marked to do so here
too: in every folder, since OpenVINO computes in bf16 by default, and so does Ultralytics with it.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from torch import nn
from ultralytics.utils import LOGGER

from uavdet.engine.atomic import write_folder_atomically
from uavdet.export.backends import Backend
from uavdet.export.flow import finish_report, write_proven
from uavdet.export.half import float32_scopes
from uavdet.export.metadata import describe_export
from uavdet.export.network import NetworkOptions, exported_network
from uavdet.export.onnx import write_onnx
from uavdet.export.parity_report import ParityReport
from uavdet.runtime.files import processors
from uavdet.runtime.openvino_package import import_openvino
from uavdet.runtime.openvino_session import ENDING, METADATA, computes_bf16, open_openvino

_NO_ARITHMETIC = frozenset({"Const", "Convert", "Parameter", "Result"})


def write_openvino(
    model: nn.Module, out: Path, options: NetworkOptions, meta: dict[str, Any], *, parity: bool, data: str | None
) -> None:
    """Write the folder.

    It is made under another name and gets its own when it is complete and proven; one of an earlier export is replaced.

    Args:
        model: The detector, a DETR; it stays as it is.
        out: The folder to write.
        options: What to settle in it.
        meta: The checkpoint's metadata; may be empty.
        parity: Compare the folder with the detector.
        data: Dataset whose validation images to compare on; by default synthetic scenes.

    Raises:
        ExportError: The folder does not agree with the detector. It then lies beside `out` as `*.rejected`.
        MissingDependencyError: OpenVINO is not installed.
        UsageError: The format cannot hold the model or the options.
    """
    core = import_openvino().Core()
    if options.half and not computes_bf16(core):
        LOGGER.warning("This CPU does not compute in bf16, so that the folder is compared in single precision alone.")
    make = functools.partial(write_folder, stem=out.name.removesuffix(ENDING) or "detector")
    reports: list[ParityReport] = []

    def write(temporary: Path) -> None:
        if parity:
            reports.append(write_proven(make, model, temporary, out, options, meta, data))
        else:
            make(model, temporary, options, meta)

    write_folder_atomically(out, write)
    finish_report(out, reports)


def write_folder(
    model: nn.Module, folder: Path, options: NetworkOptions, meta: dict[str, Any], *, stem: str = "detector"
) -> None:
    """Write graph and weights, as `<stem>.xml` and `<stem>.bin`, and metadata into a folder; see `write_openvino`."""
    openvino = import_openvino()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "detector.onnx"
        write_onnx(model, file, replace(options, half=False), {})
        graph = openvino.Core().read_model(str(file))
        openvino.save_model(graph, str(folder / f"{stem}.xml"), compress_to_fp16=options.half)
    _keep_float32(folder / f"{stem}.xml", float32_scopes(exported_network(model, options)))
    described = describe_export(model, options, meta)
    (folder / METADATA).write_text(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _keep_float32(file: Path, scopes: Collection[str]) -> None:
    """Mark layers of a graph as `precise`, which is how OpenVINO's devices know what no hint may round.

    Its Python interface sets no such mark, so that it is written into the XML, where OpenVINO itself stores it.

    Args:
        file: The graph.
        scopes: Names that the layers of modules in float32 have in their paths.
    """
    tree = ElementTree.parse(file)
    for layer in tree.iterfind("layers/layer"):
        if layer.get("type") in _NO_ARITHMETIC or set(scopes).isdisjoint(str(layer.get("name")).split("/")):
            continue
        marks = layer.find("rt_info")
        if marks is None:
            marks = ElementTree.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, marks)
        ElementTree.SubElement(marks, "attribute", {"name": "precise", "version": "0"})
    tree.write(file, encoding="utf-8", xml_declaration=True)


def open_folder(folder: Path) -> Backend:
    """Open a folder with OpenVINO on the CPU, in the precision that it says.

    Raises:
        CheckpointError: It is missing or damaged, or cannot be run.
        MissingDependencyError: OpenVINO is not installed.
    """
    opened = open_openvino(folder, "cpu", processors(), None)
    images = opened.network.images
    return Backend(
        run=opened.run,
        size=images.imgsz,
        batch=opened.network.batch,
        pictures=images.channels_last,
        metadata=opened.network.values,
    )
