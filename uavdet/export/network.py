"""Turns a detector into the network that a file holds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from uavdet.engine.families import Family, model_family
from uavdet.engine.profile import fused_copy, set_export
from uavdet.errors import CheckpointError, UsageError
from uavdet.export.decoder import GraphAttention, GraphDecoder
from uavdet.export.dual_domain import replace_dual_domain
from uavdet.export.outputs import DeepStreamRows, DetectionRows, ExportedNetwork, RawOutputs

if TYPE_CHECKING:
    from uavdet.export.quantization import Quantization

_NO_YOLO = (
    "A YOLO is not exported here: it wants letterboxed images, and most need NMS, whose ONNX operator has shapes that "
    "depend on the data. Export a YOLO with Ultralytics' own exporter: yolo export."
)


_SETTLED = ("dynamic", "output", "input", "max_det", "half", "opset", "simplify", "workspace")
"""Options of `uavdet export` that `NetworkOptions` takes as they are."""


@dataclass(frozen=True)
class NetworkOptions:
    """What is settled in a file.

    Attributes:
        imgsz: (height, width) of the input in pixels.
        batch: Images a run; with `dynamic` the largest that is expected.
        dynamic: Leave the batch size open.
        output: "detections", "raw" or "deepstream"; see `outputs`.
        input: "float" or "uint8"; see `outputs`.
        max_det: Rows an image at most.
        half: Compute in half precision what it can hold.
        opset: Operator set of an ONNX file.
        simplify: Slim an ONNX graph.
        workspace: Memory in GiB that TensorRT may use while it builds an engine; None for all of the GPU's.
        quantization: What is computed in int8, or None for nothing.
        half_name: What half precision is in this format: "fp16", or "bf16" for OpenVINO on a CPU.
    """

    imgsz: tuple[int, int] = (640, 640)
    batch: int = 1
    dynamic: bool = False
    output: str = "detections"
    input: str = "float"
    max_det: int = 300
    half: bool = False
    opset: int = 17
    simplify: bool = True
    workspace: float | None = None
    quantization: Quantization | None = None
    half_name: str = "fp16"

    @property
    def precision(self) -> str:
        """The precision as metadata and the parity gate name it."""
        if self.quantization is not None:
            return "int8"
        return self.half_name if self.half else "fp32"


def network_options(options: Mapping[str, Any], half_name: str = "fp16") -> NetworkOptions:
    """Return the part of the options of `uavdet export` that settles a network; `int8` is planned apart."""
    size = options["imgsz"]
    return NetworkOptions(
        imgsz=(size[0], size[1]) if isinstance(size, list) else (size, size),
        batch=int(options["batch"] or 1),
        half_name=half_name,
        **{name: options[name] for name in _SETTLED},
    )


def channels_of(model: nn.Module) -> int:
    """Return how many channels a model's images have."""
    config: Any = model.yaml
    return int(config.get("channels", 3))


def most_rows(model: nn.Module, max_det: int) -> int:
    """Return how many detections of an image a file gives at most; an image of few tokens and classes has fewer."""
    subject: Any = model
    return min(max_det, int(subject.model[-1].num_queries))


def exported_network(model: nn.Module, options: NetworkOptions) -> ExportedNetwork:
    """Return the network of a file, on the CPU, in evaluation and without gradients; the model stays as it is.

    Args:
        model: A DETR.
        options: What to settle.

    Raises:
        CheckpointError: The weights hold NaN or infinity.
        UsageError: The model is a YOLO.
    """
    if model_family(model) is Family.STOCK_YOLO:
        raise UsageError(_NO_YOLO)
    _check_weights(model)
    detector: Any = set_export(fused_copy(copy.deepcopy(model).cpu()), True)
    for parameter in detector.parameters():
        parameter.requires_grad_(False)
    head = detector.model[-1]
    detector.model[-1] = GraphDecoder(head, _level_sizes(detector, options.imgsz))
    _replace_attention(detector)
    replace_dual_domain(detector)
    rows = min(most_rows(model, options.max_det), detector.model[-1].selection.queries * head.nc)
    outputs = _outputs(options, rows)
    return ExportedNetwork(detector, outputs, pictures=options.input == "uint8").eval()


def _check_weights(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"The weights hold NaN or infinity, first in '{name}'. Export weights that detect; uavdet val shows it."
            )


def example_input(model: nn.Module, options: NetworkOptions) -> Tensor:
    """Return an input to trace the network with: zeros, two images where the batch size is open."""
    batch = max(options.batch, 2) if options.dynamic else options.batch
    shape = (channels_of(model), *options.imgsz)
    if options.input == "uint8":
        return torch.zeros(batch, *shape[1:], shape[0], dtype=torch.uint8)
    return torch.zeros(batch, *shape)


def _level_sizes(detector: Any, imgsz: tuple[int, int]) -> list[list[int]]:
    """Return (height, width) of every level that the head reads."""
    sizes: list[list[int]] = []
    handle = detector.model[-1].register_forward_pre_hook(
        lambda _, inputs: sizes.extend(list(level.shape[2:]) for level in inputs[0])
    )
    with torch.no_grad():
        detector(torch.zeros(1, channels_of(detector), *imgsz))
    handle.remove()
    return sizes


def _replace_attention(detector: nn.Module) -> None:
    for module in detector.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(module, name, GraphAttention(child))


def _outputs(options: NetworkOptions, rows: int) -> nn.Module:
    if options.output == "raw":
        return RawOutputs()
    return DeepStreamRows(rows, options.imgsz) if options.output == "deepstream" else DetectionRows(rows)
