"""High-frequency amplifiers as files: the checkpoint of a network whose head was trained on high frequencies.

Such a checkpoint says so in its YAML, `amplifier: {wavelet: haar, padding: replicate}`, as its weights alone look like
those of any detector. It is none: on images it finds nothing of use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.families import row_names
from uavdet.engine.loading import load_model
from uavdet.errors import CheckpointError, UsageError
from uavdet.methods.ds2d2.wavelet import Wavelet
from uavdet.methods.outputs import class_order
from uavdet.methods.teacher import Teacher

_SAME = 0.01  # half precision and a moving average move frozen weights by less


def mark_amplifier(model: Any, wavelet: Wavelet) -> None:
    """Make the checkpoints of a model say that it is an amplifier."""
    model.yaml["amplifier"] = {"wavelet": wavelet.name, "padding": wavelet.padding}


def trained_rows(model: Any) -> tuple[str, ...]:
    """Return the prefix of the head's tensors, and of those within it that stand before the amplifier's input."""
    head = f"model.{row_names(model)[-1]}."
    return head, f"{head}input_proj."


def load_amplifier(file: str, teacher: Teacher, wavelet: Wavelet) -> nn.Module:
    """Return the head of an amplifier, frozen, in evaluation mode, float32.

    Args:
        file: A checkpoint that `ds2d2.stage=amplifier` has written.
        teacher: The teacher whose features it reads.
        wavelet: The basis that the run uses.

    Raises:
        CheckpointError: The file cannot be read, is no amplifier, is one of another wavelet or of another teacher,
            or holds weights that are not finite.
    """
    if Path(file).suffix not in {".pt", ".safetensors"}:
        raise CheckpointError(f"ds2d2.amplifier={file} is no checkpoint. Give a .pt or .safetensors file of uavdet.")
    written = read_checkpoint(file).meta["yaml"].get("amplifier")
    train = f"uavdet train model={teacher.file} methods=ds2d2 ds2d2.stage=amplifier ds2d2.wavelet={wavelet.name}"
    if not isinstance(written, dict):
        raise CheckpointError(f"ds2d2.amplifier={file} is no amplifier. Train one: {train} data=YAML.")
    for key, wanted in (("wavelet", wavelet.name), ("padding", wavelet.padding)):
        if written.get(key) != wanted:
            raise CheckpointError(
                f"ds2d2.amplifier={file} was trained with {key} {written.get(key)}; the run has {wanted}. "
                f"Give ds2d2.{key}={written.get(key)}, or train another one: {train} data=YAML."
            )
    model, _ = load_model(file, amplifier=True)
    _check_teacher(file, model, teacher, train)
    return model.eval().requires_grad_(False).model[-1]  # type: ignore[index,return-value]


def _check_teacher(file: str, model: Any, teacher: Teacher, train: str) -> None:
    """Refuse an amplifier of another network: what stands before its head must be the teacher's, weight by weight."""
    own, known = model.state_dict(), teacher.model.state_dict()
    different = [name for name, value in own.items() if name not in known or known[name].shape != value.shape]
    if not different and len(own) == len(known):
        head, before = trained_rows(model)
        frozen = [name for name in own if not name.startswith(head) or name.startswith(before)]
        different = [name for name in frozen if not _same(own[name], known[name])]
    elif not different:
        different = [name for name in known if name not in own]
    if different:
        raise CheckpointError(
            f"ds2d2.amplifier={file} belongs to another teacher than {teacher.file}: '{different[0]}' differs. "
            f"Train the one of this teacher: {train} data=YAML."
        )


def _same(first: Tensor, second: Tensor) -> bool:
    first, second = first.double().cpu(), second.double().cpu()
    return bool((first - second).norm() <= _SAME * second.norm() + 1e-6)


def check_classes(start: dict[int, str], data: dict[int, str], model: str, dataset: Any) -> None:
    """Refuse to train an amplifier on other classes than its teacher's.

    Raises:
        UsageError: The names differ.
    """
    try:
        class_order(start, data)
    except ValueError:
        raise UsageError(
            f"model={model} has the classes {', '.join(start.values())}; {dataset} has {', '.join(data.values())}. "
            "An amplifier is trained on the classes of its teacher."
        ) from None
