"""`set`: the head learns from smoothed backgrounds and perturbed features as well (SET, CVPR 2025, pp. 4713-4723).

    P_i^aux = HBS_i(P_i) + eps_i
    L       = L_det(P) + lambda L_det(P^aux)                                                                 (Eq. 9)

P_i are the maps that enter the head. The second loss is that of an auxiliary pass: one more run of the same head,
whose objects are matched again. Its gradients reach the head, the neck and the backbone, and the smoothing blocks.
The main pass sees P_i as they are: where objects lie is known to the auxiliary pass alone, which is gone after
training, and so are the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from uavdet.errors import UsageError
from uavdet.losses.ignore import ignored_cells, regions_of_batch
from uavdet.methods.base import TrainingMethod
from uavdet.methods.features import FeatureRecorder, look_at_empty_image
from uavdet.methods.spectral_enhancement.auxiliary import auxiliary_terms, branch_losses, branch_names
from uavdet.methods.spectral_enhancement.blocks_file import FILE_NAME, save_blocks
from uavdet.methods.spectral_enhancement.foreground import foreground_cells
from uavdet.methods.spectral_enhancement.perturbation import adversarial_perturbation
from uavdet.methods.spectral_enhancement.settings import SETArgs, check_settings
from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing
from uavdet.nn.background import marked_levels, remove_markers

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks
    from uavdet.methods.teacher import TeacherPool

_EXTRA = "background_smoothing"


class SpectralEnhancement(TrainingMethod):
    """Background smoothing and adversarial perturbation, in an auxiliary pass through the head of any detector.

    Ignored regions are neither foreground nor background: smoothing leaves them as they are.
    """

    name = "set"
    Args = SETArgs
    args: SETArgs
    _blocks: nn.ModuleDict | None = None
    _features: FeatureRecorder
    _trainer: Any

    def __init__(self, args: SETArgs) -> None:
        super().__init__(args)
        self.weight, self.gamma = args.weight.weight, args.gamma.weight
        self.perturbing = args.perturbation

    def check(self, plan: TrainingPlan, teachers: TeacherPool) -> None:
        """Refuse settings that contradict each other or do nothing; see `check_settings`."""
        check_settings(self.args, plan)

    def prepare(self, trainer: TrainerHooks) -> None:
        """Make the smoothing blocks of the levels, those that the model marks or all."""
        self._trainer, self._features = trainer, trainer.student_features()
        if self.args.smoothing:
            self._blocks = trainer.student_extras[_EXTRA] = self._make_blocks(trainer.model, int(trainer.args.imgsz))

    def _make_blocks(self, model: nn.Module, side: int) -> nn.ModuleDict:
        """Return the blocks by the place of their level among the head's inputs.

        Raises:
            UsageError: A level has no stride, or a setting does not fit it.
        """
        look_at_empty_image(model, side)
        levels, args = self._features.head_inputs, self.args
        marked = marked_levels(model)
        blocks = nn.ModuleDict()
        for place in range(len(levels)) if marked is None else marked:
            channels, cells = levels[place].shape[1:3]
            try:
                blocks[str(place)] = BackgroundSmoothing(
                    channels, side / cells, args.reduction, args.kernel, args.final_relu
                )
            except ValueError as error:
                raise UsageError(
                    f"set cannot smooth level {place} of this model, {cells} cells for {side} pixels: {error}. "
                    "Change that, or give set.smoothing=False."
                ) from error
        return blocks

    # While training --------------------------------------------------------------------------------------------------

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Set the weights of the epoch, and whether it perturbs."""
        self.weight, self.gamma = self.args.weight.at(epoch, epochs), self.args.gamma.at(epoch, epochs)
        self.perturbing = self.args.perturbation and epoch >= self._first_perturbed(epochs)

    def _first_perturbed(self, epochs: int) -> int:
        """Return the first epoch of the perturbation: as given, else the first after the warm-up, or the last."""
        if self.args.start_epoch is not None:
            return self.args.start_epoch
        batches = len(self._trainer.train_loader)
        return min(math.ceil(self._trainer._get_warmup_iterations(batches) / batches), epochs - 1)

    def losses(self, model: nn.Module, batch: Mapping[str, Any], outputs: Any) -> dict[str, Tensor]:
        """Return the weighted losses of the auxiliary pass, a branch each, and of the features' size where asked for.

        Raises:
            UsageError: All that lies before the head is frozen, so that there is nothing to perturb.
        """
        columns = [f"set_{name}_loss" for name in branch_names(model)]
        size = ["set_norm_loss"] if self.args.gamma.weight else []
        if outputs is None:  # another method trains something else first
            return {name: batch["img"].new_zeros(()) for name in (*columns, *size)}
        terms: Mapping[str, Tensor] = model.loss_terms  # type: ignore[assignment]
        zero = torch.stack([term.float() for term in terms.values()]).sum() * 0.0
        losses = dict.fromkeys((*columns, *size), zero)
        if self.args.perturbation:
            _refuse_frozen(self._features.head_inputs)
        if self.weight and (self.args.smoothing or self.perturbing):
            auxiliary = self._auxiliary_losses(model, batch)
            losses |= {name: self.weight * loss for name, loss in zip(columns, auxiliary.values(), strict=True)}
        if self.gamma:
            losses["set_norm_loss"] = self.gamma * mean_square(self._features.head_inputs)
        return losses

    def _auxiliary_losses(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        maps = self._features.head_inputs
        changed = self._smooth(maps, batch) if self.args.smoothing else maps
        if self.perturbing:
            # The sum is rounded to the precision of the features, as autocast would do at the head's first layer.
            # bfloat16 keeps 96 to 98 % of the perturbation (so-detr-n on thermal images, 640 and 320 pixels; 89 % of a
            # quarter of it): most of it lies in few cells, and small features have fine steps. The losses rise as in
            # float32, within the noise; a first layer in float32 or random rounding changes nothing.
            pairs = zip(changed, self._perturbation(model, maps), strict=True)
            changed = [(level + step).to(level.dtype) for level, step in pairs]  # the step is float32, and so the sum
        terms = auxiliary_terms(model, self._features, changed, batch, denoising=self.args.aux_denoising)
        return branch_losses(model, terms)

    def _smooth(self, maps: list[Tensor], batch: Mapping[str, Any]) -> list[Tensor]:
        """Return the levels with their backgrounds smoothed; unmarked levels as they are."""
        assert self._blocks is not None  # `prepare` has made them
        image, regions = batch["img"], regions_of_batch(dict(batch))
        boxes, index = batch["bboxes"].to(image.device), batch["batch_idx"].to(image.device).view(-1)
        size = (image.shape[3], image.shape[2])
        smoothed = list(maps)
        for place, block in self._blocks.items():
            level = maps[int(place)]
            shape = (level.shape[2], level.shape[3])
            kept = foreground_cells(boxes, index, len(image), shape, self.args.mask, size)
            ignored = ignored_cells(shape, regions)
            smoothed[int(place)] = block(level, kept if ignored is None else kept | ignored)
        return smoothed

    def _perturbation(self, model: nn.Module, maps: list[Tensor]) -> list[Tensor]:
        """Return the perturbation of each level, at the features of the main pass, unsmoothed as in the code."""
        branches = list(branch_losses(model, model.loss_terms, self.args.terms).values())  # type: ignore[arg-type]
        if self.args.branches == "merged":
            branches = [torch.stack(branches).sum()]
        scaler = getattr(self._trainer, "scaler", None)  # made after `prepare`; it scales under fp16 alone
        scale = 1.0 if scaler is None else scaler.get_scale()
        return adversarial_perturbation(branches, maps, self.args.rho, self.args.norm, scale)

    # After training --------------------------------------------------------------------------------------------------

    def strip(self, model: nn.Module) -> None:
        """Take the markers off the model, and write the blocks beside its weights, for looking at what they do."""
        remove_markers(model)
        if self._blocks is not None:
            blocks: Any = {int(place): block for place, block in self._blocks.items()}
            save_blocks(self._trainer.wdir / FILE_NAME, blocks, self.args.mask)


def _refuse_frozen(maps: list[Tensor]) -> None:
    """Refuse levels without a gradient in the first step, and not only when the perturbation begins."""
    if not all(level.requires_grad for level in maps):
        raise UsageError(
            "set.perturbation=True has no gradient to follow: all rows before a level of the head are frozen. "
            "Freeze fewer rows, or give set.perturbation=False."
        )


def mean_square(maps: list[Tensor]) -> Tensor:
    """Return the mean square of the features, averaged over the levels: Eq. 5's ||P||^2 at any size of image."""
    return torch.stack([level.float().square().mean() for level in maps]).mean()
