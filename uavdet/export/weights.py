"""Writes the weights alone, without training state, as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from uavdet.engine.checkpoint import Checkpoint, half_weights, safetensors_bytes
from uavdet.export.network import NetworkOptions


def write_weights(model: nn.Module, file: Path, options: NetworkOptions, meta: dict[str, Any]) -> None:
    """Write a model's weights and metadata, from which it can be rebuilt.

    Args:
        model: A detector of any family.
        file: The file to write.
        options: `half` halves the precision of the weights.
        meta: The checkpoint's metadata.
    """
    weights = model.state_dict()
    file.write_bytes(safetensors_bytes(Checkpoint(half_weights(weights) if options.half else weights, meta)))
