"""The stage that trains a high-frequency amplifier: a teacher's head learns to detect in high frequencies alone.

Everything before the head is frozen, its batch normalisation too. The head starts from the teacher's weights and
learns by the model's ordinary loss, denoising queries included. A DETR's input projection counts as frozen: as the
high-frequency map of a constant is zero, taking it before the projection or after it is the same up to a shift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from uavdet.engine.families import row_names
from uavdet.errors import UsageError
from uavdet.methods.ds2d2.amplifier_file import check_classes, mark_amplifier
from uavdet.methods.ds2d2.wavelet import Wavelet
from uavdet.methods.outputs import is_detr

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks

_SETTINGS = {"stage", "wavelet", "padding"}


class HighPass:
    """A hook that puts high-frequency maps in the place of maps.

    Copies of the model keep it, so that validating the moving average sees what the head was trained on.
    """

    def __init__(self, wavelet: Wavelet) -> None:
        self.wavelet = wavelet

    def of_output(self, module: nn.Module, given: Any, maps: Tensor) -> Tensor:
        """Replace what a row returns: for the projections of a DETR."""
        return self.wavelet.high_frequency(maps)

    def of_inputs(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Replace the maps that enter a head: for YOLOs."""
        maps, *rest = given
        return [self.wavelet.high_frequency(level) for level in maps], *rest


def check_stage(plan: TrainingPlan, given: set[str]) -> None:
    """Refuse a run that cannot train an amplifier.

    Args:
        plan: The run.
        given: The settings of the method that were given.

    Raises:
        UsageError: It starts from no weights or from ones of other classes, has other methods or frozen rows of its
            own, or was given settings of the student's stage.
    """
    options = plan.options
    useless = sorted(given - _SETTINGS)
    if useless:
        raise UsageError(
            f"ds2d2.{useless[0]} has no effect with ds2d2.stage=amplifier: the model itself is the teacher. "
            "Leave it out; ds2d2.wavelet and ds2d2.padding apply."
        )
    if len(plan.methods) > 1:
        names = ", ".join(method.name for method in plan.methods if method.name != "ds2d2")
        raise UsageError(f"ds2d2.stage=amplifier trains alone, without {names}. Give methods=ds2d2.")
    if options["freeze"] is not None:
        raise UsageError("freeze= has no effect with ds2d2.stage=amplifier, which freezes all but the head. Drop it.")
    if plan.resume is not None:
        return
    if plan.start is None or options["pretrained"] is not True:
        raise UsageError(
            f"ds2d2.stage=amplifier starts from a teacher, and model={options['model']} pretrained="
            f"{options['pretrained']} is none. Give its checkpoint: model=TEACHER.pt."
        )
    classes = {0: "object"} if options["single_cls"] else dict(plan.data.names)
    check_classes(plan.start.meta["names"], classes, options["model"], plan.data.yaml_file)


def prepare_stage(trainer: TrainerHooks, wavelet: Wavelet) -> None:
    """Freeze all but the head, and let the head see high frequencies alone."""
    model: Any = trainer.model
    *rows, head_name = row_names(model)
    head, high_pass = model.model[-1], HighPass(wavelet)
    if is_detr(model):
        rows.append(f"{head_name}.input_proj")
        for projection in head.input_proj:
            projection.register_forward_hook(high_pass.of_output)
    else:
        head.register_forward_pre_hook(high_pass.of_inputs)
    trainer.args.freeze = rows
    mark_amplifier(model, wavelet)


def hold_normalisation(model: Any) -> None:
    """Keep what is frozen in evaluation mode, so that its batch normalisation does not drift."""
    for row in model.model[:-1]:
        row.eval()
    if is_detr(model):
        model.model[-1].input_proj.eval()
