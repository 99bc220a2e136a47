"""Checkpoints: tensors and a plain dict, never a program.

A `.pt` of ours is `{"format": "uavdet", "meta": {...}, "weights": {...}, "training": {...} or None}`, read with
`weights_only=True`. `meta` holds the model YAML, class names, recipe, versions and statistics of the training data;
`training` holds what resuming needs. A `.safetensors` holds the weights, with `meta` as JSON in its header. Files are
written beside their place, synced to disk and renamed over it, so that a reader finds either the old or the new one.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import uavdet
from uavdet.engine.atomic import write_atomically
from uavdet.errors import CheckpointError, one_line

FORMAT = "uavdet"
SCHEMA = 1
Weights = dict[str, Tensor]


@dataclass
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        weights: The model's state dict; in training the moving average.
        meta: Plain data: `yaml`, `names` (class id to name), `imgsz`, `recipe`, `versions`, `statistics`, ...
        training: Optimizer, random state and so on, or None in a finished checkpoint.
    """

    weights: Weights
    meta: dict[str, Any]
    training: dict[str, Any] | None = None


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> Path:
    """Write a checkpoint, atomically.

    Args:
        checkpoint: What to write.
        path: Ends in `.pt` or, for weights without training state, in `.safetensors`.

    Raises:
        CheckpointError: The suffix is neither.
    """
    path = Path(path)
    if path.suffix == ".pt":
        meta, weights = _written_parts(checkpoint)
        content = {"format": FORMAT, "meta": meta, "weights": weights, "training": checkpoint.training}
        write_atomically(path, lambda temporary: torch.save(content, temporary))
    elif path.suffix == ".safetensors":
        data = safetensors_bytes(checkpoint)  # its save_file would leave a file that only its owner can read
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
    else:
        raise CheckpointError(f"'{path}' has no suffix of weights. Give a path that ends in .pt or .safetensors.")
    return path


def safetensors_bytes(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint, without its training state, as the content of a safetensors file."""
    from safetensors.torch import save

    meta, weights = _written_parts(checkpoint)
    return save(weights, metadata={"format": FORMAT, "meta": json.dumps(meta)})


def _written_parts(checkpoint: Checkpoint) -> tuple[dict[str, Any], Weights]:
    meta = plain_data({**checkpoint.meta, "schema": SCHEMA, "versions": versions()})
    return meta, {key: value.detach().cpu().contiguous() for key, value in checkpoint.weights.items()}


def versions() -> dict[str, str]:
    """Return the versions that a checkpoint records."""
    import ultralytics

    return {"uavdet": uavdet.__version__, "torch": str(torch.__version__), "ultralytics": ultralytics.__version__}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ours.

    Raises:
        CheckpointError: The file is missing, damaged, or not of ours; the message says which and what helps.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"'{path}' does not exist. Give the path of a .pt, .safetensors or .onnx file.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"'{path}' is empty. It was not written to its end; use another checkpoint.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_foreign_message(path)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"'{path}' is damaged or no checkpoint ({type(error).__name__}). Use another one."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"'{path}' holds no uavdet checkpoint. A plain state dict can start a training: "
            f"uavdet train model=YAML pretrained={path}."
        )
    return _checked(path, content)


def _foreign_message(path: Path) -> str:
    kind = "a pickled checkpoint, which is a program" if zipfile.is_zipfile(path) else "no checkpoint of ours"
    return (
        f"'{path}' is {kind}, and was not run. If you trust where it comes from, turn an Ultralytics checkpoint "
        f"into ours: uavdet import weights={path} trust=True."
    )


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            weights = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a dict)
        ours = header.get("format") == FORMAT
        content = {key: json.loads(value) for key, value in header.items() if ours and key == "meta"}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged ({one_line(error)}). Use another one.") from error
    if not ours:
        raise CheckpointError(
            f"'{path}' holds tensors without a uavdet header. They can start a training: "
            f"uavdet train model=YAML pretrained={path}."
        )
    return _checked(path, {**content, "weights": weights})


def _checked(path: Path, content: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint that a file's content makes, its class ids as integers.

    Raises:
        CheckpointError: A newer uavdet wrote it, or it lacks a part or holds one of another kind.
    """
    meta = _part(path, content, "meta", "", dict)
    _check_schema(path, meta)
    _part(path, meta, "yaml", "meta.", dict)
    names = _integer_keys(_part(path, meta, "names", "meta.", dict))
    if not names:
        raise CheckpointError(f"'{path}': 'meta.names' gives no class names by id. Use another checkpoint.")
    weights = _part(path, content, "weights", "", dict)
    training = content.get("training")
    if training is not None:
        training = _part(path, content, "training", "", dict)
    return Checkpoint(weights, {**meta, "names": names}, training)


def _part(path: Path, content: dict[str, Any], key: str, prefix: str, kind: type) -> Any:
    """Return `content[key]`; refuse a checkpoint that lacks it or has something else there."""
    if key not in content:
        raise CheckpointError(f"'{path}' is incomplete: it lacks '{prefix}{key}'. Use another checkpoint.")
    if not isinstance(content[key], kind):
        given = type(content[key]).__name__
        raise CheckpointError(f"'{path}': '{prefix}{key}' is {given}, not {kind.__name__}. Use another checkpoint.")
    return content[key]


def _integer_keys(names: dict[Any, str]) -> dict[int, str] | None:
    """Return class names by integer id, as JSON's keys are strings; None where there are none or a key is no id."""
    try:
        return {int(key): str(name) for key, name in names.items()} or None
    except (TypeError, ValueError):
        return None


def _check_schema(path: Path, meta: dict[str, Any]) -> None:
    schema, recorded = meta.get("schema", 0), meta.get("versions")
    if isinstance(schema, int) and schema > SCHEMA:
        known = isinstance(recorded, dict) and recorded.get("uavdet")
        written = f"uavdet {known}" if known else "a newer uavdet"
        raise CheckpointError(f"'{path}' was written by {written}, which this one cannot read. Upgrade uavdet.")


def read_plain_weights(path: Path) -> Weights:
    """Read tensors of any origin: a checkpoint of ours, a plain state dict, or a safetensors file without a header.

    Raises:
        CheckpointError: The file is missing, damaged, or a program.
    """
    try:
        return read_checkpoint(path).weights
    except CheckpointError as error:
        if "can start a training" not in str(error):
            raise
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model", "weights"):
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"'{path}' holds no tensors by name. Give a state dict.")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Return the part of `meta` that rebuilds a model."""
    return {"yaml": model.yaml, "names": dict(model.names), "task": "detect"}  # type: ignore[arg-type]


def plain_data(value: Any) -> Any:
    """Return a copy made of dicts, lists, strings, numbers, booleans and None."""
    if isinstance(value, dict):
        return {key if isinstance(key, int) else str(key): plain_data(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain_data(entry) for entry in value]
    if value is None or type(value) in {bool, int, float, str}:
        return value
    return value.item() if hasattr(value, "item") else str(value)


def strip_checkpoint(path: Path, updates: dict[str, Any] | None = None) -> None:
    """Remove the training state from a checkpoint, in place and atomically."""
    checkpoint = read_checkpoint(path)
    save_checkpoint(Checkpoint(checkpoint.weights, {**checkpoint.meta, **(updates or {})}), path)


def half_weights(weights: Weights) -> Weights:
    """Return the floating-point weights in half precision, the others as they are."""
    return {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
