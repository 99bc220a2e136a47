"""Turns pickled checkpoints of Ultralytics into ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uavdet.engine.checkpoint import Checkpoint, describe_model, plain_data, read_checkpoint, save_checkpoint
from uavdet.engine.families import build_model
from uavdet.engine.loading import load_all
from uavdet.errors import CheckpointError


def import_checkpoint(path: str | Path, out: str | Path | None = None, *, trust: bool = False) -> Path:
    """Turn a pickled Ultralytics checkpoint into one of ours.

    Unpickling runs whatever the file contains; that is why `trust` has to be said.

    Args:
        path: The pickled checkpoint of a detector.
        out: Where to write; by default beside `path`, with the suffix `.uavdet.pt`.
        trust: Must be True.

    Raises:
        CheckpointError: `trust` is off, the file is damaged or of uavdet already, or it holds no detector.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"'{path}' does not exist. Give the checkpoint to import: weights=PATH.")
    if _is_ours(path):
        raise CheckpointError(f"'{path}' is a checkpoint of uavdet already. Give it as it is: model={path}.")
    if not trust:
        raise CheckpointError(
            f"'{path}' was not opened: a pickled checkpoint runs as a program. If you trust where it comes from: "
            f"uavdet import weights={path} trust=True."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise CheckpointError(f"'{path}' cannot be unpickled: {error}.") from error
    source = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
    if not isinstance(source, nn.Module) or not hasattr(source, "yaml"):
        raise CheckpointError(f"'{path}' holds no Ultralytics model. Import checkpoints of RT-DETR or YOLO detectors.")
    names = {int(key): str(name) for key, name in source.names.items()}  # type: ignore[union-attr,operator]
    config = plain_data(source.yaml)
    model = build_model(config, len(names), config.get("channels") or config.get("ch") or 3)
    model.names = names  # type: ignore[assignment]
    load_all(path, model, source.float().state_dict())
    arguments = content.get("train_args") or {}
    meta = {**describe_model(model), "imgsz": _usable_size(arguments.get("imgsz")), "imported_from": path.name}
    return save_checkpoint(Checkpoint(model.state_dict(), meta), out or path.with_suffix(".uavdet.pt"))


def _is_ours(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _usable_size(imgsz: Any) -> int | list[int]:
    """Return an input size with each side rounded up to a multiple of the stride, 32; 640 where none is known."""
    sides = imgsz if isinstance(imgsz, list | tuple) else [imgsz or 640]
    rounded = [max(1, math.ceil(side / 32)) * 32 for side in sides]
    return rounded if len(rounded) > 1 else rounded[0]
