"""How fast exported detectors are, beside PyTorch and beside Ultralytics' own export, and how fast they could be.

    python benchmarks/inference.py [--models so-detr-r18,so-detr-r50] [--size 640] [--threads 2] [--runs 30]
        [--folder FOLDER] [--stock rtdetr-resnet50.yaml]

Every network has random weights, no two layers the same, as exporters store equal layers once. The first table is of
one run, in turn: each model fused in PyTorch's eager mode, in ONNX Runtime, and in OpenVINO in fp32 and bf16; and
Ultralytics' RT-DETR in ONNX Runtime, exported by us and by Ultralytics. On x86 Ultralytics runs PyTorch in the
channels-last layout, which is the faster; a line tells how much slower PyTorch's own layout is.

The second table has, of each model in ONNX Runtime: pixels to boxes over the network alone, the share of the Fourier
transform, and the floor, which is the network's arithmetic at the rate of ONNX Runtime's own matrix product at its
best, in processor time, so that other programs do not count. On a busy machine give --threads 1: threads of PyTorch
that wait for one another spin, and the more so the less of a processor each gets. With --folder files are kept there,
and found again.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from uavdet.benchmark import BenchmarkReport, measure_models
from uavdet.benchmark.report import ModelFigures
from uavdet.runtime.files import SLOW_FUSIONS
from uavdet.runtime.metadata import our_values, read_values

_SIDE = 1024  # of the matrices of the reference product
_FOURIER = ("/modulation/", "/dual_domain/")
"""Scopes whose nodes are the Fourier transform and the arithmetic between its products, but for convolutions."""


def make_weights(name: str, file: Path) -> None:
    """Write random weights, every layer of its own and nothing zero."""
    import uavdet.environment  # noqa: F401, I001  (before torch and Ultralytics)
    import torch

    from uavdet import UAVDet

    torch.manual_seed(0)
    model = UAVDet(name)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save(file)


def export_model(name: str, imgsz: int, folder: Path) -> list[Path]:
    """Return the files of a model: weights, ONNX, OpenVINO in fp32 and in bf16; those that are missing are made."""
    from uavdet import UAVDet

    weights = folder / f"{name}.pt"
    if not weights.exists():
        make_weights(f"{name}.yaml", weights)
    wanted = {
        folder / f"{name}.onnx": {"format": "onnx"},
        folder / f"{name}-fp32_openvino_model": {"format": "openvino"},
        folder / f"{name}-bf16_openvino_model": {"format": "openvino", "half": True},
    }
    for file, options in wanted.items():
        if not file.exists():
            UAVDet(weights).export(out=str(file), imgsz=imgsz, parity=False, **options)
    return [weights, *wanted]


def export_stock(name: str, imgsz: int, folder: Path) -> list[Path]:
    """Return ONNX exports of one of Ultralytics' models, ours and its own, each with random weights."""
    from uavdet import UAVDet

    ours, weights = (folder / f"{Path(name).stem}.{suffix}" for suffix in ("onnx", "pt"))
    if not ours.exists():
        make_weights(name, weights)
        UAVDet(weights).export(out=str(ours), imgsz=imgsz, parity=False)
    return [ours, _export_by_ultralytics(name, imgsz, folder)]


def _export_by_ultralytics(name: str, imgsz: int, folder: Path) -> Path:
    import uavdet.environment  # noqa: F401, I001  (before torch and Ultralytics)
    import torch
    from ultralytics import RTDETR

    file = folder / f"ultralytics-{Path(name).stem}.onnx"
    if not file.exists():
        torch.manual_seed(0)
        model = RTDETR(name)
        with torch.no_grad():
            for parameter in model.model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        model.model.pt_path = str(file.with_suffix(".pt"))  # beside which it writes
        Path(model.export(format="onnx", imgsz=imgsz, device="cpu", verbose=False)).replace(file)
    return file


def product_rate(threads: int, repeats: int = 30) -> float:
    """Return 10^9 operations that a second of processor time yields in ONNX Runtime's matrix product."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    matrix = rng.random((_SIDE, _SIDE), dtype=np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [value("x", TensorProto.FLOAT, [_SIDE, _SIDE])],
        [value("y", TensorProto.FLOAT, [_SIDE, _SIDE])],
        [numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = open_session(model.SerializeToString(), threads)
    return 2 * _SIDE**3 / 1e9 / min(processor_seconds(lambda: session.run(None, {"x": matrix})) for _ in range(repeats))


def processor_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def layout_ratio(weights: Path, imgsz: int, threads: int, runs: int) -> float:
    """Return the time of a fused model in PyTorch's own memory layout over that in channels-last, in turn."""
    import uavdet.environment  # noqa: F401, I001  (before torch and Ultralytics)
    import torch

    from uavdet import UAVDet
    from uavdet.engine.profile import fused_copy

    torch.set_num_threads(threads)
    model, image = fused_copy(UAVDet(weights).module), torch.rand(1, 3, imgsz, imgsz)
    times: dict[torch.memory_format, list[float]] = {torch.contiguous_format: [], torch.channels_last: []}
    networks = {layout: copy.deepcopy(model).to(memory_format=layout) for layout in times}
    with torch.inference_mode():
        for _ in range(runs):
            for layout, network in networks.items():
                given = image.to(memory_format=layout)
                times[layout].append(processor_seconds(lambda network=network, given=given: network(given)))
    return float(np.median(times[torch.contiguous_format]) / np.median(times[torch.channels_last]))


