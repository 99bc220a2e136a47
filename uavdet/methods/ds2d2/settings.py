"""The settings of `ds2d2`, and which of them go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from uavdet.errors import UsageError
from uavdet.methods.base import MethodArgs
from uavdet.methods.ds2d2.wavelet import Padding
from uavdet.methods.schedules import Schedule, Weight

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan


class DS2D2Args(MethodArgs):
    """Settings of `ds2d2`.

    The defaults depart from the paper's code, and why:

    * `align=True normalise=True`: raw squared distances follow the scale of a detector's features, so the paper's
      weights differ by 5e4 between its two detectors and fit no third. Here the student's maps get the teacher's mean
      and spread, channel by channel, as in CrossKD, from which the implicit branch comes; and differences are
      measured in the teacher's spread. Together that is PKD's distance, which is bounded, so that one set of weights
      fits DETRs and YOLOs, and it asks for no scale that the student's own head would have to follow. With
      `align=False normalise=False` the terms are the paper's; its weights are in cfg/recipes/ds2d2-paper.yaml.
    * `padding=replicate`: zeros make an edge at the border of maps of odd size. `padding=zero` is the paper's.
    * `decoder=True`: the paper has no detector with a decoder; the dense part alone is what it does with RetinaNet.
    * The adapter stands before both branches, in the paper's code before the explicit one alone.
    """

    stage: Literal["student", "amplifier"] = Field(
        "student", description="student: distil; amplifier: train the high-frequency amplifier of model=TEACHER.pt"
    )
    teacher: str | None = Field(None, description="checkpoint of the teacher, of any kind, with the student's classes")
    imgsz: int | None = Field(None, description="side of the teacher's square input in pixels; the student's if unset")
    amplifier: str | None = Field(
        None, description="checkpoint of the teacher's high-frequency amplifier; without it there is no such term"
    )
    wavelet: str = Field("haar", description="wavelet basis: haar, or a discrete one of PyWavelets (db2, sym4, ...)")
    padding: Padding = Field("replicate", description="how maps of odd size go on: replicate, or zero as in the paper")
    gamma: float = Field(1.0, ge=0, allow_inf_nan=False, description="what an object adds to the weights of its cells")
    low: Weight = Field(Schedule(0.1), description="weight of the explicit loss of the low band")
    high: Weight = Field(Schedule(0.1), description="weight of the explicit loss of the high bands")
    full: Weight = Field(Schedule(1.0), description="weight of the implicit loss through the teacher's head")
    amplified: Weight = Field(Schedule(0.5), description="weight of the implicit loss through the amplifier")
    dense: bool = Field(True, description="implicit losses compare every cell, by a DETR's encoder head or a YOLO's")
    decoder: bool = Field(
        True, description="implicit losses also compare the decoder's predictions, with a DETR teacher"
    )
    align: bool = Field(True, description="give the student's maps the teacher's mean and spread before comparing")
    normalise: bool = Field(True, description="divide explicit differences by the spread of the teacher's channels")

    @property
    def explicit(self) -> bool:
        """Whether the explicit branch ever acts."""
        return self.low.weight > 0 or self.high.weight > 0

    @property
    def implicit(self) -> bool:
        """Whether the implicit branch ever acts."""
        return self.full.weight > 0 or (self.amplifier is not None and self.amplified.weight > 0)


def check_settings(args: DS2D2Args, plan: TrainingPlan) -> None:
    """Refuse settings of the student's stage that contradict each other or do nothing.

    Raises:
        UsageError: The message names the setting.
    """
    given = args.model_fields_set
    if not args.teacher:
        raise UsageError("ds2d2 needs a teacher. Give the checkpoint of a detector: ds2d2.teacher=best.pt.")
    if "amplified" in given and args.amplifier is None and args.amplified.weight > 0:
        raise UsageError("ds2d2.amplified has no effect without an amplifier. Give ds2d2.amplifier=best.pt.")
    if not args.explicit and not args.implicit:
        raise UsageError("ds2d2 has no term that acts: low, high, full and amplified are 0. Give one of them a weight.")
    if args.implicit and not (args.dense or args.decoder):
        raise UsageError(
            "ds2d2.dense=False ds2d2.decoder=False leaves nothing of the implicit terms. "
            "Switch them off by their weights: ds2d2.full=0 ds2d2.amplified=0."
        )
    if args.imgsz is None:
        return
    for option in ("multi_scale", "rect"):
        if plan.options[option]:
            raise UsageError(
                f"ds2d2.imgsz={args.imgsz} holds the teacher's image size while {option}={plan.options[option]} "
                f"changes the student's. Drop one of the two."
            )
