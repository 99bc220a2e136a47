"""Writes TorchScript files, for programs with LibTorch and no Python."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uavdet.export.metadata import describe_export
from uavdet.export.network import NetworkOptions, example_input, exported_network

METADATA_FILE = "config.txt"  # where Ultralytics' loaders look for it


def write_torchscript(model: nn.Module, file: Path, options: NetworkOptions, meta: dict[str, Any]) -> None:
    """Write a DETR as a traced and frozen TorchScript program, its metadata as JSON inside.

    Args:
        model: The detector; it stays as it is.
        file: The file to write.
        options: What to settle in it.
        meta: The checkpoint's metadata; may be empty.

    Raises:
        UsageError: The model is a YOLO.
    """
    network = exported_network(model, options)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes become constants on purpose
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch calls TorchScript deprecated
        traced = torch.jit.trace(network, example_input(model, options), check_trace=False)
        traced = torch.jit.freeze(traced)
        torch.jit.save(
            traced, str(file), _extra_files={METADATA_FILE: json.dumps(describe_export(model, options, meta))}
        )
