"""`kd-detr`: teacher and student answer the same queries (Wang et al., KD-DETR, CVPR 2024, arXiv 2211.08071)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from uavdet.losses.detection import average_over_ranks
from uavdet.losses.ignore import in_ignored_region, regions_of_batch
from uavdet.methods.base import TrainingMethod
from uavdet.methods.detr_teacher import Layers, ResponseArgs, ResponseTerms, aligned_layers
from uavdet.methods.kd_detr.losses import point_terms
from uavdet.methods.kd_detr.points import DecoderInputs, Memory, Queries, decode, draw_queries, memory_of_maps
from uavdet.methods.outputs import DETROutputs
from uavdet.methods.schedules import Schedule, Weight
from uavdet.methods.soft_targets import DIVERGENCES, Form, check_form, confidence

if TYPE_CHECKING:
    from uavdet.engine.plan import TrainingPlan
    from uavdet.engine.trainer import TrainerHooks
    from uavdet.methods.teacher import TeacherPool


class KDDETRArgs(ResponseArgs):
    """Settings of `kd-detr`. Where they depart from the paper, and why:

    * `general=0`: the paper adds queries at random places to those of the teacher, since a DETR of its kind asks few
      and learned ones. The 300 queries of an RT-DETR are chosen among thousands in each image and reach into the
      background already; random ones cost another pass through both decoders. `general=300` is the paper's way.
    * `classes=bernoulli temperature=1`: the paper's softmax forgets how sure the teacher is that there is anything,
      which is what a detector's score says. `classes=softmax temperature=10` is the paper's way.
    * Each student layer learns from its counterpart, counted from the end; in the released code all learn from the
      teacher's last. As the first layers of a student cannot do what six layers do, they are not asked to.
    """

    box_weight: Weight = Field(Schedule(2.0), description="weight of the GIoU term within it")
    layers: Layers = Field("all", description="decoder layers that learn: all, aligned from the end, or last")
    general: int = Field(0, ge=0, description="further queries at random places, an image, drawn anew in every step")
    classes: Form = Field("bernoulli", description="form of the class distance")
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="temperature of the class distance")


class KDDETR(ResponseTerms, TrainingMethod):
    """Distillation at consistent points: the teacher's queries are put to the student's decoder as well.

    A projector that trains with the student turns the teacher's query embeddings into the student's: from one width
    to the other, and from one network's features to the other's where the widths agree. It starts as the identity or
    as a projection that keeps lengths, and is gone after training. Queries that the teacher answers with a box in an
    ignored region take no part.

    Chosen over CrossKD's cross-head loss, where the student's features enter the teacher's head, for its cost: the
    extra pass runs in the small decoder, not in the large one. For so-detr-n beside so-detr-r18 at 640 pixels that is
    0.9 GFLOPs an image forwards, against 6.1 for the teacher's decoder on the student's features
    (11.9 for so-detr-r50's), multiplications and additions counted apart; both need them again backwards.
    """

    name = "kd-detr"
    Args = KDDETRArgs
    args: KDDETRArgs
    columns = ("kd_detr_class_loss", "kd_detr_l1_loss", "kd_detr_box_loss")

    def check(self, plan: TrainingPlan, teachers: TeacherPool) -> None:
        """Refuse a run whose student or teacher is no DETR (see `check_detr_teacher`), or softmax over one class."""
        check_form(f"{self.name}.classes", self.args.classes, teachers.names)
        super().check(plan, teachers)

    def prepare(self, trainer: TrainerHooks) -> None:
        """Record what enters the teacher's decoder and the student's memory, and make the projector."""
        super().prepare(trainer)
        teacher_head: Any = self.teacher.model.model[-1]  # type: ignore[index]
        self._inputs = DecoderInputs(teacher_head)
        self._features = trainer.student_features()
        self.projector = make_projector(teacher_head.hidden_dim, trainer.model.model[-1].hidden_dim)
        trainer.student_extras["kd_detr_projector"] = self.projector

    def terms(self, model: nn.Module, batch: Mapping[str, Any], student: DETROutputs) -> Tensor:
        """Return the terms at the points, summed over both kinds; see `uavdet.methods.kd_detr.losses`."""
        head: Any = model.model[-1]  # type: ignore[index]
        memory = memory_of_maps(self._features.memory)
        distances = [self._distance(head, memory, *points, batch) for points in self._points(batch)]
        return torch.stack(distances).sum(0)

    def _points(self, batch: Mapping[str, Any]) -> list[tuple[Queries, DETROutputs]]:
        """Return the queries of the teacher's own pass and those drawn at random, with the teacher's answers."""
        own = self.teacher.see(batch).outputs
        assert own is not None  # a DETR, as `check` has seen
        points = [(self._inputs.queries, own)]
        if self.args.general:
            teacher_head = self.teacher.model.model[-1]  # type: ignore[index]
            with torch.no_grad():
                drawn = draw_queries(teacher_head, self._inputs.memory, self.args.general)
                boxes, logits = decode(teacher_head, drawn, self._inputs.memory)
            answers = DETROutputs(boxes, logits, own.encoder_boxes, own.encoder_logits)
            points.append((drawn, self.teacher.in_student_order(answers)))
        return points

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the distance of each class, times the temperature's square, which keeps the size of its gradients."""
        temperature = self.args.temperature
        return DIVERGENCES[self.args.classes](student, teacher, temperature) * temperature**2

    def _distance(
        self, head: Any, memory: Memory, queries: Queries, teacher: DETROutputs, batch: Mapping[str, Any]
    ) -> Tensor:
        """Return the three terms at some queries, normalised and not yet weighted, (3,)."""
        projected = Queries(self.projector(queries.content), queries.references)
        boxes, logits = decode(head, projected, memory)
        with torch.autocast(boxes.device.type, enabled=False):
            weight = self._weight(teacher, batch)
            terms = [
                point_terms(
                    (boxes[of_student], logits[of_student]),
                    (teacher.boxes[of_teacher], teacher.logits[of_teacher]),
                    weight,
                    self._divergence,
                )
                for of_student, of_teacher in aligned_layers(len(boxes), len(teacher.boxes), self.args.layers)
            ]
            # At least 1, so that a batch in which the teacher sees nothing does not raise its doubts to full weight.
            count = average_over_ranks([float(weight.sum())], weight.device).clamp(min=1)
            return torch.stack(terms).sum(0) / count

    @staticmethod
    def _weight(teacher: DETROutputs, batch: Mapping[str, Any]) -> Tensor:
        """Return the weight of each query, (B, P): the teacher's confidence, 0 in ignored regions."""
        ignored = in_ignored_region(teacher.boxes[-1], regions_of_batch(dict(batch)))
        return confidence(teacher.logits[-1]).masked_fill(ignored, 0.0)


def make_projector(teacher_width: int, student_width: int) -> nn.Linear:
    """Return the layer that turns a teacher's query embeddings into a student's.

    It starts as the identity, or where the widths differ as a random projection that keeps the variance of normalised
    embeddings.
    """
    projector = nn.Linear(teacher_width, student_width)
    nn.init.zeros_(projector.bias)
    if teacher_width == student_width:
        nn.init.eye_(projector.weight)
    else:
        nn.init.orthogonal_(projector.weight, gain=max(1.0, student_width / teacher_width) ** 0.5)
    return projector
