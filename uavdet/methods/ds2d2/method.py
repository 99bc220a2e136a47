"""`ds2d2`: a student learns a teacher's low and high frequencies, and what its heads make of them (arXiv 2512.04413).

Four terms, each with a weight of its own:

    low, high      the explicit branch: distances between wavelet bands of the two networks' maps
    full           the implicit branch: the teacher's frozen head reads the student's maps and its own
    amplified      the same through the high-frequency amplifier, on high-frequency maps

Gradients reach the student's network up to the maps that are compared, and the adapters; never its head.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from uavdet.errors import UsageError
from uavdet.losses.ignore import regions_of_batch
from uavdet.methods.base import TrainingMethod
from uavdet.methods.ds2d2.amplifier_file import load_amplifier
from uavdet.methods.ds2d2.amplifier_stage import check_stage, hold_normalisation, prepare_stage
from uavdet.methods.ds2d2.detr_amplifier import DETRAmplifier
from uavdet.methods.ds2d2.explicit import align, explicit_losses
from uavdet.methods.ds2d2.levels import FeatureAdapters, head_features, map_shapes, pair_by_grid, pair_by_order
from uavdet.methods.ds2d2.settings import DS2D2Args, check_settings
from uavdet.methods.ds2d2.wavelet import find_wavelet
from uavdet.methods.ds2d2.weights import object_weights
from uavdet.methods.ds2d2.yolo_amplifier import YOLOAmplifier
from uavdet.methods.outputs import is_detr
from uavdet.methods.teacher import check_teacher_size

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks
    from uavdet.methods.ds2d2.levels import MapShape
    from uavdet.methods.features import FeatureRecorder
    from uavdet.methods.teacher import Teacher, TeacherPool

_TERMS = ("low", "high", "full", "amplified")


class DS2D2(TrainingMethod):
    """Spectral distillation of any detector by any other.

    DETRs are compared in the memory that their decoders read, YOLOs in what enters their heads, level by level where
    both have as many cells. Ignored regions take no part.
    """

    name = "ds2d2"
    Args = DS2D2Args
    args: DS2D2Args
    teacher: Teacher

    def __init__(self, args: DS2D2Args) -> None:
        super().__init__(args)
        self.epoch_start(0, 1)

    def check(self, plan: TrainingPlan, teachers: TeacherPool) -> None:
        """Refuse settings, teachers and amplifiers that cannot be used, and load those that can."""
        args = self.args
        self.wavelet = find_wavelet(args.wavelet, args.padding, "ds2d2.wavelet")
        if args.stage == "amplifier":
            return check_stage(plan, set(args.model_fields_set))
        check_settings(args, plan)
        self.teacher = teachers.get(str(args.teacher), args.imgsz)
        check_teacher_size(self.name, self.teacher, plan.options["imgsz"])
        if not is_detr(self.teacher.model) and args.implicit:
            self._check_without_decoder()
        self.high_head = load_amplifier(args.amplifier, self.teacher, self.wavelet) if args.amplifier else None
        return None

    def _check_without_decoder(self) -> None:
        args = self.args
        if "decoder" in args.model_fields_set and args.decoder:
            raise UsageError(f"ds2d2.teacher={args.teacher} is a YOLO and has no decoder. Drop ds2d2.decoder.")
        if not args.dense:
            raise UsageError(f"ds2d2.teacher={args.teacher} is a YOLO: all it has is dense. Drop ds2d2.dense=False.")

    def prepare(self, trainer: TrainerHooks) -> None:
        """Pair the levels of the two networks and make the adapters; or set up the amplifier's stage."""
        self.model: Any = trainer.model
        if self.args.stage == "amplifier":
            return prepare_stage(trainer, self.wavelet)
        self.features: FeatureRecorder = trainer.student_features()
        side = int(trainer.args.imgsz)
        student = map_shapes(self.model, self.features, side)
        self.teacher.model.to(trainer.device)
        teacher = map_shapes(self.teacher.model, self.teacher.features, self.args.imgsz or side)
        self.pairs = self._pair(student, teacher, side)
        widths = {level: (student[level][0], teacher[partner][0]) for level, partner in self.pairs.items()}
        self.adapters = trainer.student_extras["ds2d2"] = FeatureAdapters(widths)
        self.full = self._amplifier(self.teacher.model.model[-1])  # type: ignore[index]
        self.amplified = self._amplifier(self.high_head.to(trainer.device)) if self.high_head is not None else None
        return None

    def _amplifier(self, head: Any) -> DETRAmplifier | YOLOAmplifier:
        if is_detr(self.teacher.model):
            return DETRAmplifier(head, dense=self.args.dense, decoder=self.args.decoder)
        return YOLOAmplifier(head)

    def _pair(self, student: list[MapShape], teacher: list[MapShape], side: int) -> dict[int, int]:
        """Return the teacher's level of each of the student's.

        Raises:
            UsageError: No two maps have as many cells, and a term that needs such a pair is on.
        """
        args = self.args
        if pairs := pair_by_grid(student, teacher):
            return pairs
        if not args.explicit and not args.dense:
            return pair_by_order(student, teacher)
        grids = [", ".join(f"{height} x {width}" for _, height, width in shapes) for shapes in (teacher, student)]
        raise UsageError(
            f"The teacher's maps have {grids[0]} cells at {args.imgsz or side} pixels, the student's {grids[1]} at "
            f"{side}: no two agree. Give ds2d2.imgsz={side} or {2 * side}, or the decoder alone, which takes any: "
            "ds2d2.low=0 ds2d2.high=0 ds2d2.dense=False."
        )

    def epoch_start(self, epoch: int, epochs: int) -> None:
        """Set the weights of the epoch; in the amplifier's stage, keep what is frozen as it is."""
        args = self.args
        if args.stage == "amplifier":
            if hasattr(self, "model"):
                hold_normalisation(self.model)
            return
        settings = {term: getattr(args, term) for term in _TERMS if term != "amplified" or args.amplifier is not None}
        self.weights = {term: s.at(epoch, epochs) for term, s in settings.items() if s.weight > 0}

    def losses(self, model: nn.Module, batch: Mapping[str, Any], outputs: Any) -> dict[str, Tensor]:
        """Return the weighted terms; none in the amplifier's stage, which trains by the model's own loss alone."""
        if self.args.stage == "amplifier":
            return {}
        if outputs is None:  # another method has the step to itself, and there are no features of this batch
            return {f"ds2d2_{term}_loss": batch["img"].new_zeros(()) for term in self.weights}
        adapted = self.adapters(head_features(model, self.features))
        acting = {term for term, weight in self.weights.items() if weight > 0}
        terms = self._terms(adapted, batch, acting) if acting else {}
        zero = torch.stack([maps.float().sum() * 0.0 for maps in adapted.values()]).sum()
        return {f"ds2d2_{term}_loss": zero + weight * terms.get(term, zero) for term, weight in self.weights.items()}

    def _terms(self, adapted: Mapping[int, Tensor], batch: Mapping[str, Any], acting: set[str]) -> dict[str, Tensor]:
        """Return the terms that act, not yet weighted.

        Args:
            adapted: The student's maps in the teacher's channels, by the student's level.
            batch: The batch.
            acting: Names of the terms.
        """
        teacher = self.teacher.see(batch)
        expected = head_features(teacher.model, teacher.features)
        regions = regions_of_batch(dict(batch))
        students = {self.pairs[level]: maps for level, maps in adapted.items()}
        if self.args.align:
            students = {level: align(maps, expected[level], regions) for level, maps in students.items()}
        terms: dict[str, Tensor] = {}
        if acting & {"low", "high"}:
            terms["low"], terms["high"] = self._explicit(students, expected, batch, regions)
        if "full" in acting:
            terms["full"] = self.full.loss(students, expected, regions)
        if "amplified" in acting and self.amplified is not None:
            high = self.wavelet.high_frequency
            filtered = {level: high(maps) for level, maps in students.items()}
            terms["amplified"] = self.amplified.loss(filtered, [high(maps) for maps in expected], regions)
        return terms

    def _explicit(
        self,
        students: Mapping[int, Tensor],
        expected: list[Tensor],
        batch: Mapping[str, Any],
        regions: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the low and the high term."""
        device, images = batch["img"].device, batch["img"].shape[0]
        boxes, image = batch["bboxes"].to(device).float(), batch["batch_idx"].to(device)
        weights = partial(self._cell_weights, boxes, image, images, regions)
        teachers = [expected[level] for level in students]
        with torch.autocast(device.type, enabled=False):
            return explicit_losses(
                list(students.values()),
                teachers,
                weights,
                self.wavelet,
                normalise=self.args.normalise,
                regions=regions,
            )

    def _cell_weights(
        self, boxes: Tensor, image: Tensor, images: int, regions: Tensor | None, shape: tuple[int, int]
    ) -> Tensor:
        return object_weights(boxes, image, images, shape, self.args.gamma, regions)
