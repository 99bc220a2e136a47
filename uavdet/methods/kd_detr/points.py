"""Distillation points: queries that are put to two decoders, so that their answers correspond by construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Queries:
    """Queries of a decoder.

    Attributes:
        content: (B, P, D) embeddings.
        references: (B, P, 4) reference boxes as logits of normalised cxcywh.
    """

    content: Tensor
    references: Tensor


@dataclass(frozen=True)
class Memory:
    """What a decoder attends to.

    Attributes:
        tokens: (B, N, D), the projected maps one after the other, finest first.
        shapes: Height and width of each map.
    """

    tokens: Tensor
    shapes: list[list[int]]


def memory_of_maps(maps: list[Tensor]) -> Memory:
    """Return projected maps (B, D, H_i, W_i), finest first, as the memory of their decoder."""
    return Memory(torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1), [list(m.shape[2:]) for m in maps])


class DecoderInputs:
    """Keeps what entered the decoder of a head in its last forward pass.

    Args:
        head: The head of a DETR. Its decoder gets a hook.
    """

    queries: Queries
    memory: Memory

    def __init__(self, head: Any) -> None:
        head.decoder.register_forward_pre_hook(self._keep)

    def _keep(self, decoder: nn.Module, given: tuple[Any, ...]) -> None:
        content, references, tokens, shapes = given[:4]
        self.queries, self.memory = Queries(content, references), Memory(tokens, shapes)


def decode(head: Any, queries: Queries, memory: Memory) -> tuple[Tensor, Tensor]:
    """Put queries to the decoder of a head.

    Hooks do not run: what they keep is of the network's own pass. Normalisation statistics do not change, as the
    decoder has none and the memory is given.

    Args:
        head: The head, in training or evaluation mode.
        queries: With the width of this head.
        memory: Of this head.

    Returns:
        Boxes (L, B, P, 4), normalised cxcywh, and logits (L, B, P, C) of every decoder layer.
    """
    decoder = head.decoder
    mode, decoder.training = decoder.training, True  # the container's own flag, which asks for every layer
    try:
        return decoder.forward(
            queries.content,
            queries.references.float(),  # the boxes are then float32 too, under autocast
            memory.tokens,
            memory.shapes,
            head.dec_bbox_head,
            head.dec_score_head,
            head.query_pos_head,
        )
    finally:
        decoder.training = mode


def draw_queries(head: Any, memory: Memory, count: int) -> Queries:
    """Return queries at places drawn at random from all proposals of a head's encoder, not the best ones alone.

    Places whose anchor reaches over the border of the image are left out, as their anchors are infinite.

    Args:
        head: The head, after a forward pass on maps of these shapes.
        memory: Of that pass.
        count: Number of queries an image.
    """
    batch, width = memory.tokens.shape[0], memory.tokens.shape[2]
    usable = head.valid_mask[0, :, 0].nonzero().squeeze(1)
    # Drawn on the host, so that a seed gives the same places on every device.
    place = usable[torch.randint(len(usable), (batch, count)).to(usable.device)]
    features = head.enc_output(memory.tokens.gather(1, place.unsqueeze(-1).expand(-1, -1, width)))
    references = head.enc_bbox_head(features) + head.anchors[0, place]
    if head.learnt_init_query:
        features = head.tgt_embed.weight[torch.randint(head.num_queries, (batch, count)).to(place.device)]
    return Queries(features, references)
