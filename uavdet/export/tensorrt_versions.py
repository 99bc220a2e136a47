"""What each TensorRT can do, what it is known to get wrong, and which JetPack brings it, as data.

Nothing here was measured on a Jetson. Every entry names its source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from uavdet.errors import UsageError

Version = tuple[int, ...]


@dataclass(frozen=True)
class VersionRules:
    """The rules of a range of TensorRT versions.

    Attributes:
        first: First version of the range.
        end: First version behind it, or None for all later ones.
        strongly_typed: Whether precision comes from the graph alone: such versions have no switches for fp16 and int8.
        explicit_batch: Whether a network has to be asked for with an explicit batch dimension.
        opsets: First and last ONNX operator set that its parser reads.
        source: Where this is written.
    """

    first: Version
    end: Version | None
    strongly_typed: bool
    explicit_batch: bool
    opsets: tuple[int, int]
    source: str


RULES = (
    VersionRules((8, 6), (9,), False, True, (9, 17), "onnx-tensorrt, branch release/8.6-GA"),
    VersionRules((10,), (11,), False, False, (9, 20), "TensorRT 10's documentation of its ONNX parser"),
    VersionRules((11,), (11, 2), True, False, (9, 20), "TensorRT's guide to migrating from 10 to 11"),
    VersionRules((11, 2), None, True, False, (9, 24), "TensorRT 11.2's documentation of its ONNX parser"),
)
"""What is not in a range, TensorRT before 8.6 and 9, is refused: 8.5 has no LayerNormalization, 9 is on no Jetson."""


@dataclass(frozen=True)
class Fault:
    """A range of versions that are known to build wrong engines, or none.

    Attributes:
        first: First version of the range.
        end: First version behind it.
        what: What goes wrong.
        mend: What to do.
        source: Who reports it.
        refused: Whether to refuse these versions, rather than to warn and let the parity gate decide.
        arm_cuda: Major version of CUDA from which it holds, on ARM alone; None where it holds everywhere.
    """

    first: Version
    end: Version
    what: str
    mend: str
    source: str
    refused: bool = True
    arm_cuda: int | None = None


FAULTS = (
    Fault(
        (10, 2, 0),
        (10, 2, 1),
        "is broken: its packages lack libraries of the builder",
        "Install 10.1, or 10.3 or later",
        "ultralytics PR 24367",
    ),
    Fault(
        (10,),
        (10, 15),
        "gives wrong boxes for RT-DETR on ARM with CUDA 13",
        "Update to 10.15 or later: JetPack 7.2 has 10.16",
        "ultralytics issue 22873",
        arm_cuda=13,
    ),
    Fault(
        (10, 13),
        (10, 15),
        "was reported to compute deformable attention wrongly",
        "If the parity gate rejects the engine, take 10.15 or later",
        "TensorRT issue 4813, lightly-train PR 917",
        refused=False,
    ),
    Fault(
        (11, 1),
        (11, 2),
        "was reported to compute deformable attention wrongly",
        "If the parity gate rejects the engine, take another version",
        "TensorRT issue 4813",
        refused=False,
    ),
)


@dataclass(frozen=True)
class JetPack:
    """A JetPack and what it brings.

    Attributes:
        name: Its version.
        tensorrt: The TensorRT in it.
        cuda: The CUDA in it.
        python: The Python in it.
        boards: The boards that it is for.
        install: Shell lines that install what the detector takes.
        known: How this is known.
    """

    name: str
    tensorrt: str
    cuda: str
    python: str
    boards: str
    install: tuple[str, ...]
    known: str


_JETPACK_LINES = ("sudo apt-get install -y nvidia-jetpack python3-numpy python3-libnvinfer libnvinfer-bin",)
_WHEEL_6 = (
    "# ONNX Runtime is optional; this wheel brings the CUDA and TensorRT providers:",
    "python3 -m pip install onnxruntime-gpu --index-url https://pypi.jetson-ai-lab.io/jp6/cu126",
)
_NO_WHEEL_7 = (
    "# ONNX Runtime is optional. PyPI's aarch64 wheel holds no code for Orin (sm_87): take one that was built for it.",
)

JETPACKS = (
    JetPack(
        "6.0",
        "8.6.2",
        "12.2",
        "3.10",
        "Orin",
        (*_JETPACK_LINES, "# ONNX Runtime is optional. No wheel for CUDA 12.2 is known to this guide."),
        "from memory; check with: dpkg -l | grep nvinfer",
    ),
    JetPack(
        "6.2",
        "10.3",
        "12.6",
        "3.10",
        "Orin",
        (*_JETPACK_LINES, *_WHEEL_6),
        "versions from published reports; the lines were not run",
    ),
    JetPack(
        "7.0",
        "10.13",
        "13.0",
        "3.12",
        "Thor",
        (
            "# TensorRT 10.13 gives wrong boxes for RT-DETR on this board. Bring TensorRT 10.15 or later, below 11:",
            "python3 -m venv detector && . detector/bin/activate",
            "pip install 'tensorrt-cu13>=10.15,<11' numpy",
            *_NO_WHEEL_7,
        ),
        "partly from memory; the lines were not run",
    ),
    JetPack(
        "7.2",
        "10.16",
        "13.2",
        "3.12",
        "Orin and Thor",
        (*_JETPACK_LINES, *_NO_WHEEL_7),
        "versions from published reports; the lines were not run",
    ),
)


@dataclass(frozen=True)
class Platform:
    """What an engine is bound to.

    Attributes:
        tensorrt: Version of TensorRT.
        cuda: Version of CUDA's runtime library.
        sm: Compute capability of the GPU, such as "8.7".
        machine: Processor, as `platform.machine()` says.
    """

    tensorrt: str
    cuda: str
    sm: str
    machine: str


def parse_version(text: str) -> Version:
    """Return the numbers of a version, of '10.3.0.30+cuda12' (10, 3, 0, 30).

    Raises:
        UsageError: It does not begin with a number.
    """
    found = re.match(r"\d+(\.\d+)*", text)
    if not found:
        raise UsageError(f"'{text}' is no version of TensorRT. Install TensorRT again.")
    return tuple(int(part) for part in found[0].split("."))


def rules_of(version: str) -> VersionRules:
    """Return the rules of a version of TensorRT.

    Raises:
        UsageError: It is not supported.
    """
    numbers = parse_version(version)
    for rules in RULES:
        if rules.first <= numbers and (rules.end is None or numbers < rules.end):
            return rules
    raise UsageError(
        f"TensorRT {version} is not supported: versions before 8.6 have no LayerNormalization, and 9 is on no Jetson. "
        "Take 8.6, 10 or 11; JetPack 6.2 has 10.3 and JetPack 7.2 has 10.16."
    )


def check_opset(version: str, opset: int) -> None:
    """Refuse an operator set that a version of TensorRT does not read.

    Raises:
        UsageError: It does not.
    """
    first, last = rules_of(version).opsets
    if not first <= opset <= last:
        raise UsageError(
            f"opset={opset} is not possible with TensorRT {version}, which reads {first} to {last}. Give opset=17."
        )


def check_platform(platform: Platform) -> list[str]:
    """Refuse a platform on which TensorRT is known to be wrong.

    Returns:
        Warnings: what was reported of this version, and is left to the parity gate.

    Raises:
        UsageError: The version is not supported, or is known to be wrong here.
    """
    rules_of(platform.tensorrt)
    warnings = []
    for fault in FAULTS:
        if not _applies(fault, platform):
            continue
        message = f"TensorRT {platform.tensorrt} {fault.what} ({fault.source}). {fault.mend}."
        if fault.refused:
            raise UsageError(message)
        warnings.append(message)
    return warnings


def _applies(fault: Fault, platform: Platform) -> bool:
    if not fault.first <= parse_version(platform.tensorrt) < fault.end:
        return False
    if fault.arm_cuda is None:
        return True
    return platform.machine in {"aarch64", "arm64"} and parse_version(platform.cuda)[0] >= fault.arm_cuda
