"""Parameters and arithmetic of a network, by the conventions the field publishes.

`gflops` follows the thop package (0.1.1), with two operations a multiply-accumulate: convolutions, linear layers,
normalisations and resizing are counted, attention products, deformable sampling and Fourier transforms are not.
Papers of this field print that number. `gflops_all` is PyTorch's own counter, which sees every matrix product; the
Fourier transforms are counted as the matrix products of the exported graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class LayerProfile:
    """One row: where it reads from, its parameters and the shape (C, H, W) of its output."""

    index: int
    name: str
    source: int | list[int]
    module: str
    params: int
    output: tuple[int, ...] | None


@dataclass(frozen=True)
class ModelProfile:
    """Counts of a whole network; GFLOPs are 10^9 operations for one image of `imgsz`."""

    params: int
    params_fused: int
    gflops: float
    gflops_fused: float
    gflops_all: float
    imgsz: tuple[int, int]
    layers: list[LayerProfile]

    def summary(self) -> dict[str, Any]:
        """Return the counts without the layers, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "layers"}

    def table(self) -> str:
        """Return the rows and the counts as text for people."""
        lines = [f"{'row':>4}  {'name':14} {'from':16} {'module':22} {'params':>10}  output (C, H, W)"]
        for layer in self.layers:
            output = "x".join(map(str, layer.output)) if layer.output else ""
            source = str(layer.source)
            lines.append(
                f"{layer.index:>4}  {layer.name:14} {source:16} {layer.module:22} {layer.params:>10,}  {output}"
            )
        height, width = self.imgsz
        lines.append(f"\nparameters      {self.params:,} ({self.params_fused:,} fused)")
        lines.append(
            f"GFLOPs          {self.gflops} ({self.gflops_fused} fused) at {width}x{height}, thop's convention"
        )
        lines.append(f"GFLOPs, all     {self.gflops_all} fused, attention and Fourier transforms counted")
        return "\n".join(lines)


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def fused_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with batch normalisations and parallel branches folded into convolutions."""
    fused = copy.deepcopy(model).float().eval()
    fused.fuse(verbose=False)  # type: ignore[operator]
    return fused


def set_export(model: nn.Module, export: bool) -> nn.Module:
    """Switch every module that has an exported form to or from it; return the model."""
    for module in model.modules():
        if hasattr(module, "export"):
            setattr(module, "export", export)  # noqa: B010 (the attribute is no tensor)
    return model


def _convolution(layer: nn.Conv2d, _: Tensor, output: Tensor) -> int:
    return output.numel() * (layer.in_channels // layer.groups) * layer.kernel_size[0] * layer.kernel_size[1]


def _normalisation(layer: nn.Module, image: Tensor, _: Tensor) -> int:
    return image.numel() * (4 if getattr(layer, "weight", None) is not None else 2)


def _linear(layer: nn.Linear, _: Tensor, output: Tensor) -> int:
    return output.numel() * layer.in_features


def _every_output(_: nn.Module, __: Tensor, output: Tensor) -> int:
    return output.numel()


_UPSAMPLE_COST = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}


def _upsample(layer: nn.Upsample, _: Tensor, output: Tensor) -> int:
    return output.numel() * _UPSAMPLE_COST[layer.mode]


_THOP_RULES: dict[type[nn.Module], Callable[..., int]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm2d: _normalisation,
    nn.LayerNorm: _normalisation,
    nn.AvgPool2d: _every_output,
    nn.Upsample: _upsample,
}
"""Multiply-accumulates by exact layer type, as thop 0.1.1 counts them; whatever is not listed counts nothing."""


def _thop_gflops(model: nn.Module, image: Tensor) -> float:
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(_THOP_RULES[type(layer)](layer, inputs[0], output))

    layers = [layer for layer in model.modules() if type(layer) in _THOP_RULES]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return 2 * sum(counts) / 1e9


def _all_gflops(model: nn.Module, image: Tensor) -> float:
    exported = set_export(copy.deepcopy(model).eval(), True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        exported(image)
    return counter.get_total_flops() / 1e9


def count_gflops(model: nn.Module, imgsz: tuple[int, int]) -> float:
    """Return the arithmetic of a model's exported graph, 10^9 operations for one image: `gflops_all` of its profile.

    Args:
        model: A detector of ours or a stock one.
        imgsz: (height, width) of the input in pixels.
    """
    return round(_all_gflops(fused_copy(model).cpu(), _black_image(model, imgsz)), 2)


def _black_image(model: nn.Module, imgsz: tuple[int, int]) -> Tensor:
    return torch.zeros(1, model.yaml.get("channels", 3), *imgsz)  # type: ignore[union-attr,operator]


def _layer_profiles(model: nn.Module, image: Tensor) -> list[LayerProfile]:
    shapes: dict[int, tuple[int, ...]] = {}

    def record(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[module.i] = tuple(output.shape[1:])  # type: ignore[index]

    handles = [row.register_forward_hook(record) for row in model.model]  # type: ignore[union-attr]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    names = [name for name, _ in model.model.named_children()]  # type: ignore[union-attr]
    return [
        LayerProfile(row.i, name, row.f, str(row.type).rpartition(".")[2], count_parameters(row), shapes.get(row.i))
        for name, row in zip(names, model.model, strict=True)  # type: ignore[arg-type]
    ]


def profile_model(model: nn.Module, imgsz: tuple[int, int] = (640, 640)) -> ModelProfile:
    """Count the parameters and the arithmetic of a model.

    Args:
        model: A detector of ours or a stock one.
        imgsz: (height, width) of the input in pixels.
    """
    model = copy.deepcopy(model).float().eval()
    image = _black_image(model, imgsz)
    fused = fused_copy(model)
    return ModelProfile(
        params=count_parameters(model),
        params_fused=count_parameters(fused),
        gflops=round(_thop_gflops(model, image), 2),
        gflops_fused=round(_thop_gflops(fused, image), 2),
        gflops_all=round(_all_gflops(fused, image), 2),
        imgsz=imgsz,
        layers=_layer_profiles(model, image),
    )
