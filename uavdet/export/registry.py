"""The formats of `uavdet export`, as data.

A format names its exporter by a dotted path, so that nothing heavy is imported before it is asked for. Adding one is
one entry here. Every option of the command is either taken by a format or refused with the reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uavdet.errors import MissingDependencyError, UsageError, suggest_name

OPTIONS = (
    *("imgsz", "batch", "dynamic", "half", "opset", "simplify", "max_det", "output", "input", "workspace"),
    *("int8", "target", "int8_exclude", "parity", "data"),
)
"""Options of `uavdet export` that a format may take; `model`, `queries`, `format` and `out` belong to all."""


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes:
        name: Its name, as in `format=onnx`.
        help: What it is for.
        suffix: Of its files, without a dot; one that begins with an underscore stands behind the name without a dot.
        exporter: `module:function` of `(model, file, options, meta) -> None`, which writes the file: the detector, a
            temporary path, a `NetworkOptions` and the checkpoint's metadata.
        extra: The extra of the package that installs what the exporter needs.
        refusals: Option to the reason why this format does not take it.
        gated: Whether a file is compared with its checkpoint before it gets its name.
        mark: Of a folder, the file that tells that an export made it. The exporter of a folder compares its files by
            itself: it takes `parity` and `data` too.
        targets: What `target=` may say with `int8`; the first is the default.
        half_name: The precision that `half` stands for.
    """

    name: str
    help: str
    suffix: str
    exporter: str
    extra: str = "train"
    refusals: Mapping[str, str] = field(default_factory=dict)
    gated: bool = True
    mark: str = ""
    targets: tuple[str, ...] = ("tensorrt", "cpu")
    half_name: str = "fp16"

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.mark)

    @property
    def ending(self) -> str:
        """How the names of its files end."""
        return self.suffix if self.suffix.startswith("_") else f".{self.suffix}"

    @property
    def options(self) -> tuple[str, ...]:
        """The options that it takes."""
        return tuple(option for option in OPTIONS if option not in self.refusals)

    def load_exporter(self) -> Callable[..., None]:
        """Import the exporter.

        Raises:
            MissingDependencyError: A package that it needs is not installed.
        """
        module, _, function = self.exporter.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except ImportError as error:
            raise MissingDependencyError(
                f"format={self.name} needs {error.name}, which is not installed. "
                f"It comes with: pip install 'uavdet[{self.extra}]'."
            ) from error

    def check(self, given: Iterable[str]) -> None:
        """Refuse options that this format does not take.

        Raises:
            UsageError: There is one; the message gives the reason.
        """
        for option in given:
            if option in self.refusals:
                raise UsageError(
                    f"'{option}' has no effect on format={self.name}: {self.refusals[option]}. Leave it out."
                )


_WEIGHTS_ALONE = "it holds the weights alone, and no network of one size"
_NO_BUILDING = "it is memory for building TensorRT engines, and nothing is built"
_IN_FOLDER = "the folder holds"
_INT8 = ("int8", "target", "int8_exclude")

FORMATS: dict[str, ExportFormat] = {
    entry.name: entry
    for entry in (
        ExportFormat(
            name="onnx",
            help="the network for ONNX Runtime, TensorRT and others",
            suffix="onnx",
            exporter="uavdet.export.onnx:write_onnx",
            refusals={"workspace": _NO_BUILDING},
        ),
        ExportFormat(
            name="engine",
            help="a TensorRT engine, built on the GPU that it is for",
            suffix="engine",
            exporter="uavdet.export.tensorrt:write_engine",
            targets=("tensorrt",),
        ),
        ExportFormat(
            name="openvino",
            help="a folder for OpenVINO, which computes in bf16 where the CPU can",
            suffix="_openvino_model",
            exporter="uavdet.export.openvino:write_openvino",
            extra="openvino",
            refusals={"workspace": _NO_BUILDING, "opset": "operator sets belong to ONNX"},
            mark="metadata.yaml",
            targets=("cpu",),
            half_name="bf16",
        ),
        ExportFormat(
            name="jetson",
            help="a folder to copy to a Jetson: ONNX files, scripts that build and test engines there, DeepStream",
            suffix="jetson",
            exporter="uavdet.export.jetson:write_jetson",
            refusals={
                "half": f"{_IN_FOLDER} files of both precisions",
                "output": f"{_IN_FOLDER} both layouts that run there, detections and deepstream",
                "input": f"{_IN_FOLDER} what DeepStream and the smoke test read, images as float",
                "workspace": "build_engine.py takes it on the Jetson, as --workspace",
                **dict.fromkeys(_INT8, f"{_IN_FOLDER} fp32 and fp16; format=onnx writes a file in int8 to build there"),
            },
            mark="export.json",
        ),
        ExportFormat(
            name="torchscript",
            help="the network for PyTorch without Python",
            suffix="torchscript",
            exporter="uavdet.export.torchscript:write_torchscript",
            refusals={
                "half": "on a CPU the program would be slower, and on a GPU autocast knows what may be half",
                "opset": "operator sets belong to ONNX",
                "simplify": "slimming is for ONNX graphs; a TorchScript program is frozen in any case",
                "workspace": _NO_BUILDING,
                **dict.fromkeys(_INT8, "quantizers are written into ONNX graphs"),
            },
        ),
        ExportFormat(
            name="safetensors",
            help="the weights alone",
            suffix="safetensors",
            exporter="uavdet.export.weights:write_weights",
            refusals=dict.fromkeys(set(OPTIONS) - {"half"}, _WEIGHTS_ALONE),
            gated=False,
        ),
    )
}
"""The formats by name."""


def find_format(name: str) -> ExportFormat:
    """Return a format by its name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in FORMATS:
        raise UsageError(f"format={name} is unknown.{suggest_name(name, FORMATS)} Formats: {', '.join(FORMATS)}.")
    return FORMATS[name]


def check_combination(chosen: ExportFormat, options: Mapping[str, Any]) -> None:
    """Refuse values that do not go together.

    Raises:
        UsageError: DeepStream's layout is asked for with a uint8 input, or data to compare on without comparing.
    """
    if options["data"] and not (options["parity"] or options["int8"] or chosen.folder):
        raise UsageError("'data' has no effect with parity=False: nothing is compared on it. Leave one out.")
    if options["output"] == "deepstream" and options["input"] == "uint8":
        raise UsageError(
            "input=uint8 does not go with output=deepstream: DeepStream scales and reorders pixels itself. "
            "Leave input out."
        )


def check_quantization(chosen: ExportFormat, options: Mapping[str, Any]) -> None:
    """Refuse values of `int8` and what belongs to it that do not go together.

    Raises:
        UsageError: There is no data to calibrate on, half precision is asked for as well, the target is for another
            format, or something belongs to int8 without it.
    """
    if not options["int8"]:
        for name in ("target", "int8_exclude"):
            if options[name]:
                raise UsageError(f"'{name}' has no effect without int8=True. Add int8=True, or leave it out.")
        return
    if not options["data"]:
        raise UsageError(
            "int8=True needs images to calibrate on, and no dataset was given. Give one like those that the detector "
            "is to see: data=PATH/data.yaml."
        )
    if options["half"]:
        raise UsageError("half=True and int8=True do not go together: a file has one precision. Leave one out.")
    if options["target"] and options["target"] not in chosen.targets:
        raise UsageError(
            f"target={options['target']} does not go with format={chosen.name}, which takes "
            f"target={'|'.join(chosen.targets)}. Leave target out."
        )
