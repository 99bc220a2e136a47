"""Counts how many planted faults the parity gate catches, and how far good exports stay from its tolerances.

    python benchmarks/planted_faults.py [--imgsz 256] [--seeds 30] [--images 16] [--data PATH/data.yaml]
    python benchmarks/planted_faults.py --models [--imgsz 128]

The first form exports the bundled weights and plants, seed by seed, a fault in one tensor: all its numbers times 1.05.
The tensor is drawn from all weights and biases with 16 entries or more. Then come faults of other kinds: outputs
swapped, classes permuted, red and blue swapped, a float16 overflow, NaN. The second form checks good exports of every
model in cfg/models with random weights, and prints their margins.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from uavdet import UAVDet
from uavdet.assets import list_assets
from uavdet.engine.families import build_model, load_model_config
from uavdet.export.onnx import export_onnx
from uavdet.export.parity import check_parity
from uavdet.export.parity_report import ParityReport

FACTOR = 1.05


def weight_names(graph: Any) -> list[str]:
    """Return the names of the tensors that faults are planted in: those that belong to a layer."""
    consumers = {name for node in graph.graph.node if node.op_type not in _SHAPING for name in node.input}
    return [
        tensor.name
        for tensor in graph.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= 16 and tensor.name in consumers
    ]


_SHAPING = {"Resize", "Reshape", "Expand", "Slice", "Pad"}


def scale_weight(graph: Any, name: str, factor: float = FACTOR) -> None:
    """Multiply one tensor of a graph."""
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == name)
    scaled = numpy_helper.to_array(tensor) * np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(scaled, name))


def swap_columns(graph: Any, order: list[int]) -> None:
    """Give the columns of the rows in another order."""
    _append(graph, "Gather", [numpy_helper.from_array(np.array(order), "order")], axis=2)


def permute_classes(graph: Any, classes: int) -> None:
    """Give every detection the next class."""
    names = ["one", "classes"]
    shift = np.zeros((1, 1, 6), dtype=np.float32)
    shift[..., 5] = 1
    size = np.full((1, 1, 6), 1e6, dtype=np.float32)
    size[..., 5] = classes
    constants = [numpy_helper.from_array(array, name) for name, array in zip(names, (shift, size), strict=True)]
    graph.graph.initializer.extend(constants)
    given = graph.graph.output[0].name
    _rename(graph, given, "right")
    graph.graph.node.append(helper.make_node("Add", ["right", "one"], ["shifted"], name="/shift"))
    graph.graph.node.append(helper.make_node("Mod", ["shifted", "classes"], [given], name="/wrap", fmod=1))


def swap_colours(graph: Any) -> None:
    """Read red as blue and blue as red."""
    given = graph.graph.input[0].name
    for node in graph.graph.node:
        node.input[:] = ["swapped" if name == given else name for name in node.input]
    graph.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    graph.graph.node.insert(0, helper.make_node("Gather", [given, "bgr"], ["swapped"], name="/swap", axis=1))


def overflow(graph: Any) -> None:
    """Let the middle of the network overflow float16, as an unscaled Fourier transform does."""
    products = [node for node in graph.graph.node if node.op_type == "Conv"]
    node = products[len(products) // 2]
    given = node.output[0]
    node.output[0] = "small"
    for name, value in (("up", 1e6), ("down", 1e-6)):
        graph.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
    place = list(graph.graph.node).index(node)
    for offset, made in enumerate((
        helper.make_node("Mul", ["small", "up"], ["large"], name="/up"),
        helper.make_node("Cast", ["large"], ["half"], name="/to_half", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["back"], name="/to_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["back", "down"], [given], name="/down"),
    ), start=1):  # fmt: skip
        graph.graph.node.insert(place + offset, made)


def make_nan(graph: Any) -> None:
    """Divide every output by zero, and that by itself."""
    _append(graph, "Mul", [numpy_helper.from_array(np.array(np.nan, dtype=np.float32), "nan")])


def _append(graph: Any, operator: str, constants: list[Any], **attributes: Any) -> None:
    given = graph.graph.output[0].name
    _rename(graph, given, "right")
    graph.graph.initializer.extend(constants)
    inputs = ["right", *(constant.name for constant in constants)]
    graph.graph.node.append(helper.make_node(operator, inputs, [given], name=f"/planted/{operator}", **attributes))


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def plant(file: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """Write a file with a fault."""
    graph = onnx.load(str(file))
    change(graph)
    onnx.save(graph, str(target))
    return target


OTHERS: dict[str, tuple[Callable[[Any], None], str]] = {
    "score and class swapped": (lambda graph: swap_columns(graph, [0, 1, 2, 3, 5, 4]), "fp32"),
    "x and y swapped": (lambda graph: swap_columns(graph, [1, 0, 3, 2, 4, 5]), "fp32"),
    "classes permuted": (lambda graph: permute_classes(graph, 4), "fp32"),
    "red and blue swapped": (swap_colours, "fp32"),
    "float16 overflow": (overflow, "fp16"),
    "NaN": (make_nan, "fp32"),
}
"""Faults of other kinds, with the precision that the file claims."""


def faults_of_weights(module: nn.Module, file: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Plant one fault a seed, and return how many are caught."""
    names = weight_names(onnx.load(str(file)))
    drawn = [names[int(np.random.default_rng(seed).integers(len(names)))] for seed in range(arguments.seeds)]
    missed = []
    located = 0
    for seed, name in enumerate(drawn):
        faulty = plant(file, file.with_name("faulty.onnx"), lambda graph, name=name: scale_weight(graph, name))
        report = check_parity(module, faulty, precision="fp32", data=arguments.data, images=arguments.images)
        named = report.divergence is not None and name in report.divergence.weights
        located += named
        if report.passed:
            missed.append(name)
        outcome = "MISSED" if report.passed else "caught, named" if named else "caught"
        print(f"seed {seed:3} {name:56} {outcome:14} {brief(report)}", flush=True)
    caught = len(drawn) - len(missed)
    tens = [drawn[start : start + 10] for start in range(0, len(drawn) - len(drawn) % 10, 10)]
    worst = min((sum(name not in missed for name in ten) for ten in tens), default=caught)
    return {"tensors": len(names), "planted": len(drawn), "caught": caught, "worst_ten": worst, "named": located,
            "missed": missed}  # fmt: skip


