"""The settings of `set`, and which of them go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from uavdet.engine.families import Family
from uavdet.errors import UsageError
from uavdet.methods.base import MethodArgs
from uavdet.methods.schedules import Schedule, Weight
from uavdet.methods.spectral_enhancement.foreground import Mask
from uavdet.methods.spectral_enhancement.perturbation import Norm
from uavdet.methods.spectral_enhancement.smoothing import Kernel

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan

Terms = Literal["final", "matching", "all"]
"""Which terms of a DETR's loss perturb: the last layer's; those of all layers and the encoder; denoising too."""

_OF_SMOOTHING = ("mask", "reduction", "kernel", "final_relu")
_OF_PERTURBATION = ("rho", "norm", "branches", "terms", "gamma", "start_epoch")
_OF_DETRS = ("terms", "aux_denoising")


def _as_text(value: Any) -> Any:
    """Return a number as text: YAML reads `kernel: 3` as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class SETArgs(MethodArgs):
    """Settings of `set`. Where the defaults depart from the paper or its released code, and why:

    * `norm=image`: the code divides by the length of the whole batch's gradient, so that the strength of the
      perturbation falls with the batch, and within it goes to the images with the steepest loss. Each image gets here,
      at any batch size, what one got on average in the authors' batches of 2. `norm=batch` is the code's.
    * `mask=overlap`: the code samples one pixel of each cell and loses most tiny objects at strides 16 and 32, which it
      then smooths away. `mask=nearest` is the code's.
    * `final_relu=False` is the released code's; Eq. 3 has a ReLU there.
    * `gamma=0`: the paper gives no value, and the code has no such term.
    * `start_epoch`: the code perturbs from the first step. A DETR's box heads start at zero: they have no gradient in
      the first step, and in the next ones a direction that is noise, brought to full length. The perturbation, which
      alone this delays, begins with the first epoch after the learning rate's warm-up. Smoothing needs no trained
      head and begins at once; a start of the whole auxiliary loss is one of its weight: set.weight=1:constant:5.
    * `terms=matching` and `aux_denoising=False`: the paper ran DINO and says nothing of either. Denoising queries have
      random boxes around the objects, which say more of the noise than of the features, and the auxiliary pass would
      draw other ones than the main pass, and train on twice as many.
    * `branches=separate` is the paper's. It costs a gradient a branch, most of what the method costs: a step of
      so-detr-r18 at 640 takes 1.5 times the time of a plain one. With `branches=merged` the sum of the losses counts as
      one branch, M = 1: 1.35 times, without the balance between branches (benchmarks/training_overhead.py).
    * The head's batch normalisation learns its statistics in the main pass alone (the paper's head has none).
    """

    smoothing: bool = Field(True, description="smooth the background (HBS, Eq. 2 to 4); the paper's SET has both")
    perturbation: bool = Field(True, description="perturb what the head reads (API, Eq. 5 to 8)")
    weight: Weight = Field(
        Schedule(1.0), description="lambda, weight of the whole auxiliary loss (Eq. 9); 1 is the paper's best"
    )
    rho: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="length of each branch's step (Eq. 6), for a batch of 2; the paper's, which tried 0 to 5",
    )
    norm: Norm = Field(
        "image", description="what a step's length is taken over (Eq. 6): each image, or the batch as in the code"
    )
    branches: Literal["separate", "merged"] = Field(
        "separate",
        description="one step up each branch's loss, and their mean (Eq. 8); or merged: one step up the sum, cheaper",
    )
    terms: Terms = Field(
        "matching",
        description="terms of a DETR's loss that perturb (Eq. 8): final layer, all layers and the encoder (matching), "
        "or all with denoising",
    )
    gamma: Weight = Field(
        Schedule(0.0), description="weight of the features' mean square (Eq. 5), averaged over the levels; none in code"
    )
    start_epoch: int | None = Field(
        None,
        ge=0,
        description="first epoch of the perturbation, from 0 (the code's); if unset, the first after the warm-up",
    )
    mask: Mask = Field(
        "overlap", description="which cells are foreground (Eq. 1): all that a box reaches into, or nearest as in code"
    )
    reduction: int = Field(4, ge=1, description="r, the smoothing's channels over its hidden ones (Eq. 3); the paper's")
    kernel: Annotated[Kernel, BeforeValidator(_as_text)] = Field(
        "eq4", description="side of the smoothing kernels: by the stride (Eq. 4), or 3, 5, 7, smaller of its ablation"
    )
    final_relu: bool = Field(False, description="a ReLU behind the second convolution, as in Eq. 3 but not in the code")
    aux_denoising: bool = Field(
        False, description="a DETR's auxiliary pass has denoising queries, drawn anew; the paper says nothing of them"
    )


def check_settings(args: SETArgs, plan: TrainingPlan) -> None:
    """Refuse settings that contradict each other or do nothing, and runs that the method cannot be part of.

    Raises:
        UsageError: The message names the setting.
    """
    if not args.smoothing and not args.perturbation:
        raise UsageError("set.smoothing=False set.perturbation=False leave nothing of set. Switch one of them on.")
    if not args.weight.weight:
        raise UsageError("set.weight=0 leaves nothing of set. Give a weight above 0, or drop methods=set.")
    _refuse_idle(args, _OF_SMOOTHING, args.smoothing, "set.smoothing=False")
    _refuse_idle(args, _OF_PERTURBATION, args.perturbation, "set.perturbation=False")
    _refuse_idle(args, _OF_DETRS, plan.family is not Family.STOCK_YOLO, "a YOLO, which has one term a branch")
    epochs = plan.options["epochs"]
    if args.start_epoch is not None and args.start_epoch >= epochs and not plan.options["time"]:
        raise UsageError(
            f"set.start_epoch={args.start_epoch} is not below epochs={epochs}: the perturbation would never act. "
            "Give an earlier start, more epochs, or set.perturbation=False."
        )
    end = args.weight.end
    if args.start_epoch is not None and end is not None and args.start_epoch >= end:
        raise UsageError(
            f"set.start_epoch={args.start_epoch} is not below the end of set.weight={args.weight}: the perturbation "
            "would never act. Give an earlier start, a later end, or set.perturbation=False."
        )


def _refuse_idle(args: SETArgs, names: tuple[str, ...], used: bool, where: str) -> None:
    """Refuse settings that do nothing; the default may be given anywhere, as the recipe does for every model."""
    fields = SETArgs.model_fields
    given = [name for name in names if getattr(args, name) != fields[name].default]
    if given and not used:
        raise UsageError(f"set.{given[0]}={getattr(args, given[0])} has no effect with {where}. Drop one of the two.")
