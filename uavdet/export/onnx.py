"""Writes ONNX files that ONNX Runtime and TensorRT read: plain operators only, the Fourier transform as products."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uavdet.engine.atomic import write_atomically
from uavdet.errors import UsageError
from uavdet.export.graph import share_constants, simplify_graph
from uavdet.export.metadata import as_text, describe_export
from uavdet.export.network import NetworkOptions, example_input, exported_network
from uavdet.export.operators import check_graph
from uavdet.export.outputs import INPUT_NAME, ExportedNetwork

OPSETS = (17, 18)
_MAX_IR_VERSION = 10  # ONNX Runtime 1.20 reads no later one


def export_onnx(
    model: nn.Module,
    out: str | Path,
    imgsz: int | list[int] = 640,
    *,
    meta: dict[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write a DETR as ONNX without comparing the file with the model; `uavdet export` does that as well.

    Args:
        model: The detector.
        out: The file to write, atomically.
        imgsz: Side, or [height, width], of the input in pixels.
        meta: The checkpoint's metadata.
        **settings: The others of `NetworkOptions`.

    Returns:
        `out`.

    Raises:
        UsageError: See `write_onnx`.
    """
    height, width = imgsz if isinstance(imgsz, list) else (imgsz, imgsz)
    options = NetworkOptions(imgsz=(height, width), **settings)
    write_atomically(Path(out), lambda file: write_onnx(model, file, options, meta or {}))
    return Path(out)


def write_onnx(model: nn.Module, file: Path, options: NetworkOptions, meta: dict[str, Any]) -> None:
    """Write a DETR as ONNX.

    Args:
        model: The detector; it stays as it is.
        file: The file to write.
        options: What to settle in it.
        meta: The checkpoint's metadata; may be empty.

    Raises:
        UsageError: The model is a YOLO, the operator set is not supported, or the graph would hold something that
            deployment runtimes cannot read.
    """
    import onnx

    if options.opset not in OPSETS:
        raise UsageError(
            f"opset={options.opset} is not supported: {refused_opset(options.opset)}. "
            "Give opset=17, which every TensorRT from 8.6 reads, or opset=18."
        )
    network = exported_network(model, options)
    rows = _trace(network, example_input(model, options), file, options)
    graph = onnx.load(str(file))
    if options.simplify:
        graph = simplify_graph(graph)
    if options.half:
        from uavdet.export.half import convert_to_half, float32_scopes

        graph = convert_to_half(graph, float32_scopes(network))
    share_constants(graph)
    if options.quantization is not None:
        graph = options.quantization.apply(graph)
    _name_shapes(graph, rows, options)
    check_graph(graph)
    graph.ir_version = min(graph.ir_version, _MAX_IR_VERSION)
    graph.producer_name = "uavdet"
    onnx.helper.set_model_props(graph, as_text(describe_export(model, options, meta)))
    onnx.save(graph, str(file))


def refused_opset(opset: int) -> str:
    """Return why an operator set is not supported."""
    if opset < OPSETS[0]:
        return "it has no LayerNormalization, and a decomposed one overflows half precision"
    return "TensorRT 8.6 ends at 17, and from 19 on ONNX Runtime's CUDA provider lacks kernels"


def _trace(network: ExportedNetwork, example: torch.Tensor, file: Path, options: NetworkOptions) -> list[list[int]]:
    """Write the traced graph and return the shapes of its outputs."""
    names = list(network.outputs.names)  # type: ignore[arg-type]
    with torch.no_grad(), warnings.catch_warnings():
        # Shapes become constants on purpose, and the tracing exporter is the one that writes plain operators.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        outputs = network(example)
        torch.onnx.export(
            network,
            (example,),
            str(file),
            opset_version=options.opset,
            input_names=[INPUT_NAME],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in (INPUT_NAME, *names)} if options.dynamic else None,
            do_constant_folding=True,
            dynamo=False,
        )
    return [list(part.shape) for part in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _name_shapes(graph: Any, shapes: list[list[int]], options: NetworkOptions) -> None:
    """Write the outputs' shapes into a graph, as far as they are fixed."""
    for value, shape in zip(graph.graph.output, shapes, strict=True):
        dims = value.type.tensor_type.shape.dim
        for index, side in enumerate(shape):
            if index == 0 and options.dynamic:
                dims[index].dim_param = "batch"
            else:
                dims[index].dim_value = side