def brief(report: ParityReport) -> str:
    """Return the figures of a report in one line."""
    figures = report.figures
    if figures is None:
        return report.reason
    return (
        f"IoU {figures.worst_iou:.5f}, median 1-{1 - figures.median_iou:.1e}; score "
        f"{figures.worst_score_difference:.1e}, median logit {figures.median_logit_difference:.1e}; unmatched "
        f"{figures.unmatched}, unstable {figures.unstable}"
    )


def check_demo(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Plant faults in an export of the bundled weights."""
    module: Any = UAVDet().module
    file = export_onnx(module, folder / "good.onnx", arguments.imgsz)
    good = check_parity(module, file, precision="fp32", data=arguments.data, images=arguments.images)
    print(f"{good.summary()} {brief(good)}")
    result = {"good": good.passed, **faults_of_weights(module, file, arguments)}
    for name, (change, precision) in OTHERS.items():
        faulty = plant(file, folder / "faulty.onnx", change)
        report = check_parity(module, faulty, precision=precision, data=arguments.data, images=arguments.images)
        print(f"{name:24} {'MISSED' if report.passed else 'caught'}: {report.reason}")
        result[name] = not report.passed
    return result


def check_models(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Check good exports of every model with random weights."""
    result = {}
    for name in sorted(list_assets("cfg/models")):
        module = random_model(name)
        file = export_onnx(module, folder / "good.onnx", arguments.imgsz)
        report = check_parity(module, file, precision="fp32", data=arguments.data, images=arguments.images)
        print(f"{name:24} {'passed' if report.passed else 'FALSE ALARM ' + report.reason} {brief(report)}")
        result[name] = report.passed
    return result


def random_model(name: str, seed: int = 0) -> nn.Module:
    """Return a model with random weights, of which none is zero: a fresh network multiplies some branches by 0."""
    torch.manual_seed(seed)
    module = build_model(load_model_config(name), nc=3)
    for key, parameter in module.named_parameters():
        if not parameter.detach().any() or key.endswith(("alpha", "base_gain")):
            nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.1)
    return module.eval()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=256)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--data")
    parser.add_argument("--models", action="store_true", help="check good exports of every model instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = (check_models if arguments.models else check_demo)(Path(folder), arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
