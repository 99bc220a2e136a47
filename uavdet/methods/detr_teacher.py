"""What methods with a DETR student and a DETR teacher share: settings, checks, decoder layers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from uavdet.engine.families import Family
from uavdet.errors import UsageError
from uavdet.methods.base import MethodArgs
from uavdet.methods.outputs import is_detr
from uavdet.methods.teacher import check_teacher_size

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.methods.teacher import Teacher, TeacherPool

Layers = Literal["last", "all"]
"""Which decoder layers of a student learn: the last one, or all that have a counterpart in the teacher."""


class DETRTeacherArgs(MethodArgs):
    """Settings that name the teacher."""

    teacher: str | None = Field(None, description="checkpoint of the teacher, a DETR with the student's classes")
    imgsz: int | None = Field(None, description="side of the teacher's square input in pixels; the student's if unset")


def check_detr_teacher(name: str, args: DETRTeacherArgs, plan: TrainingPlan, teachers: TeacherPool) -> Teacher:
    """Return the teacher of a run, after checking that it is a DETR, and the student too.

    Args:
        name: The method's name, for messages.
        args: Its settings.
        plan: The run.
        teachers: Its teachers.

    Raises:
        UsageError: No teacher was given, its size is not usable, its classes differ, or one of the two is a YOLO.
        CheckpointError: The teacher's file cannot be used.
    """
    if plan.family is Family.STOCK_YOLO:
        raise UsageError(
            f"{name} compares decoder queries, which a YOLO has not. Give a DETR as the student: model=so-detr-n.yaml."
        )
    if not args.teacher:
        raise UsageError(f"{name} needs a teacher. Give the checkpoint of a DETR: {name}.teacher=best.pt.")
    teacher = teachers.get(args.teacher, args.imgsz)
    check_teacher_size(name, teacher, plan.options["imgsz"])
    if not is_detr(teacher.model):
        raise UsageError(
            f"{name}.teacher={args.teacher} is a YOLO, which has no decoder queries. Give the checkpoint of a DETR."
        )
    return teacher


def aligned_layers(student: int, teacher: int, layers: Layers) -> list[tuple[int, int]]:
    """Return which decoder layer of the student learns from which of the teacher, counted from the end.

    The last layers are what both networks answer, so decoders of different depth are laid end to end: the last learns
    from the last, the one before from the one before, as far as the shorter decoder reaches.

    Args:
        student: Its number of decoder layers.
        teacher: Its number of decoder layers.
        layers: 'last' or 'all'.

    Returns:
        Pairs of negative indices, the last layers first.
    """
    depth = min(student, teacher) if layers == "all" else 1
    return [(-layer, -layer) for layer in range(1, depth + 1)]
