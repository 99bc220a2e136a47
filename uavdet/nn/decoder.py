"""The detection head: RT-DETR's decoder with this project's initialisation and its loss settings.

The class is called `RTDETRDecoder` on purpose. Ultralytics decides by that very name whether a checkpoint or an
exported file is a DETR (no NMS, opset floor, box format), so another name would be read as a YOLO head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import head as ultralytics_head

from uavdet.nn.attention import SelfAttention
from uavdet.nn.deformable import DeformableAttention
from uavdet.nn.registry import register

_PRIOR_PROBABILITY = 0.01

Expansion = float | str
"""How boxes grow before their IoU is taken: a ratio (1 = plain IoU), or 'adaptive'."""


def check_expansion(expansion: Expansion) -> Expansion:
    """Return `expansion` if it is 'adaptive' or a number of at least 1.

    Raises:
        ValueError: It is neither.
    """
    if expansion == "adaptive":
        return expansion
    if isinstance(expansion, int | float) and not isinstance(expansion, bool) and expansion >= 1:
        return float(expansion)
    raise ValueError(f"expansion={expansion!r} is not usable: give a number of at least 1, or adaptive")


def check_count(name: str, value: Any) -> int:
    """Return `value` if it is an integer of at least 1.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} is not usable: give an integer of at least 1")
    return value


@register("RTDETRDecoder")
class RTDETRDecoder(ultralytics_head.RTDETRDecoder):
    """RT-DETR's decoder (arXiv 2304.08069).

    Adds to Ultralytics' class:

    * `expansion` and `box_loss`, read by the criterion: the expanded IoU of SO-DETR in the varifocal target and in
      the box loss. Matching, query selection and inference do not use it.
    * class biases at a prior probability of 0.01 for any number of classes, as RT-DETR's authors initialise them.
      Ultralytics scales that bias by nc / 80, which for four classes starts every query at a score of 0.44.

    Args:
        nc: Number of classes.
        ch: Channels of the input levels, finest first.
        expansion: IoU expansion ratio, or 'adaptive'.
        padding_class: Whether the class embedding of the denoising queries has a row for empty slots, as in the
            networks of RT-DETR's and SO-DETR's authors; their weights then fit. Empty slots are zero either way.
        box_loss: 'giou', 'siou', or None for the one that belongs to `expansion` (`losses.detection`).
        **settings: Those of Ultralytics' class: hd, nq, ndp, nh, ndl, d_ffn, nd, label_noise_ratio, ...
    """

    def __init__(
        self,
        nc: int,
        ch: list[int],
        *args: Any,
        expansion: Expansion = 1.0,
        box_loss: str | None = None,
        padding_class: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(nc, ch, *args, **settings)
        for name, value in (("nc", nc), ("queries", self.num_queries), ("layers", self.num_decoder_layers)):
            check_count(name, value)
        if box_loss not in {None, "giou", "siou"}:
            raise ValueError(f"box_loss={box_loss!r} is not usable: give giou or siou")
        self.expansion, self.box_loss = check_expansion(expansion), box_loss
        for layer in self.decoder.layers:
            layer.self_attn.__class__ = SelfAttention  # the same weights and numbers, computed another way
            layer.cross_attn.__class__ = DeformableAttention
        if padding_class:
            self.denoising_class_embed = nn.Embedding(nc + 1, self.hidden_dim, padding_idx=nc)
        # Instance attributes: the class attributes of Ultralytics' head would be shared by every model in the process.
        self.shapes: list[list[int]] = []
        self.anchors, self.valid_mask = torch.empty(0), torch.empty(0)

    @classmethod
    def from_yaml(cls, in_channels: int | list[int], args: list[Any]) -> tuple[nn.Module, int]:
        """Build the row `RTDETRDecoder, [nc, hd, nq, ndp, nh, ndl, ..., {expansion: 1.25, ...}]`."""
        if isinstance(in_channels, int):
            raise ValueError("takes a list of source rows, finest level first")
        settings = args[-1] if args and isinstance(args[-1], dict) else {}
        positional = args[:-1] if settings else args
        return cls(positional[0], in_channels, *positional[1:], **settings), positional[0]

    def _reset_parameters(self) -> None:
        super()._reset_parameters()
        bias = -math.log((1 - _PRIOR_PROBABILITY) / _PRIOR_PROBABILITY)
        for scores in (self.enc_score_head, *self.dec_score_head):
            nn.init.constant_(scores.bias, bias)

    def _get_decoder_input(
        self, feats: Tensor, shapes: list[list[int]], dn_embed: Tensor | None = None, dn_bbox: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Select the queries; in training, only what is selected has a graph, of which the rest is no part anyway.

        Args:
            feats: (B, S, C), the projected levels one after another.
            shapes: Height and width of each level.
            dn_embed: Denoising queries, (B, N, C).
            dn_bbox: Their boxes as logits, (B, N, 4).

        Returns:
            Queries (B, N + Q, C) and their boxes as logits, both detached; the selected boxes cxcywh, normalised, and
            their class logits.
        """
        if not (self.training and torch.is_grad_enabled()) or self.learnt_init_query:
            return super()._get_decoder_input(feats, shapes, dn_embed, dn_bbox)
        if self.dynamic or self.shapes != shapes:
            self.anchors, self.valid_mask = self._generate_anchors(shapes, feats)
            self.shapes = shapes
        # With gradients on: what autocast has rounded without them would be used again where they are needed.
        everywhere = self.enc_score_head(self.enc_output(self.valid_mask * feats.detach())).detach()
        count = min(self.num_queries, everywhere.shape[1])
        chosen = everywhere.max(-1).values.topk(count, 1).indices
        image = torch.arange(len(feats), device=feats.device)[:, None]
        features = self.enc_output(self.valid_mask[0, chosen] * feats[image, chosen])
        anchors = self.anchors[0, chosen]
        boxes = self.enc_bbox_head(features) + anchors
        queries, references = features.detach(), boxes.detach()
        if dn_embed is not None and dn_bbox is not None:
            queries, references = torch.cat([dn_embed, queries], 1), torch.cat([dn_bbox.detach(), references], 1)
        return queries, references, boxes.sigmoid(), self.enc_score_head(features)

    def forward(self, x: list[Tensor], batch: dict[str, Any] | None = None) -> Any:
        """Detect objects in feature maps.

        Args:
            x: Levels (B, C_i, H_i, W_i), finest first.
            batch: Targets for denoising in training.

        Returns:
            In training (boxes (L, B, Q, 4), logits (L, B, Q, nc), encoder boxes, encoder logits, denoising data);
            in evaluation ((B, K, 6) rows [cx, cy, w, h, score, class], normalised, and that tuple); in an exported
            graph the rows alone.
        """
        return super().forward(x, batch)
