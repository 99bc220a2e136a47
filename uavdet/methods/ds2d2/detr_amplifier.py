"""A DETR's frozen head as an amplifier: what it says of the student's memory against what it says of its own.

Two parts. The dense one is the encoder head on every memory token. The other is the decoder, teacher-forced: queries
and references of every layer come from the teacher alone, so that query i means the same on both sides without any
matching, and the student's memory enters by cross-attention. Gradients reach the student's memory and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from uavdet.losses.ignore import ignored_cells, in_ignored_region
from uavdet.methods.ds2d2.imitation import HeadPredictions, imitation_loss


class DETRAmplifier:
    """A frozen DETR head.

    Args:
        head: The decoder of a teacher, or a fine-tuned copy: in evaluation mode, without gradients.
        dense: Whether the encoder head's predictions are compared.
        decoder: Whether those of the decoder are.
    """

    def __init__(self, head: Any, *, dense: bool = True, decoder: bool = True) -> None:
        self.head, self.dense, self.decoder = head, dense, decoder

    def loss(self, students: Mapping[int, Tensor], teachers: Sequence[Tensor], regions: Tensor | None) -> Tensor:
        """Return the imitation loss, a scalar.

        Args:
            students: The student's memory maps (B, D, h, w) by the level of the head that they stand for. Levels
                that are missing are filled with the teacher's.
            teachers: The teacher's memory maps, one for each level, finest first.
            regions: Ignored regions as `uavdet.losses.ignore.regions_of_batch` returns them.
        """
        with torch.no_grad():
            teacher = _Memory(self.head, list(teachers))
            features, predictions = teacher.encode()
        filled = [students.get(level, maps) for level, maps in enumerate(teachers)]
        student = _Memory(self.head, filled)
        total = student.tokens.new_zeros((), dtype=torch.float32)
        if self.dense:
            takes_part = teacher.dense_tokens(set(students), regions)
            total = total + imitation_loss(student.encode()[1], predictions, takes_part)
        if self.decoder:
            total = total + self._decoder_loss(teacher, student, features, predictions, regions)
        return total

    def _decoder_loss(
        self,
        teacher: _Memory,
        student: _Memory,
        features: Tensor,
        predictions: HeadPredictions,
        regions: Tensor | None,
    ) -> Tensor:
        """Return the mean over decoder layers of the distance between their predictions."""
        queries, references = self._select(teacher, features, predictions)
        total = references.new_zeros((), dtype=torch.float32)
        layers = self.head.decoder.layers
        for index, layer in enumerate(layers):
            position = self.head.query_pos_head(references)
            with torch.no_grad():
                attended = _attend(layer, queries, position)
                hidden = _read(layer, attended, references, position, teacher)
                expected = self._predict(index, hidden, references)
            seen = _read(layer, attended, references, position, student)
            takes_part = ~in_ignored_region(expected.boxes, regions)
            total = total + imitation_loss(self._predict(index, seen, references), expected, takes_part)
            queries, references = hidden, expected.boxes
        return total / len(layers)

    @torch.no_grad()
    def _select(self, memory: _Memory, features: Tensor, predictions: HeadPredictions) -> tuple[Tensor, Tensor]:
        """Return the teacher's queries (B, K, D) and reference boxes (B, K, 4), from its best valid tokens."""
        scores = predictions.logits.amax(-1).masked_fill(~memory.valid, -torch.inf)
        count = min(self.head.num_queries, int(memory.valid.sum()))
        best = scores.topk(count, dim=1).indices.unsqueeze(-1)
        references = predictions.boxes.gather(1, best.expand(-1, -1, 4))
        if self.head.learnt_init_query:
            return self.head.tgt_embed.weight[:count].expand(len(best), -1, -1), references
        return features.gather(1, best.expand(-1, -1, features.shape[-1])), references

    def _predict(self, layer: int, hidden: Tensor, references: Tensor) -> HeadPredictions:
        """Return a decoder layer's predictions from its output; the L1 distance compares centre and size."""
        offsets = self.head.dec_bbox_head[layer](hidden).float()
        boxes = (offsets + torch.logit(references.float(), eps=1e-5)).sigmoid()
        return HeadPredictions(self.head.dec_score_head[layer](hidden), boxes, boxes)


def _attend(layer: Any, queries: Tensor, position: Tensor) -> Tensor:
    """Return the queries after a layer's self-attention, which both sides have in common."""
    keys = (queries + position).transpose(0, 1)
    mixed = layer.self_attn(keys, keys, queries.transpose(0, 1), need_weights=False)[0].transpose(0, 1)
    return layer.norm1(queries + mixed)


def _read(layer: Any, queries: Tensor, references: Tensor, position: Tensor, memory: _Memory) -> Tensor:
    """Return a layer's output: its queries read a memory by cross-attention."""
    read = layer.cross_attn(queries + position, references.unsqueeze(2), memory.tokens, memory.shapes)
    return layer.forward_ffn(layer.norm2(queries + read))


class _Memory:
    """Memory maps as the head reads them: one row of tokens, with the anchor of each.

    The anchors are made anew here. The head's own cache may have been filled under inference mode, by a validation,
    and such tensors cannot take part in a backward pass.
    """

    def __init__(self, head: Any, maps: list[Tensor]) -> None:
        self.head = head
        self.shapes = [[level.shape[2], level.shape[3]] for level in maps]
        self.tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        anchors, valid = head._generate_anchors(self.shapes, self.tokens.float())
        self.valid = valid.view(-1)  # (N,)
        self.anchors = anchors.masked_fill(~valid, 0.0)  # infinite in the border ring, where no object can start

    def encode(self) -> tuple[Tensor, HeadPredictions]:
        """Return the encoder head's features (B, N, D) and its predictions, which mean nothing at invalid tokens."""
        features = self.head.enc_output(self.valid.view(1, -1, 1) * self.tokens)
        boxes = (self.head.enc_bbox_head(features).float() + self.anchors).sigmoid()
        return features, HeadPredictions(self.head.enc_score_head(features), boxes)

    def dense_tokens(self, levels: set[int], regions: Tensor | None) -> Tensor:
        """Return which tokens the dense part compares, (B, N) bool.

        Those of the student's levels, with a valid anchor, outside ignored regions.
        """
        of_level = [torch.full((h * w,), level in levels) for level, (h, w) in enumerate(self.shapes)]
        takes_part = (self.valid & torch.cat(of_level).to(self.valid.device)).expand(len(self.tokens), -1)
        if regions is None:
            return takes_part
        ignored = [ignored_cells((height, width), regions) for height, width in self.shapes]
        return takes_part & ~torch.cat([cells.flatten(1) for cells in ignored if cells is not None], 1)
