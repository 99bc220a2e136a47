"""Starts a model from weights of other origin: a file, or a timm model for the backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from uavdet.engine.checkpoint import Checkpoint, read_checkpoint, read_plain_weights
from uavdet.engine.families import backbone_rows, row_names
from uavdet.engine.loading import load_weights, refuse_amplifier
from uavdet.engine.timm_weights import load_backbone_weights
from uavdet.errors import CheckpointError
from uavdet.nn.detector import Detector

_WEIGHT_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors"}
_ROW_PREFIX = "model."  # every detector's tensors are called so, and no timm model's


def load_pretrained(model: nn.Module, source: str, *, partial: bool = False) -> Any:
    """Load weights into a model.

    Args:
        model: The model to fill.
        source: A checkpoint of ours or a plain state dict of this architecture; a file with a timm state dict, which
            fills the backbone; or the name of a timm model, fetched by timm because it was named.
        partial: Accept weights that fill only a part of the model.

    Returns:
        A report that prints how many tensors were loaded.

    Raises:
        CheckpointError: The weights cannot be read or fetched, do not fit, or are an amplifier's.
    """
    path = Path(source).expanduser()
    if path.suffix not in _WEIGHT_SUFFIXES and not path.exists():
        return load_backbone_weights(_named_backbone(model, source), source)
    weights = read_plain_weights(path)
    if not any(key.startswith(_ROW_PREFIX) for key in weights):
        return load_backbone_weights(_named_backbone(model, source), path)
    checkpoint = _checkpoint_of(path) if path.suffix in {".pt", ".safetensors"} else None
    if checkpoint is None:
        return load_weights(model, weights, partial=partial)  # a plain state dict knows no class names
    refuse_amplifier(path, checkpoint)
    return load_weights(model, weights, checkpoint.meta["names"], partial=partial)


def _checkpoint_of(path: Path) -> Checkpoint | None:
    try:
        return read_checkpoint(path)
    except CheckpointError:
        return None


def _named_backbone(model: nn.Module, source: str) -> dict[str, nn.Module]:
    """Return the backbone's rows by name.

    Raises:
        CheckpointError: The model is a stock one, whose rows have no names.
    """
    if not isinstance(model, Detector):
        raise CheckpointError(
            f"pretrained={source} fills the backbones of this project's models only. Give a checkpoint of this "
            "architecture instead."
        )
    return dict(zip(row_names(model), backbone_rows(model), strict=False))
