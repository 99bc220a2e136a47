"""Trained smoothing blocks as a file beside the weights, for looking at what they learned.

The checkpoints of a run hold the plain model, as the blocks are part of training alone. `background_smoothing.pt`
keeps them for `uavdet analyze smoothing`: tensors and a plain dict, never a program.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from uavdet.engine.atomic import write_atomically
from uavdet.engine.checkpoint import versions
from uavdet.errors import CheckpointError
from uavdet.methods.spectral_enhancement.foreground import Mask
from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing

FILE_NAME = "background_smoothing.pt"
_FORMAT, _SCHEMA = "uavdet background smoothing", 1
_SETTINGS = {"channels": int, "stride": int, "reduction": int, "kernel": str, "final_relu": bool}


def save_blocks(path: str | Path, blocks: Mapping[int, BackgroundSmoothing], mask: Mask = "overlap") -> Path:
    """Write blocks, atomically.

    Args:
        path: The file.
        blocks: By the place of their level among the inputs of the head.
        mask: How they were told the foreground; see `foreground_cells`.
    """
    path = Path(path)
    weights = {
        f"{level}.{name}": value.detach().float().cpu().contiguous()
        for level, block in blocks.items()
        for name, value in block.state_dict().items()
    }
    meta = {
        "schema": _SCHEMA,
        "versions": versions(),
        "mask": mask,
        "levels": {int(level): {name: getattr(block, name) for name in _SETTINGS} for level, block in blocks.items()},
    }
    content = {"format": _FORMAT, "meta": meta, "weights": weights}
    write_atomically(path, lambda temporary: torch.save(content, temporary))
    return path


def load_blocks(path: str | Path) -> tuple[dict[int, BackgroundSmoothing], Mask]:
    """Return the blocks of a file by the place of their level, frozen, in evaluation mode; and their mask.

    Raises:
        CheckpointError: The file is missing, damaged, no such file, or holds weights that are not finite.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"'{path}' does not exist. Give the {FILE_NAME} of a run with methods=set.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"'{path}' is damaged or holds no smoothing blocks ({type(error).__name__}). {_USE}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"'{path}' holds no smoothing blocks. {_USE}")
    try:
        meta = content["meta"]
        if meta["mask"] not in get_args(Mask):
            raise ValueError("an unknown mask")
        return _build_blocks(meta["levels"], content["weights"]), meta["mask"]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"'{path}' does not hold what it describes ({type(error).__name__}). {_USE}") from error


_USE = f"Give the {FILE_NAME} that a run with methods=set has written beside its weights."


def _build_blocks(
    levels: Mapping[int, dict[str, Any]], weights: Mapping[str, torch.Tensor]
) -> dict[int, BackgroundSmoothing]:
    blocks = {}
    for level, settings in levels.items():
        block = BackgroundSmoothing(**{name: kind(settings[name]) for name, kind in _SETTINGS.items()})
        prefix = f"{level}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if not all(bool(torch.isfinite(value).all()) for value in own.values()):
            raise ValueError("weights that are not finite")
        block.load_state_dict(own)
        blocks[int(level)] = block.eval().requires_grad_(False)
    return blocks
