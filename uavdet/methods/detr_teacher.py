"""What methods with a DETR student and a DETR teacher share: settings, checks, decoder layers side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from uavdet.engine.families import Family
from uavdet.errors import UsageError
from uavdet.methods.base import MethodArgs
from uavdet.methods.outputs import DETROutputs, is_detr, student_outputs
from uavdet.methods.schedules import Schedule, Weight
from uavdet.methods.teacher import check_teacher_size

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks
    from uavdet.methods.base import TrainingMethod as _TrainingMethod
    from uavdet.methods.teacher import Teacher, TeacherPool
else:
    _TrainingMethod = object

Layers = Literal["last", "all"]
"""Which decoder layers of a student learn: the last one, or all that have a counterpart in the teacher."""


class DETRTeacherArgs(MethodArgs):
    """Settings that name the teacher."""

    teacher: str | None = Field(None, description="checkpoint of the teacher, a DETR with the student's classes")
    imgsz: int | None = Field(None, description="side of the teacher's square input in pixels; the student's if unset")


class ResponseArgs(DETRTeacherArgs):
    """Settings of a method whose loss has a class, an L1 and a box term."""

    weight: Weight = Field(Schedule(1.0), description="weight of the whole loss")
    class_weight: Weight = Field(Schedule(1.0), description="weight of the class term within it")
    l1_weight: Weight = Field(Schedule(5.0), description="weight of the L1 term within it")
    box_weight: Weight = Field(Schedule(2.0), description="weight of the box term within it")


class ResponseTerms(_TrainingMethod):
    """What methods share that teach a decoder's answers by three terms; mixed in before `TrainingMethod`.

    Attributes:
        teacher: The teacher, from `prepare` on.
        weights: Weights of the class, the L1 and the box term in the running epoch.
    """

    args: ResponseArgs
    teacher: Teacher
    weights: list[float]
    columns: ClassVar[tuple[str, str, str]]

    def __init__(self, args: ResponseArgs) -> None:
        super().__init__(args)
        self.epoch_start(0, 1)

    def check(self, plan: TrainingPlan, teachers: TeacherPool) -> None:
        """Refuse a run whose student or teacher is no DETR; see `check_detr_teacher`."""
        check_detr_teacher(self.name, self.args, plan, teachers)

    def prepare(self, trainer: TrainerHooks) -> None:
        """Find the teacher, which the check has loaded."""
        self.teacher = trainer.teachers.get(str(self.args.teacher), self.args.imgsz)

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Set the weights of the epoch."""
        args = self.args
        weight = args.weight.at(epoch, epochs)
        terms = (args.class_weight, args.l1_weight, args.box_weight)
        self.weights = [weight * term.at(epoch, epochs) for term in terms]

    def losses(self, model: nn.Module, batch: Mapping[str, Any], outputs: Any) -> dict[str, Tensor]:
        """Return the weighted class, L1 and box terms."""
        if outputs is None:
            return dict.fromkeys(self.columns, batch["img"].new_zeros(()))
        student = student_outputs(outputs)
        if not any(self.weights):  # the teacher need not look
            return dict.fromkeys(self.columns, student.boxes.float().sum() * 0.0)
        terms = self.terms(model, batch, student)
        return {name: weight * term for name, weight, term in zip(self.columns, self.weights, terms, strict=True)}

    def terms(self, model: nn.Module, batch: Mapping[str, Any], student: DETROutputs) -> Tensor:
        """Return the class, the L1 and the box term, (3,) in float32, normalised and not yet weighted.

        Args:
            model: The student.
            batch: The batch, on the device.
            student: What the student predicts for it.
        """
        raise NotImplementedError  # a mixin, which is no base of its own at run time: methods have their own


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
