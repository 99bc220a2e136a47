"""RT-DETR's decoder as an exported graph computes it: the same arithmetic, written for graph runtimes.

The class that trains keeps anchors in a cache, counts them with infinities, permutes every level's values before they
are sampled, and divides before it takes a logarithm. In a file these become constants that half precision and range
calibrators stumble over, copies of the largest tensor, and an overflow. What is written here differs in that alone:

* anchors outside the image are a finite logit whose sigmoid is 1 in float32, as that of infinity is;
* values are projected by 1x1 convolutions on the maps, in the layout that sampling reads, with the projection of the
  level folded into them, and into what scores the tokens, where that takes less arithmetic;
* tokens outside the image are all the same: they are put in behind the scores, not masked before them;
* points stand before queries, and boxes are spread over points row by row, without copies of a few bytes each;
* the logit is log(x) - log(1 - x): the ratio of the two overflows half precision from x = 0.9998 on;
* the sizes of all levels are constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uavdet.export.folding import fold_projection, folding_saves

OUTSIDE_LOGIT = 50.0
"""Logit of anchors that lie outside the image: sigmoid(50) is 1 in float32 and in float16."""

_LOGIT_EPSILON = 1e-5  # as in Ultralytics' decoder


def finite_anchors(anchors: Tensor) -> Tensor:
    """Return anchors, logits (1, N, 4), with `OUTSIDE_LOGIT` in the place of infinity."""
    return anchors.masked_fill(~anchors.isfinite(), OUTSIDE_LOGIT)


def logit(probability: Tensor) -> Tensor:
    """Return the inverse of the sigmoid, clamped as Ultralytics clamps it, as a difference of logarithms."""
    return probability.clamp(_LOGIT_EPSILON, 1.0).log() - (1.0 - probability).clamp(_LOGIT_EPSILON, 1.0).log()


class GraphAttention(nn.Module):
    """Multi-head attention without masks and dropout, in the place of `nn.MultiheadAttention`.

    PyTorch's module traces to twice as many nodes, with reshapes that carry the batch size. The queries are scaled, not
    the products, so that float16 does not overflow.

    Args:
        attention: The module to replace; queries, keys and values have the same width.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width, self.heads = attention.embed_dim, attention.num_heads
        self.width = width
        self.batch_first = attention.batch_first
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        weights, biases = attention.in_proj_weight, attention.in_proj_bias
        scale = (width // self.heads) ** -0.5
        for index, layer in enumerate((self.query, self.key, self.value)):
            part, factor = slice(index * width, (index + 1) * width), scale if index == 0 else 1.0
            layer.weight.data = weights.data[part] * factor
            layer.bias.data = biases.data[part] * factor
        self.project = attention.out_proj

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> tuple[Tensor, None]:
        """Attend, as `nn.MultiheadAttention` does without a mask.

        Args:
            query: (B, Q, C), or (Q, B, C) where the replaced module has the batch second.
            key: (B, K, C), likewise.
            value: (B, K, C), likewise.

        Returns:
            (B, Q, C), likewise, and nothing in the place of weights.
        """
        if not self.batch_first:
            query, key, value = (part.transpose(0, 1) for part in (query, key, value))
        queries, keys, values = (
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._split(self.value(value)),
        )
        attended = (queries @ keys.transpose(2, 3)).softmax(-1) @ values
        output = self.project(attended.transpose(1, 2).reshape(-1, int(query.shape[1]), self.width))
        return (output if self.batch_first else output.transpose(0, 1)), None

    def _split(self, x: Tensor) -> Tensor:
        """Turn (B, N, C) into (B, heads, N, C / heads)."""
        # All sizes but the batch's are constants, which keeps the arithmetic of shapes out of the graph.
        return x.reshape(-1, int(x.shape[1]), self.heads, self.width // self.heads).transpose(1, 2)


class SampledAttention(nn.Module):
    """Deformable attention over levels whose sizes are constants.

    Args:
        attention: Ultralytics' `MSDeformAttn`.
        projections: One a level, to fold into that of the values: a 1x1 convolution and its batch normalisation, or
            `nn.Identity`.
    """

    def __init__(self, attention: nn.Module, projections: Sequence[nn.Module]) -> None:
        super().__init__()
        module: Any = attention
        self.heads, self.levels, self.points = module.n_heads, module.n_levels, module.n_points
        self.width = module.d_model
        self.values = nn.ModuleList(fold_projection(module.value_proj, projection) for projection in projections)
        self.offsets, self.weights, self.project = (
            module.sampling_offsets,
            module.attention_weights,
            module.output_proj,
        )
        # Offsets count in half boxes a point; grids run from -1 to 1, twice the range of boxes.
        self.offsets.weight.data = self.offsets.weight.data / self.points
        self.offsets.bias.data = self.offsets.bias.data / self.points
        self.grids = SamplingGrids(self.heads, self.levels * self.points)

    def forward(self, query: Tensor, boxes: Tensor, maps: list[Tensor]) -> Tensor:
        """Sample the maps around the boxes.

        Args:
            query: (B, Q, C).
            boxes: (B, Q, 4) cxcywh, normalised.
            maps: Levels (B, C_i, H_i, W_i).

        Returns:
            (B, Q, C).
        """
        count, points = int(query.shape[1]), self.levels * self.points
        grids = self.grids(self.offsets(query), boxes).split(self.points, 1)
        weights = self.weights(query).reshape(-1, count, self.heads, points).softmax(-1)
        weights = weights.permute(0, 2, 3, 1).reshape(-1, 1, points, count)
        levels = [value(level) for value, level in zip(self.values, maps, strict=True)]
        sampled = [self._sample(level, grid) for level, grid in zip(levels, grids, strict=True)]
        output = (torch.cat(sampled, 2) * weights).sum(2)
        return self.project(output.reshape(-1, self.width, count).transpose(1, 2))

    def _sample(self, values: Tensor, grid: Tensor) -> Tensor:
        height, width = (int(side) for side in values.shape[2:])
        heads = values.reshape(-1, self.width // self.heads, height, width)
        return F.grid_sample(heads, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class SamplingGrids(nn.Module):
    """Where deformable attention samples; a module of its own because coordinates stay in float32.

    Args:
        heads: Attention heads.
        points: P, points of one head on all levels.
    """

    def __init__(self, heads: int, points: int) -> None:
        super().__init__()
        self.heads, self.points = heads, points

    def forward(self, offsets: Tensor, boxes: Tensor) -> Tensor:
        """Place points around boxes.

        Args:
            offsets: (B, Q, heads * P * 2), in widths and heights of the boxes.
            boxes: (B, Q, 4) cxcywh, normalised.

        Returns:
            (B * heads, P, Q, 2): x and y from -1 to 1.
        """
        count = int(offsets.shape[1])
        offsets = offsets.reshape(-1, count, self.heads * self.points, 2).transpose(1, 2)
        centre, size = boxes.reshape(-1, 1, count, 4).split(2, -1)
        grid = (2.0 * centre - 1.0) + offsets * size
        return grid.reshape(-1, self.points, count, 2)


class DecoderLayer(nn.Module):
    """One layer: self-attention, sampled attention, feed-forward, each with its residual and LayerNorm.

    Args:
        layer: Ultralytics' `DeformableTransformerDecoderLayer`.
        projections: See `SampledAttention`.
    """

    def __init__(self, layer: nn.Module, projections: Sequence[nn.Module]) -> None:
        super().__init__()
        module: Any = layer
        self.attention = GraphAttention(module.self_attn)
        self.attention.batch_first = True
        self.sampling = SampledAttention(module.cross_attn, projections)
        self.norms = nn.ModuleList([module.norm1, module.norm2, module.norm3])
        self.feedforward = nn.Sequential(module.linear1, module.act, module.linear2)

    def forward(self, embedding: Tensor, boxes: Tensor, position: Tensor, maps: list[Tensor]) -> Tensor:
        """Map query embeddings (B, Q, C) to the same shape; see `SampledAttention` for boxes and maps."""
        query = embedding + position
        embedding = self.norms[0](embedding + self.attention(query, query, embedding)[0])
        embedding = self.norms[1](embedding + self.sampling(embedding + position, boxes, maps))
        return self.norms[2](embedding + self.feedforward(embedding))


class BoxHead(nn.Module):
    """A box head and the sigmoid behind it; a module of its own because boxes stay in float32.

    Args:
        head: Maps embeddings (B, Q, C) to changes of logits (B, Q, 4).
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, embedding: Tensor, logits: Tensor) -> Tensor:
        """Return boxes (B, Q, 4) cxcywh, normalised, from embeddings (B, Q, C) and the logits they change."""
        return (self.head(embedding) + logits).sigmoid()


class BoxRefinement(BoxHead):
    """A box head that starts from boxes."""

    def forward(self, embedding: Tensor, boxes: Tensor) -> Tensor:
        """Return boxes (B, Q, 4) cxcywh, normalised, from embeddings (B, Q, C) and the boxes they refine."""
        return super().forward(embedding, logit(boxes))


class ScoreHead(nn.Module):
    """A class head and the sigmoid behind it; a module of its own because scores stay in float32.

    Args:
        head: Maps embeddings (B, Q, C) to logits (B, Q, nc).
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, embedding: Tensor) -> Tensor:
        """Return scores (B, Q, nc) in [0, 1] from embeddings (B, Q, C)."""
        return self.head(embedding).sigmoid()


class QuerySelection(nn.Module):
    """Turns the best-scored tokens into queries; a module of its own because their scores stay in float32.

    Args:
        head: The head whose encoder heads are taken over.
        anchors: (N, 4), logits of cxcywh.
        inside: (N,), whether an anchor lies inside the image.
        outside: (C,), the token of every anchor outside.
    """

    anchors: Tensor
    inside: Tensor
    outside: Tensor
    outside_scores: Tensor

    def __init__(self, head: nn.Module, anchors: Tensor, inside: Tensor, outside: Tensor) -> None:
        super().__init__()
        module: Any = head
        self.queries = min(module.num_queries, len(anchors))
        self.score_head = module.enc_score_head
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("inside", inside.float(), persistent=False)
        self.register_buffer("outside", outside, persistent=False)
        scores = (1.0 - inside.float()) * self.score_head(outside).amax()
        self.register_buffer("outside_scores", scores, persistent=False)
        self.box_head = BoxHead(module.enc_bbox_head)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (B, Q, C) and boxes (B, Q, 4) of the best-scored of the tokens (B, N, C)."""
        scores = self.score_head(features).amax(-1) * self.inside + self.outside_scores
        index = scores.topk(self.queries, 1).indices
        chosen = features.gather(1, index[..., None].expand(-1, -1, features.shape[-1]))
        inside = self.inside[index][..., None]
        chosen = chosen * inside + self.outside * (1.0 - inside)
        return chosen, self.box_head(chosen, self.anchors[index])


class GraphDecoder(nn.Module):
    """RT-DETR's head in evaluation, in the place of Ultralytics' class or ours.

    Args:
        head: The head to replace; its sub-modules are taken over.
        sizes: (height, width) of every level, finest first.
    """

    def __init__(self, head: nn.Module, sizes: list[list[int]]) -> None:
        super().__init__()
        module: Any = head
        self.f, self.i = module.f, module.i
        layers = module.decoder.eval_idx + 1
        none = nn.Identity()
        linear, norm = module.enc_output
        folds = [folding_saves(part, layers + 1) for part in module.input_proj]
        kept = [none if fold else part for part, fold in zip(module.input_proj, folds, strict=True)]
        folded = [part if fold else none for part, fold in zip(module.input_proj, folds, strict=True)]
        self.input_proj = nn.ModuleList(kept)
        self.enc_output = nn.ModuleList(fold_projection(linear, part) for part in folded)
        self.enc_norm = norm
        anchors, inside = module._generate_anchors(sizes, torch.zeros(()))
        self.selection = QuerySelection(head, finite_anchors(anchors)[0], inside[0, :, 0], norm(linear.bias.data))
        self.content = module.tgt_embed.weight.data[None] if module.learnt_init_query else None
        self.position = module.query_pos_head
        self.layers = nn.ModuleList(DecoderLayer(layer, folded) for layer in module.decoder.layers[:layers])
        self.refinements = nn.ModuleList(BoxRefinement(part) for part in module.dec_bbox_head[:layers])
        self.score_head = ScoreHead(module.dec_score_head[layers - 1])

    def forward(self, x: list[Tensor], batch: Any = None) -> tuple[Tensor, Tensor]:
        """Detect objects in feature maps.

        Args:
            x: Levels (B, C_i, H_i, W_i), finest first.
            batch: Nothing; the argument is that of the class in training.

        Returns:
            Boxes (B, Q, 4) cxcywh, normalised, and scores (B, Q, nc) in [0, 1].
        """
        maps = [project(level) for project, level in zip(self.input_proj, x, strict=True)]
        tokens = [output(level).flatten(2) for output, level in zip(self.enc_output, maps, strict=True)]
        embedding, boxes = self.selection(self.enc_norm(torch.cat(tokens, 2).transpose(1, 2)))
        if self.content is not None:
            embedding = self.content[:, : self.selection.queries].expand_as(embedding)
        for layer, refine in zip(self.layers, self.refinements, strict=True):
            embedding = layer(embedding, boxes, self.position(boxes), maps)
            boxes = refine(embedding, boxes)
        return boxes, self.score_head(embedding)
