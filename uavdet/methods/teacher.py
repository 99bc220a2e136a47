"""Teachers: frozen detectors that show a student what to predict.

A teacher is no part of the student: not of its parameters, its optimizer, its moving average, its checkpoints or its
distributed wrapper. Methods of one run that name the same file at the same size share one, which runs once a step.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uavdet.assets import find_weights
from uavdet.engine.loading import load_model
from uavdet.errors import CheckpointError, UsageError
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.outputs import DETROutputs, class_order, decode_all_layers, is_detr
from uavdet.nn.thumbnail import input_stride


class Teacher:
    """A frozen detector.

    Args:
        file: Its checkpoint, or the name of bundled weights.
        names: The student's classes; the teacher's are put in their order.
        imgsz: Side of its square input in pixels, or None for the student's.

    Attributes:
        model: The network: in evaluation mode, its weights in float32, without gradients. It computes in the precision
            of the training step that asks.
        features: The feature maps of the last pass.
        outputs: The predictions of the last pass, with the student's order of classes; None for a YOLO.

    Raises:
        CheckpointError: The file cannot be read, is fused or exported, or holds weights that are not finite.
        UsageError: Its classes are not the student's.
    """

    def __init__(self, file: str | Path, names: Mapping[int, str], imgsz: int | None = None) -> None:
        self.file, self.imgsz = find_weights(str(file)), imgsz
        self.model = _load(self.file)
        try:
            self._order = class_order(dict(self.model.names), dict(names))  # type: ignore[arg-type]
        except ValueError:
            raise UsageError(
                f"teacher={self.file} has the classes {_listed(self.model.names)}; the student has "  # type: ignore[arg-type]
                f"{_listed(names)}. A teacher knows the same classes by name, in any order."
            ) from None
        self.model.eval().requires_grad_(False)
        self.features = FeatureRecorder(self.model)
        if is_detr(self.model):
            head: Any = self.model.model[-1]  # type: ignore[index]
            head.forward = functools.partial(decode_all_layers, head)
        self.outputs: DETROutputs | None = None
        self._images: Tensor | None = None

    def see(self, batch: Mapping[str, Any]) -> Teacher:
        """Look at a batch's images, unless they are those of the last look, and return itself.

        Args:
            batch: `img` (B, 3, H, W) in [0, 1].
        """
        images = batch["img"]
        if images is not self._images:
            self.model.to(images.device)
            with torch.no_grad():
                outputs: Any = self.model.predict(self._resize(images))  # type: ignore[operator]
            self._images = images
            self.outputs = self.in_student_order(outputs) if isinstance(outputs, DETROutputs) else None
        return self

    def in_student_order(self, outputs: DETROutputs) -> DETROutputs:
        """Return predictions of the teacher's head with the classes in the student's order."""
        return outputs.with_classes(None if self._order is None else self._order.to(outputs.logits.device))

    def _resize(self, images: Tensor) -> Tensor:
        side = self.imgsz
        if side is None or tuple(images.shape[2:]) == (side, side):
            return images
        return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


class TeacherPool:
    """The teachers of a run, one for each file and image size.

    Args:
        names: The student's classes.
        imgsz: Side of the student's square images in pixels; None where it changes from step to step. A teacher that
            is given this size is that without a size of its own.
    """

    def __init__(self, names: Mapping[int, str], imgsz: int | None = None) -> None:
        self.names, self.imgsz = dict(names), imgsz
        self._teachers: dict[tuple[str, int | None], Teacher] = {}

    def get(self, file: str | Path, imgsz: int | None = None) -> Teacher:
        """Return the teacher of a file, loaded on its first request; see `Teacher`."""
        imgsz = None if imgsz == self.imgsz else imgsz
        key = (str(Path(file).expanduser().resolve()), imgsz)
        if key not in self._teachers:
            self._teachers[key] = Teacher(file, self.names, imgsz)
        return self._teachers[key]

    def __len__(self) -> int:
        return len(self._teachers)


def check_teacher_size(name: str, teacher: Teacher, imgsz: int) -> None:
    """Refuse a size of images that a teacher cannot take.

    Args:
        name: Name of the method, for messages.
        teacher: The teacher.
        imgsz: Side of the student's square input in pixels, which a teacher without a size of its own sees.

    Raises:
        UsageError: The size is no multiple of what the teacher's network asks for, more where it has a thumbnail.
    """
    from uavdet.engine.plan import check_imgsz  # the plan imports the methods

    try:
        check_imgsz(imgsz if teacher.imgsz is None else teacher.imgsz, stride=input_stride(teacher.model.yaml))  # type: ignore[arg-type]
    except UsageError as error:
        whose = "" if teacher.imgsz is not None else f"{name}.teacher={teacher.file} cannot see the student's images. "
        raise UsageError(f"{whose}{name}.{error}") from None


def _load(file: str) -> nn.Module:
    if Path(file).suffix not in {".pt", ".safetensors"}:
        raise CheckpointError(f"teacher={file} is no checkpoint. Give a .pt or .safetensors file of uavdet.")
    if not Path(file).expanduser().is_file():
        raise CheckpointError(f"teacher={file} does not exist. Give a .pt or .safetensors file of uavdet.")
    return load_model(file)[0]


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(name for _, name in sorted(names.items()))
