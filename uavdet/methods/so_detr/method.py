"""`so-detr-kd`: the student's queries learn to answer as the teacher's do (SO-DETR, arXiv 2504.11470)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from uavdet.losses.detection import average_over_ranks
from uavdet.losses.ignore import in_ignored_region, regions_of_batch
from uavdet.methods.base import TrainingMethod
from uavdet.methods.detr_teacher import Layers, ResponseArgs, ResponseTerms, aligned_layers
from uavdet.methods.outputs import DETROutputs
from uavdet.methods.pairing import QueryPairs, pair_by_rank, pair_queries
from uavdet.methods.schedules import Schedule, Weight
from uavdet.methods.so_detr.losses import response_terms


class SODETRDistillationArgs(ResponseArgs):
    """Settings of `so-detr-kd`. `pairing=index images=last weight=0.1` is the released code's loss, bugs included.

    The defaults depart from the release, and why:

    * `weight=0.1:linear`: the release multiplies the loss of one image of a batch of B by 0.1 B. Over all images, and
      on average over which one is the last, that is 0.1, the value kept here. The paper advocates a linear decay, and
      the release has none: its schedules restart every epoch, and its script uses none of them.
    * `pairing=hungarian`: query i of a student is the i-th best proposal of its own encoder, and has nothing to do
      with query i of a teacher, so the release pulls boxes towards unrelated places.
    * `images=all`: the release indexes the batch where it means the decoder layers.
    """

    weight: Weight = Field(Schedule(0.1, "linear"), description="weight of the whole loss")
    box_weight: Weight = Field(Schedule(2.0), description="weight of the expanded-SIoU term within it")
    pairing: Literal["hungarian", "index"] = Field(
        "hungarian", description="hungarian: queries of least matching cost; index: query i with query i"
    )
    images: Literal["all", "last"] = Field(
        "all", description="all; or last: the last image of a batch alone, times the number of images, as released"
    )
    layers: Layers = Field("last", description="decoder layers that learn: last, or all, aligned from the end")
    expansion: float = Field(1.25, ge=1, allow_inf_nan=False, description="ratio of the expanded SIoU")
    entropy: bool | None = Field(
        None, description="keep the teacher's entropy in the class term's value; if unset, where images=last"
    )


class SODETRDistillation(ResponseTerms, TrainingMethod):
    """Response distillation from the decoder of a DETR to that of another.

    Any DETR teaches any other: the numbers of queries, layers and channels may differ. Teacher queries in ignored
    regions take no part.
    """

    name = "so-detr-kd"
    Args = SODETRDistillationArgs
    args: SODETRDistillationArgs
    columns = ("so_detr_kd_class_loss", "so_detr_kd_l1_loss", "so_detr_kd_box_loss")

    def terms(self, model: nn.Module, batch: Mapping[str, Any], student: DETROutputs) -> Tensor:
        """Return the terms at the pairs of queries; see `uavdet.methods.so_detr.losses`."""
        teacher = self.teacher.see(batch).outputs
        assert teacher is not None  # a DETR, as `check` has seen
        with torch.autocast(batch["img"].device.type, enabled=False):
            return self._distance(student, teacher, batch)

    def _distance(self, student: DETROutputs, teacher: DETROutputs, batch: Mapping[str, Any]) -> Tensor:
        """Return the three terms, normalised and not yet weighted, (3,)."""
        args, images = self.args, batch["img"].shape[0]
        image, query, teacher_query = self._pairs(student, teacher, batch)
        entropy = args.images == "last" if args.entropy is None else args.entropy
        terms = [
            response_terms(
                student.boxes[of_student][image, query],
                student.logits[of_student][image, query],
                teacher.boxes[of_teacher][image, teacher_query],
                teacher.logits[of_teacher][image, teacher_query],
                args.expansion,
                entropy=entropy,
            )
            for of_student, of_teacher in aligned_layers(len(student.boxes), len(teacher.boxes), args.layers)
        ]
        count = average_over_ranks([float(batch["cls"].numel())], student.boxes.device).clamp(min=1)
        # The release's factor: one image stands for all of them.
        return torch.stack(terms).sum(0) / count * (images if args.images == "last" else 1)

    def _pairs(self, student: DETROutputs, teacher: DETROutputs, batch: Mapping[str, Any]) -> QueryPairs:
        """Return the pairs by the last layers; they hold for all, as a query follows one object through its layers."""
        boxes = teacher.boxes[-1]
        keep = ~in_ignored_region(boxes, regions_of_batch(dict(batch)))
        if self.args.images == "last":
            keep[:-1] = False
        if self.args.pairing == "index":
            return pair_by_rank(student.boxes.shape[2], keep)
        return pair_queries(student.boxes[-1], student.logits[-1], boxes, teacher.logits[-1], keep)
