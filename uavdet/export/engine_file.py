"""Engine files: what TensorRT built, what it is bound to, and the network's metadata.

A file begins with the length of a JSON text as 4 bytes, the lowest first, and the text; the engine follows. It is the
form in which Ultralytics writes engines, so that its loader reads names and input size. Programs that read nothing but
TensorRT's own bytes, as trtexec and DeepStream, take a bare engine, whose JSON lies beside it as `<name>.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uavdet.errors import CheckpointError
from uavdet.export.tensorrt_versions import Platform, parse_version

_REBUILD = "Build it here: uavdet export model=best.pt format=engine, or build_engine.py of a folder of format=jetson."


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def with_origin(metadata: Mapping[str, Any], platform: Platform, onnx_sha256: str, precision: str) -> dict[str, Any]:
    """Return an engine's metadata: that of its network, and under `uavdet` and `engine` what it is bound to.

    Args:
        metadata: The network's, as ONNX files hold it; our part may be JSON text.
        platform: Where the engine was built.
        onnx_sha256: Hash of the ONNX file that it was built from.
        precision: The engine's.
    """
    ours = metadata.get("uavdet", {})
    ours = json.loads(ours) if isinstance(ours, str) else dict(ours)
    engine = {**asdict(platform), "onnx_sha256": onnx_sha256}
    return {**metadata, "uavdet": {**ours, "precision": precision, "engine": engine}}


def write_engine_file(file: Path, engine: bytes, metadata: Mapping[str, Any], bare: bool = False) -> None:
    """Write an engine with its metadata; a bare one with its metadata beside it."""
    text = json.dumps(metadata, indent=2 if bare else None).encode()
    if bare:
        file.write_bytes(engine)
        sidecar_of(file).write_bytes(text + b"\n")
    else:
        file.write_bytes(len(text).to_bytes(4, "little") + text + engine)


def sidecar_of(file: Path) -> Path:
    """Return where the metadata of a bare engine lies."""
    return file.with_name(f"{file.name}.json")


def read_engine_file(file: Path) -> tuple[bytes, dict[str, Any]]:
    """Return an engine and its metadata.

    Raises:
        CheckpointError: The file is missing or empty, or nothing says what its engine is bound to.
    """
    if not file.is_file() or file.stat().st_size == 0:
        state = "is empty" if file.is_file() else "does not exist"
        raise CheckpointError(f"'{file}' {state}. {_REBUILD}")
    content = file.read_bytes()
    length = int.from_bytes(content[:4], "little")
    metadata, engine = _parse(content[4 : 4 + length]), content[4 + length :]
    if metadata is None and sidecar_of(file).is_file():
        metadata, engine = _parse(sidecar_of(file).read_bytes()), content
    if metadata is None or not isinstance(_engine_part(metadata), dict):
        raise CheckpointError(
            f"'{file}' does not say which TensorRT and GPU it was built for: it is damaged, or uavdet did not write "
            f"it. {_REBUILD}"
        )
    if not engine:
        raise CheckpointError(f"'{file}' is cut off: its engine is missing. Copy it again, or {_REBUILD.lower()}")
    return engine, metadata


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _engine_part(metadata: Mapping[str, Any]) -> Any:
    ours = metadata.get("uavdet")
    return ours.get("engine") if isinstance(ours, dict) else None


def check_origin(file: Path, metadata: Mapping[str, Any], here: Platform, onnx_sha256: str | None = None) -> None:
    """Refuse an engine that was built for another GPU, TensorRT or CUDA, or from another ONNX file.

    Args:
        file: The engine's file, for messages.
        metadata: Its metadata.
        here: This platform.
        onnx_sha256: Hash of the ONNX file that it should have been built from, where that is known.

    Raises:
        CheckpointError: It was.
    """
    origin = _engine_part(metadata)
    built = Platform(*(str(origin.get(key)) for key in ("tensorrt", "cuda", "sm", "machine")))
    if built.sm != here.sm:
        raise CheckpointError(
            f"'{file}' is an engine of another GPU: it was built for compute capability {built.sm}, and this GPU has "
            f"{here.sm}. {_REBUILD}"
        )
    if _numbers(built.tensorrt, 3) != _numbers(here.tensorrt, 3):
        raise CheckpointError(
            f"'{file}' was built by TensorRT {built.tensorrt}, and this is {here.tensorrt}. An engine holds for one "
            f"version. {_REBUILD}"
        )
    if _numbers(built.cuda, 1) != _numbers(here.cuda, 1):
        raise CheckpointError(f"'{file}' was built with CUDA {built.cuda}, and this is {here.cuda}. {_REBUILD}")
    if onnx_sha256 is not None and origin.get("onnx_sha256") != onnx_sha256:
        raise CheckpointError(f"'{file}' was built from another ONNX file than the one that lies here. {_REBUILD}")


def _numbers(version: str, count: int) -> tuple[int, ...]:
    """Return the first numbers of a version; of one that is none, nothing."""
    return parse_version(version)[:count] if version[:1].isdigit() else ()
