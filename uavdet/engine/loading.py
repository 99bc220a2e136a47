"""Loading weights into models: what a checkpoint's network gets back, and what of it another network can take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from uavdet.engine.checkpoint import Checkpoint, Weights, read_checkpoint
from uavdet.engine.families import build_model, row_names
from uavdet.errors import CheckpointError
from uavdet.nn.detector import Detector, resize_rows
from uavdet.nn.thumbnail import find_thumbnail


@dataclass(frozen=True)
class LoadReport:
    """What came of loading weights into a model.

    Attributes:
        loaded: Tensors of the model that were filled.
        total: Tensors of the model.
        missing: The others, by name.
        unused: Weights without a place in the model.
        thumbnail: Of the missing ones, those of a thumbnail, which the weights of a plain model do not have.
    """

    loaded: int
    total: int
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    thumbnail: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model was filled."""
        return self.loaded == self.total

    def __str__(self) -> str:
        new = f"; the thumbnail ({len(self.thumbnail)} tensors) is new" if self.thumbnail else ""
        return f"{self.loaded}/{self.total} tensors loaded{new}"


def load_weights(
    model: nn.Module, weights: Weights, names: dict[int, str] | None = None, *, partial: bool = False
) -> LoadReport:
    """Fill a model with weights by name and shape.

    Rows of class tensors are moved by class name where `names` differ from the model's, and learned initial queries
    are cut or repeated to the model's number. The weights of a plain model fill one with a thumbnail: the thumbnail
    alone may stay as it was made.

    Args:
        model: The model to fill.
        weights: Tensors by name.
        names: The class names that `weights` were trained for.
        partial: Accept weights that fill only a part of the model.

    Raises:
        CheckpointError: Some tensors of the model are not filled, and `partial` is off; or a weight is not finite.
    """
    own = model.state_dict()
    weights = _fit_queries(_fit_classes(weights, own, names, getattr(model, "names", None)), own)
    fitting = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    missing = [key for key in own if key not in fitting]
    thumbnail = _thumbnail_keys(model) if not any(key in weights for key in _thumbnail_keys(model)) else []
    unused = [key for key in weights if key not in fitting]
    report = LoadReport(len(fitting), len(own), missing, unused, thumbnail)
    if len(missing) > len(thumbnail) and not partial:
        raise CheckpointError(
            f"The weights do not fit the model: {report}, the first missing is "
            f"'{next(key for key in missing if key not in thumbnail)}'. "
            "Give weights of this architecture, or accept what fits: partial=True."
        )
    if not fitting:
        raise CheckpointError("The weights do not fit the model: not one tensor has a place in it.")
    _refuse_broken("The file", fitting)
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in fitting.items()}, strict=False)
    return report


def _thumbnail_keys(model: nn.Module) -> list[str]:
    """Return the names of a thumbnail's tensors; none where the model has no thumbnail, or one that learns nothing."""
    stem = find_thumbnail(model) if isinstance(model, Detector) else None
    return [] if stem is None else [f"model.{row_names(model)[0]}.{key}" for key in stem.state_dict()]


def _fit_queries(weights: Weights, own: Weights) -> Weights:
    return {
        key: resize_rows(value, len(own[key])) if key.endswith("tgt_embed.weight") and key in own else value
        for key, value in weights.items()
    }


_CLASS_TENSORS = ("enc_score_head.", "dec_score_head.", "denoising_class_embed.")


def _fit_classes(
    weights: Weights, own: Weights, old_names: dict[int, str] | None, new_names: dict[int, str] | None
) -> Weights:
    """Return weights whose class rows stand in the model's order; rows of new classes keep the model's initial values.

    Only the heads of DETRs have tensors with one row a class. Names are compared without case.
    """
    if not old_names or not new_names or old_names == new_names:
        return weights
    position = {name.lower(): index for index, name in old_names.items()}
    pairs = [(new, position[name.lower()]) for new, name in new_names.items() if name.lower() in position]
    if not pairs:
        return weights
    target, source = (torch.tensor(column) for column in zip(*pairs, strict=True))
    fitted = dict(weights)
    for key, value in weights.items():
        if key in own and any(part in key for part in _CLASS_TENSORS) and value.shape[1:] == own[key].shape[1:]:
            fitted[key] = own[key].detach().clone().cpu().to(value.dtype)
            fitted[key][target] = value[source]
    return fitted


def load_model(
    path: str | Path, queries: int | None = None, *, amplifier: bool = False
) -> tuple[nn.Module, Checkpoint]:
    """Return the model of a checkpoint, filled and in float32, and the checkpoint.

    Args:
        path: The file.
        queries: Number of queries of a DETR, in the place of the model's.
        amplifier: Whether it may be an amplifier.

    Raises:
        CheckpointError: The file cannot be read, its weights do not fit its own YAML, or it is no detector.
    """
    checkpoint = read_checkpoint(path)
    if not amplifier:
        refuse_amplifier(path, checkpoint)
    meta = checkpoint.meta
    model = build_model(meta["yaml"], len(meta["names"]), meta["yaml"].get("channels", 3), queries)
    model.names = dict(meta["names"])  # type: ignore[assignment]
    load_all(path, model, checkpoint.weights)
    if isinstance(model, Detector):
        model.nc = len(meta["names"])
    return model.float(), checkpoint


def refuse_amplifier(path: str | Path, checkpoint: Checkpoint) -> None:
    """Refuse to take a high-frequency amplifier (`uavdet.methods.ds2d2`) for a detector.

    Raises:
        CheckpointError: The checkpoint is one.
    """
    if "amplifier" in checkpoint.meta["yaml"]:
        raise CheckpointError(
            f"'{path}' is a high-frequency amplifier, whose head sees no images, and no detector. "
            f"It is a setting of a distillation: methods=ds2d2 ds2d2.amplifier={path}."
        )


def _refuse_broken(whose: str, weights: Weights) -> None:
    """Refuse weights that hold NaN or infinity."""
    broken = [key for key, value in weights.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise CheckpointError(
            f"{whose} holds weights that are not finite, first {broken[0]}, in {len(broken)} of {len(weights)} "
            "tensors: its training broke. Give weights from before that."
        )


def load_all(path: str | Path, model: nn.Module, weights: Weights) -> None:
    """Fill the model that a file describes with the file's own weights.

    Raises:
        CheckpointError: They do not fill it, or are not finite.
    """
    _refuse_broken(f"'{path}'", weights)
    report = load_weights(model, weights, partial=True)
    if not report.complete:
        raise CheckpointError(
            f"'{path}' does not fit the network that its own YAML describes: {report}, the first missing is "
            f"'{report.missing[0]}'. It was pruned, fused or otherwise changed; use another checkpoint."
        )