def open_session(model: bytes | str, threads: int, profile: str | None = None):  # noqa: ANN201 (ONNX Runtime's type)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
    )


def operator_times(file: Path, imgsz: int, runs: int) -> tuple[Counter[str], float]:
    """Return milliseconds of each operator of an ONNX file, and of the Fourier transform, on one thread.

    Each node counts with its shortest run, in which no other program took the processor.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(str(file), 1, f"{folder}/profile")
        image = np.random.default_rng(0).random((1, 3, imgsz, imgsz), dtype=np.float32)
        for _ in range(runs):
            session.run(None, {session.get_inputs()[0].name: image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    shortest: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for event in events:
        name, suffix = event["name"], "_kernel_time"
        if event.get("cat") == "Node" and name.endswith(suffix):
            shortest[name] = min(shortest.get(name, np.inf), event["dur"] / 1e3)
            kinds[name] = event["args"]["op_name"]
    operators: Counter[str] = Counter()
    for name, duration in shortest.items():
        operators[kinds[name]] += duration
    scope = next((part for part in _FOURIER if any(part in name for name in shortest)), None)
    fourier = sum(t for name, t in shortest.items() if scope and scope in name and kinds[name] != "Conv")
    return operators, fourier


def told_gflops(file: Path) -> float:
    told = read_values(open_session(str(file), 1).get_modelmeta().custom_metadata_map)
    return float(our_values(told)["gflops"])


def print_ratios(report: BenchmarkReport, models: list[str], stock: str) -> None:
    """Print what each model's forms take against one another: time, and processor time, of the network."""
    found = {Path(figures.model).name: figures for figures in report.models}
    forms = [("{0}.pt", "{0}.onnx"), ("{0}.onnx", "{0}-bf16_openvino_model"), ("{0}.onnx", "{0}-fp32_openvino_model")]
    pairs = [(slow.format(name), fast.format(name)) for name in models for slow, fast in forms]
    if stock != "none":
        pairs.append((f"ultralytics-{Path(stock).stem}.onnx", f"{Path(stock).stem}.onnx"))
    print(f"\n{'how many times as fast':60} {'time':>6} {'processor time':>15}")
    for slow, fast in pairs:
        print(f"{f'{fast} than {slow}':60} {_times(found[slow], found[fast])}")


def _times(slow: ModelFigures, fast: ModelFigures) -> str:
    return f"{slow.inference.p50 / fast.inference.p50:6.2f} {slow.processor.p50 / fast.processor.p50:15.2f}"


def print_floor(report: BenchmarkReport, files: list[Path], args: argparse.Namespace) -> None:
    """Print, of each ONNX file, what stands around the network, the Fourier transform's share, and the floor."""
    found = {figures.model: figures for figures in report.models}
    rate = product_rate(args.threads)
    print(f"\nONNX Runtime's matrix product of {_SIDE} x {_SIDE}: {rate:.0f} GFLOP a second of processor time")
    print(f"{'':24} {'whole/network':>13} {'Fourier':>8} {'CPU ms':>8} {'floor ms':>9} {'times the floor':>16}")
    for file in files:
        figures, gflops = found[str(file)], told_gflops(file)
        operators, fourier = operator_times(file, args.size, args.runs)
        share, floor = fourier / sum(operators.values()), gflops / rate * 1e3
        around = figures.whole.p50 / figures.inference.p50
        numbers = f"{figures.processor.p50:8.1f} {floor:9.1f} {figures.processor.p50 / floor:16.2f}"
        print(f"{file.name:24} {around:13.3f} {share:8.1%} {numbers}")
        parts = ", ".join(f"{kind} {ms:.1f}" for kind, ms in operators.most_common(12))
        print(f"  ms on one thread, each node's shortest run: {parts}")


def cpu_extensions() -> str:
    """Return which of the extensions for bf16 the processor has, as Linux tells them."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "not known"
    return ", ".join(name for name in ("amx_bf16", "avx512_bf16", "avx512_vnni") if name in flags) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="so-detr-r18,so-detr-r50")
    parser.add_argument("--stock", default="rtdetr-resnet50.yaml", help="Ultralytics' model, or none")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    names = args.models.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        files = [file for name in names for file in export_model(name, args.size, folder)]
        if args.stock != "none":
            files += export_stock(args.stock, args.size, folder)
        report = measure_models(files, imgsz=args.size, device="cpu", threads=args.threads, runs=args.runs)
        print(f"bf16 extensions of the processor: {cpu_extensions()}\n{report.table()}")
        print_ratios(report, names, args.stock)
        for name in names:
            ratio = layout_ratio(folder / f"{name}.pt", args.size, args.threads, min(args.runs, 10))
            print(f"{name}.pt in PyTorch's own layout takes {ratio:.2f} times the processor time of channels-last")
        print_floor(report, [folder / f"{name}.onnx" for name in names], args)


if __name__ == "__main__":
    main()
