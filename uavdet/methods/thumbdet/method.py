"""`thumbdet`: a detector of thumbnails learns from a detector of whole images (Pattern Recognition 138, 109424)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from ultralytics.utils import LOGGER

from uavdet.engine.loading import load_weights
from uavdet.errors import CheckpointError, UsageError
from uavdet.losses.detection import average_over_ranks
from uavdet.losses.ignore import in_ignored_region, regions_of_batch
from uavdet.methods.base import TrainingMethod
from uavdet.methods.detr_teacher import DETRTeacherArgs, check_detr_teacher
from uavdet.methods.features import FeatureRecorder, look_at_empty_image
from uavdet.methods.outputs import DETROutputs, student_outputs
from uavdet.methods.pairing import QueryPairs, pair_by_rank, pair_queries
from uavdet.methods.schedules import Schedule, Weight
from uavdet.methods.soft_targets import DIVERGENCES, Form, check_form, confidence
from uavdet.methods.thumbdet.losses import feature_distance, logit_distance, moment_distance
from uavdet.nn.detector import AuxiliaryLosses
from uavdet.nn.thumbnail import ImageStem, find_thumbnail, is_learned, thumbnail_factor

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks
    from uavdet.methods.teacher import Teacher, TeacherPool

_COLUMNS = ("thumbdet_moments_loss", "thumbdet_logits_loss", "thumbdet_features_loss")
_LEVELS = 3  # C3, C4 and C5
_PROBE_SIDE = 64  # pixels behind the thumbnail
_STAGE, _SHARE = 5, 10  # epochs of the first stage in the paper; it is at most one in so many of a run


class ThumbDetArgs(DETRTeacherArgs):
    """Settings of `thumbdet`. Where the defaults depart from the paper and its released code, and why:

    * The teacher is a frozen network of its own, as the paper says. In the released code it is the student itself.
    * `pairing=hungarian`: query i of one network has nothing to do with query i of another. `index` is the paper's way.
    * `form=bernoulli`: detectors here score every class on its own; the paper's softmax over such scores forgets how
      sure the teacher is that there is anything.
    * `query_filter=0.5` is the paper's; the released code has none: 0.
    * `variance=100`: with the paper's 0.1, an error of 10 % in the variances weighs a thousandth of one of 10 % in the
      means, which alone are matched then: variances stay where averaging put them. With 100 both weigh alike: 200
      steps bring the variances of 4x thumbnails from 14 % below the image's to 4 % on synthetic scenes, and from 6 %
      to 3 % on thermal drone images, the means staying within 1 %.
    * `stage_epochs`: the first stage is a tenth of the run, at most the paper's 5 of 55 epochs. In runs of 8 epochs two
      of them cost 1.1 to 2.0 points of AP50 against one stage (docs/results/thumbdet.md).
    * A student that starts from a model YAML starts from the teacher's weights, as in the released code. The paper
      starts it at random: pretrained=False.
    """

    moments: Weight = Field(Schedule(1.0), description="weight of the moment matching (Eq. 5)")
    variance: float = Field(100.0, ge=0, allow_inf_nan=False, description="weight of the variances within it")
    logits: Weight = Field(Schedule(0.5), description="weight of the logit distillation (Eq. 7)")
    features: Weight = Field(Schedule(0.1), description="weight of the feature distillation on C3 to C5 (Eq. 8)")
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="temperature of the logit distillation")
    query_filter: float = Field(
        0.5, ge=0, le=1, description="teacher queries take part whose highest class probability is above this"
    )
    form: Form = Field("bernoulli", description="form of the logit distillation")
    pairing: Literal["hungarian", "index"] = Field(
        "hungarian", description="hungarian: queries of least matching cost; index: query i with query i"
    )
    stage_epochs: int | None = Field(
        None,
        ge=0,
        description="epochs at the start in which the thumbnail alone learns, by its moments; if unset, a tenth of the "
        "run, at most the paper's 5; 0: one stage",
    )
    frozen: bool = Field(False, description="keep the thumbnail as it is after these epochs")


class ThumbDet(TrainingMethod):
    """Moment matching, logit and feature distillation for a model with a thumbnail.

    In the first stage the thumbnail alone learns and the network does not run; the epochs of this stage are validated
    like all, but none is taken for the best, and none counts for `patience`. Queries and feature cells in ignored
    regions take no part; the moments are the image's own and know no regions.
    """

    name = "thumbdet"
    Args = ThumbDetArgs
    args: ThumbDetArgs
    teacher: Teacher | None = None
    _features: FeatureRecorder
    _stem: ImageStem
    _auxiliary: AuxiliaryLosses

    def __init__(self, args: ThumbDetArgs) -> None:
        super().__init__(args)
        self._divergence = functools.partial(DIVERGENCES[args.form], temperature=args.temperature)
        self._projectors: nn.ModuleList | None = None
        self.stage_epochs = args.stage_epochs or 0
        self.weights = [weight.weight for weight in (args.moments, args.logits, args.features)]

    @property
    def needs_teacher(self) -> bool:
        """Whether a distillation weight is above zero."""
        return bool(self.args.logits.weight or self.args.features.weight)

    # Before training -------------------------------------------------------------------------------------------------

    def check(self, plan: TrainingPlan, teachers: TeacherPool) -> None:
        """Refuse a run without a thumbnail, without a teacher, or whose stages cannot work.

        Raises:
            UsageError: As above, or the teacher does not fit; see `check_detr_teacher`.
            CheckpointError: The teacher's file cannot be used.
        """
        if thumbnail_factor(plan.config) == 1:
            raise UsageError(
                f"{self.name} teaches models with a thumbnail; {plan.config.get('yaml_file', 'this model')} has none. "
                "Add thumbnail=4 or 2, or give one that has: model=so-detr-n-thumb4.yaml."
            )
        self.stage_epochs = self._first_stage(plan)
        self._check_stages(plan)
        check_form(f"{self.name}.form", self.args.form, teachers.names)
        if self.needs_teacher or self.args.teacher:
            check_detr_teacher(self.name, self.args, plan, teachers)

    def _first_stage(self, plan: TrainingPlan) -> int:
        """Return the epochs of the first stage; unless told otherwise none where there is nothing to learn in it."""
        if self.args.stage_epochs is not None:
            return self.args.stage_epochs
        epochs: int = min(_STAGE, plan.options["epochs"] // _SHARE)
        return epochs if is_learned(plan.config) and self.args.moments.weight else 0

    def _check_stages(self, plan: TrainingPlan) -> None:
        args, epochs = self.args, plan.options["epochs"]
        if not is_learned(plan.config) and (args.moments.weight or self.stage_epochs):
            raise UsageError(
                f"{self.name} has nothing to match: this model's thumbnail is a plain resize, which learns nothing. "
                f"Give {self.name}.moments=0 {self.name}.stage_epochs=0, or thumbnail_kind=learned."
            )
        if not all(args.moments.at(epoch, epochs) for epoch in range(min(self.stage_epochs, epochs))):
            raise UsageError(
                f"{self.name}.moments={args.moments} leaves the first stage nothing to learn, in some of its "
                f"epochs at least. Give a weight above 0 in all of them, or {self.name}.stage_epochs=0 too."
            )
        if self.stage_epochs >= epochs and not plan.options.get("time"):
            raise UsageError(
                f"{self.name}.stage_epochs={self.stage_epochs} is not below epochs={epochs}: nothing is left for the "
                f"detector. Give more epochs, or fewer of the first stage."
            )
        if args.frozen and not self.stage_epochs:
            raise UsageError(
                f"{self.name}.frozen=True keeps what the first stage learned, and there is none. "
                f"Give {self.name}.stage_epochs=1 or more, or thumbnail_kind=area for a thumbnail that never learns."
            )
        if self.stage_epochs and _is_frozen(plan):
            raise UsageError(
                f"freeze={plan.options['freeze']} freezes the thumbnail, which {self.name} trains first. Leave its "
                f"row out, or give {self.name}.frozen=True to freeze it after its stage."
            )

    def prepare(self, trainer: TrainerHooks) -> None:
        """Find the teacher, which the check has loaded, and start the student from it where nothing else was given."""
        model = trainer.model
        stem = find_thumbnail(model)
        assert stem is not None  # `check` has seen it
        self._stem, self._auxiliary = stem, model.auxiliary_losses
        self._features = trainer.student_features()
        if not self.args.teacher:
            return
        self.teacher = trainer.teachers.get(self.args.teacher, self.args.imgsz)
        plan = trainer.plan
        if plan.start is None and plan.resume is None and plan.options["pretrained"] is True:
            trainer.pretrained_backbone = self._start_from_teacher(model) or trainer.pretrained_backbone
        if self.args.features.weight:
            self._projectors = self._make_projectors(model)
        if self._projectors is not None:
            trainer.student_extras["thumbdet_projectors"] = self._projectors

    def _start_from_teacher(self, model: nn.Module) -> bool:
        """Fill the student with the teacher's weights; return False where it is of another architecture."""
        assert self.teacher is not None
        source = self.teacher.model
        try:
            report = load_weights(model, source.state_dict(), dict(source.names))  # type: ignore[arg-type]
        except CheckpointError:
            LOGGER.info(f"{self.name}: the teacher is of another architecture, so the student starts from scratch.")
            return False
        LOGGER.info(f"{self.name}: the student starts from the teacher's weights: {report}.")
        return True

    def _make_projectors(self, model: nn.Module) -> nn.ModuleList | None:
        """Return 1x1 convolutions from the student's channels to the teacher's; None where all agree.

        The paper has none, as its teacher and its student are one architecture.

        Raises:
            UsageError: One of the two has fewer than three feature levels.
        """
        assert self.teacher is not None
        own = _channels(model, self._features, _PROBE_SIDE * self._stem.factor)
        factor = thumbnail_factor(self.teacher.model.yaml)  # type: ignore[arg-type]
        wanted = _channels(self.teacher.model, self.teacher.features, _PROBE_SIDE * factor)
        if min(len(own), len(wanted)) < _LEVELS:
            raise UsageError(
                f"{self.name}.features needs three levels, C3 to C5; the student's backbone has {len(own)}, the "
                f"teacher's {len(wanted)}. Give {self.name}.features=0."
            )
        if own == wanted:
            return None
        return nn.ModuleList(nn.Conv2d(a, b, 1) if a != b else nn.Identity() for a, b in zip(own, wanted, strict=True))

    # While training --------------------------------------------------------------------------------------------------

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Set the weights and the stage of the epoch; the log tells when a stage begins or ends."""
        args = self.args
        self.weights = [weight.at(epoch, epochs) for weight in (args.moments, args.logits, args.features)]
        before, self.preliminary = self.preliminary, epoch < self.stage_epochs
        if self.preliminary != before:
            LOGGER.info(f"{self.name}: {self._stage()}")
        self._auxiliary.detection = not self.preliminary
        if args.frozen:
            self._stem.requires_grad_(self.preliminary)
            if not self.preliminary:
                self._stem.zero_grad()  # what the first stage has accumulated towards its next step

    def _stage(self) -> str:
        """Return what begins, for the log."""
        if self.preliminary:
            return f"first stage, through epoch {self.stage_epochs}: the thumbnail alone learns, by its moments."
        stem = "stays as it is" if self.args.frozen else "goes on learning with it"
        return f"the first stage is over. The detector learns from here on, and the thumbnail {stem}."

    def losses(self, model: nn.Module, batch: Mapping[str, Any], outputs: Any) -> dict[str, Tensor]:
        """Return the weighted moment, logit and feature losses; in the first stage the moments alone."""
        with torch.autocast(batch["img"].device.type, enabled=False):
            image = batch["img"].float()
            if outputs is None:
                moments = moment_distance(image, self._stem(image), self.args.variance)
                distances = [moments, *([moments * 0.0] * 2)]
            else:
                moments = moment_distance(image, self._features.first.float(), self.args.variance)
                distances = [moments, *self._distillation(batch, student_outputs(outputs))]
            return {name: w * term for name, w, term in zip(_COLUMNS, self.weights, distances, strict=True)}

    def _distillation(self, batch: Mapping[str, Any], student: DETROutputs) -> list[Tensor]:
        """Return the logit and the feature distance; a zero where the weight is zero."""
        zero = student.logits.float().sum() * 0.0
        _, logits, features = self.weights
        if self.teacher is None or not (logits or features):
            return [zero, zero]
        teacher = self.teacher.see(batch).outputs
        assert teacher is not None  # a DETR, as `check` has seen
        regions = regions_of_batch(dict(batch))
        return [
            self._logit_distance(student, teacher, regions) if logits else zero,
            self._feature_distance(regions) if features else zero,
        ]

    def _logit_distance(self, student: DETROutputs, teacher: DETROutputs, regions: Tensor | None) -> Tensor:
        """Return the logit distance of the paired queries of the last decoder layers."""
        image, query, teacher_query = self._pairs(student, teacher, regions)
        count = average_over_ranks([float(len(image))], image.device).clamp(min=1)
        pairs = student.logits[-1][image, query], teacher.logits[-1][image, teacher_query]
        return logit_distance(*pairs, self._divergence, count[0])

    def _pairs(self, student: DETROutputs, teacher: DETROutputs, regions: Tensor | None) -> QueryPairs:
        """Pair the teacher's queries that pass the filter with the student's; neither lies in an ignored region."""
        boxes, logits = teacher.boxes[-1], teacher.logits[-1].float()
        keep = (confidence(logits) > self.args.query_filter) & ~in_ignored_region(boxes, regions)
        if self.args.pairing == "index":
            pairs = pair_by_rank(student.boxes.shape[2], keep)
        else:
            pairs = pair_queries(student.boxes[-1], student.logits[-1], boxes, logits, keep)
        image, query, teacher_query = pairs
        outside = ~in_ignored_region(student.boxes[-1], regions)[image, query]
        return image[outside], query[outside], teacher_query[outside]

    def _feature_distance(self, regions: Tensor | None) -> Tensor:
        """Return the feature distance of C3, C4 and C5."""
        assert self.teacher is not None
        own, wanted = (recorder.stages[-_LEVELS:] for recorder in (self._features, self.teacher.features))
        if self._projectors is not None:
            own = [projector(maps.float()) for projector, maps in zip(self._projectors, own, strict=True)]
        return feature_distance(own, wanted, regions)


def _is_frozen(plan: TrainingPlan) -> bool:
    """Return whether `freeze=` names the first row of the model."""
    freeze, name = plan.options["freeze"], plan.config["backbone"][0][4:]
    return freeze > 0 if isinstance(freeze, int) else bool({0, "0", *name} & set(freeze or []))


def _channels(model: nn.Module, features: FeatureRecorder, side: int) -> list[int]:
    """Return the channels of C3, C4 and C5 of a detector, by a look at an empty image."""
    look_at_empty_image(model, side)
    return [maps.shape[1] for maps in features.stages[-_LEVELS:]]
