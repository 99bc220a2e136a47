"""Starts a model from weights of other origin: a file, or a timm model for the backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from uavdet.engine.checkpoint import load_weights, read_checkpoint, read_plain_weights
from uavdet.engine.families import backbone_rows, row_names
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
        CheckpointError: The weights cannot be read or fetched, or do not fit.
    """
    path = Path(source).expanduser()
    if path.suffix not in _WEIGHT_SUFFIXES and not path.exists():
        return load_backbone_weights(_named_backbone(model, source), source)
    weights = read_plain_weights(path)
    if not any(key.startswith(_ROW_PREFIX) for key in weights):
        return load_backbone_weights(_named_backbone(model, source), path)
    names = None
    if path.suffix in {".pt", ".safetensors"}:
        names = _names_of(path)
    return load_weights(model, weights, names, partial=partial)


def _names_of(path: Path) -> dict[int, str] | None:
    try:
        return read_checkpoint(path).meta["names"]
    except CheckpointError:
        return None  # a plain state dict knows no class names


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
