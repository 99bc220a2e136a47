"""Writes ONNX files that ONNX Runtime and TensorRT read: plain operators only, the Fourier transform as products."""

from __future__ import annotations

import copy
import json
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import uavdet
from uavdet.engine.checkpoint import write_atomically
from uavdet.engine.families import Family, model_family
from uavdet.engine.profile import set_export
from uavdet.errors import UsageError

FORBIDDEN_OPERATORS = frozenset({"DFT", "STFT", "Einsum", "If", "Loop", "NonZero"})
"""Operators that the TensorRT versions of Jetson computers lack or that make shapes depend on data."""

_OPSETS = (17, 18)
_MAX_IR_VERSION = 10


class _ExportedDetector(nn.Module):
    """The detector with its rows alone as output, (B, K, 6)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) in [0, 1], RGB or grey, to rows [cx, cy, w, h, score, class], normalised."""
        outputs = self.model(images)
        return outputs[0] if isinstance(outputs, list | tuple) else outputs


def export_onnx(
    model: nn.Module,
    out: str | Path,
    imgsz: int | list[int] = 640,
    *,
    batch: int = 1,
    dynamic: bool = False,
    opset: int = 17,
    simplify: bool = True,
    max_det: int = 300,
    meta: dict[str, Any] | None = None,
) -> Path:
    """Write a DETR as ONNX.

    Args:
        model: The detector, a DETR.
        out: The file to write.
        imgsz: Side, or [height, width], of the input in pixels; fixed in the file.
        batch: Images a run; with `dynamic` only the example's.
        dynamic: Leave the batch size open.
        opset: 17 or 18.
        simplify: Slim the graph with onnxslim.
        max_det: Rows an image at most.
        meta: The checkpoint's metadata.

    Returns:
        `out`.

    Raises:
        UsageError: The model is a YOLO, the operator set is not supported, or the graph would hold an operator that
            deployment runtimes lack.
    """
    if model_family(model) is Family.STOCK_YOLO:
        raise UsageError("uavdet exports DETRs. Export a YOLO with Ultralytics' own exporter: yolo export.")
    if opset not in _OPSETS:
        raise UsageError(f"opset={opset} is not supported. Give 17, which every TensorRT from 8.6 reads, or 18.")
    height, width = imgsz if isinstance(imgsz, list) else (imgsz, imgsz)
    exported = _prepare(model, max_det)
    example = torch.zeros(max(batch, 2) if dynamic else batch, model.yaml.get("channels", 3), height, width)  # type: ignore[union-attr,operator]
    metadata = _metadata(model, (height, width), batch, dynamic, opset, meta or {})
    out = Path(out)
    write_atomically(out, lambda file: _write(exported, example, file, opset, dynamic, simplify, metadata))
    return out


def _prepare(model: nn.Module, max_det: int) -> nn.Module:
    copied = copy.deepcopy(model).float().cpu().eval()
    copied.fuse(verbose=False)  # type: ignore[operator]
    set_export(copied, True)
    head: Any = copied.model[-1]  # type: ignore[index]
    head.max_det, head.format, head.shapes = max_det, "onnx", []
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return _ExportedDetector(copied).eval()


def _write(
    model: nn.Module, example: Tensor, file: Path, opset: int, dynamic: bool, simplify: bool, metadata: dict[str, str]
) -> None:
    import onnx

    with torch.no_grad(), warnings.catch_warnings():
        # Shapes become constants on purpose, and the tracing exporter is the one that writes plain operators.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Exporting aten::index")  # of negative indices; top-k gives none
        rows = model(example).shape[1]
        torch.onnx.export(
            model,
            (example,),
            str(file),
            opset_version=opset,
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}} if dynamic else None,
            do_constant_folding=True,
            dynamo=False,
        )
    graph = onnx.load(str(file))
    if simplify:
        import onnxslim

        graph = onnxslim.slim(graph)
    check_operators(graph)
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = rows
    graph.ir_version = min(graph.ir_version, _MAX_IR_VERSION)
    onnx.helper.set_model_props(graph, metadata)
    onnx.save(graph, str(file))


def operators(graph: Any) -> set[str]:
    """Return the operator types of an ONNX model."""
    return {node.op_type for node in graph.graph.node}


def check_operators(graph: Any) -> None:
    """Refuse a graph with operators that deployment runtimes lack.

    Raises:
        UsageError: It has one.
    """
    found = operators(graph) & FORBIDDEN_OPERATORS
    if found:
        raise UsageError(f"The exported graph holds {', '.join(sorted(found))}, which TensorRT on Jetson lacks.")


def _metadata(
    model: nn.Module, imgsz: tuple[int, int], batch: int, dynamic: bool, opset: int, meta: dict[str, Any]
) -> dict[str, str]:
    """Return the file's metadata: Ultralytics' keys, so that its loaders read the file, and ours as JSON."""
    channels = model.yaml.get("channels", 3)  # type: ignore[union-attr,operator]
    values = {
        "description": f"uavdet {model.yaml.get('yaml_file', 'detector')}",  # type: ignore[union-attr,operator]
        "author": "uavdet",
        "date": datetime.now(timezone.utc).isoformat(),
        "version": uavdet.__version__,
        "license": "AGPL-3.0-or-later",
        "task": "detect",
        "head": "RTDETRDecoder",
        "stride": int(model.stride.max()),  # type: ignore[operator]
        "batch": batch,
        "imgsz": list(imgsz),
        "channels": channels,
        "names": dict(model.names),  # type: ignore[arg-type]
        "end2end": False,
        "args": {"batch": batch, "dynamic": dynamic, "opset": opset},
        "dynamic": dynamic,
        "uavdet": json.dumps(
            {
                "schema": 1,
                "preprocessing": {"resize": "stretch", "color": "grey" if channels == 1 else "RGB", "scale": 1 / 255},
                "boxes": "cxcywh normalised",
                "statistics": meta.get("statistics"),
                "metrics": meta.get("metrics"),
            }
        ),
    }
    return {key: str(value) for key, value in values.items()}
