"""What a DETR predicts, layer by layer, in one form for students and teachers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DETROutputs:
    """Predictions of the matching queries.

    Attributes:
        boxes: (L, B, Q, 4) normalised cxcywh of the decoder layers, the last one last.
        logits: (L, B, Q, C).
        encoder_boxes: (B, Q, 4) of the selected encoder proposals.
        encoder_logits: (B, Q, C).
    """

    boxes: Tensor
    logits: Tensor
    encoder_boxes: Tensor
    encoder_logits: Tensor

    def with_classes(self, order: Tensor | None) -> DETROutputs:
        """Return the outputs with the classes in another order; None leaves them."""
        if order is None:
            return self
        return replace(self, logits=self.logits[..., order], encoder_logits=self.encoder_logits[..., order])


def student_outputs(preds: Any) -> DETROutputs:
    """Return what a training forward pass of a DETR predicts, without its denoising queries.

    Args:
        preds: The head's training outputs: boxes, logits, encoder boxes and logits, denoising data.
    """
    boxes, logits, encoder_boxes, encoder_logits, meta = preds
    if meta is not None:
        _, boxes = boxes.split(meta["dn_num_split"], 2)
        _, logits = logits.split(meta["dn_num_split"], 2)
    return DETROutputs(boxes, logits, encoder_boxes, encoder_logits)


def decode_all_layers(head: Any, maps: list[Tensor], batch: Any = None) -> DETROutputs:
    """Run a DETR's head on its input maps and return the predictions of every decoder layer, without denoising.

    In evaluation Ultralytics' head returns those of the last layer alone. Boxes are float32 under autocast too: in
    bfloat16 the coordinates of a teacher's boxes would be multiples of 2.5 pixels at 640.

    Args:
        head: The decoder, in evaluation mode.
        maps: What enters it, (B, C_i, H_i, W_i).
        batch: Taken and not used, as the head's own `forward` takes it.
    """
    memory, shapes = head._get_encoder_input(maps)
    queries, references, encoder_boxes, encoder_logits = head._get_decoder_input(memory, shapes)
    decoder: nn.Module = head.decoder
    layers, decoder.training = decoder.training, True  # the container's own flag: its layers stay as they are
    try:
        boxes, logits = head.decoder(
            queries, references.float(), memory, shapes, head.dec_bbox_head, head.dec_score_head, head.query_pos_head
        )
    finally:
        decoder.training = layers
    return DETROutputs(boxes, logits, encoder_boxes, encoder_logits)


def is_detr(model: nn.Module) -> bool:
    """Return whether a detector has a decoder with queries."""
    return hasattr(model.model[-1], "query_pos_head")  # type: ignore[index]


def class_order(teacher: dict[int, str], student: dict[int, str]) -> Tensor | None:
    """Return the teacher's class of each of the student's classes; None where the order is the same.

    Raises:
        ValueError: The classes differ; names are compared without case.
    """
    known = {name.strip().lower(): index for index, name in teacher.items()}
    wanted = [name.strip().lower() for _, name in sorted(student.items())]
    if sorted(known) != sorted(wanted):
        raise ValueError("the classes differ")
    order = [known[name] for name in wanted]
    return None if order == sorted(order) else torch.tensor(order)
