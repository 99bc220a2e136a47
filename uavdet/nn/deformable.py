"""Deformable attention that is fast on CPUs: values are gathered as rows, not sampled as images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from ultralytics.nn.modules.transformer import MSDeformAttn


class DeformableAttention(MSDeformAttn):
    """Multi-scale deformable attention (arXiv 2010.04159); the numbers are those of Ultralytics' class.

    That class samples with `grid_sample`, which reads and writes the channels of a point at as many places of a CPU's
    memory. On CPUs this one gathers the four neighbours of a point as rows of channels, but in traced graphs.
    One core takes 6 ms where it took 40, and backwards 38 ms where it took 46, then 21 for every further pass through
    the same graph (2 images of 640 pixels, 498 queries).
    """

    def forward(
        self,
        query: Tensor,
        refer_bbox: Tensor,
        value: Tensor,
        value_shapes: Sequence[Sequence[int]],
        value_mask: Tensor | None = None,
    ) -> Tensor:
        """Read values around reference boxes.

        Args:
            query: (B, Q, C).
            refer_bbox: (B, Q, 1, 4) cxcywh or (B, Q, 1, 2) points, normalised.
            value: (B, S, C), the levels one after another.
            value_shapes: Height and width of each level.
            value_mask: (B, S), True where nothing is to be read.

        Returns:
            (B, Q, C).
        """
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if traced or value.device.type != "cpu" or refer_bbox.shape[-1] != 4:
            return super().forward(query, refer_bbox, value, value_shapes, value_mask)
        batch, queries = query.shape[:2]
        points = (batch, queries, self.n_heads, self.n_levels * self.n_points)
        values = self.value_proj(value)
        if value_mask is not None:
            values = values.masked_fill(value_mask[..., None], 0.0)
        offsets = self.sampling_offsets(query).view(*points, 2)
        weights = self.attention_weights(query).view(points).softmax(-1)
        centre, size = refer_bbox[:, :, None].split(2, -1)
        places = centre + offsets / self.n_points * size * 0.5
        precision = torch.promote_types(places.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            values = values.to(precision).view(batch, -1, self.n_heads, self.d_model // self.n_heads)
            read = gather_values(values, value_shapes, places.to(precision), weights.to(precision))
        return self.output_proj(read)


def gather_values(values: Tensor, shapes: Sequence[Sequence[int]], places: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums of bilinearly interpolated values; what lies outside a level counts as zero.

    Args:
        values: (B, S, heads, D) float32, the levels one after another.
        shapes: Height and width of each of L levels.
        places: (B, Q, heads, L * points, 2) xy, normalised: 0 and 1 are the outer edges of a level.
        weights: (B, Q, heads, L * points).

    Returns:
        (B, Q, heads * D).
    """
    return _GatheredValues.apply(values, places, weights, _Levels.of(shapes, places))


class _Levels(NamedTuple):
    """Of the level that each point reads: width, height, and the number of its first cell; (L * points,) each."""

    width: Tensor
    height: Tensor
    start: Tensor

    @classmethod
    def of(cls, shapes: Sequence[Sequence[int]], places: Tensor) -> _Levels:
        """Return the levels of `gather_values`."""
        points, device = places.shape[-2] // len(shapes), places.device
        sides = torch.tensor([list(shape) for shape in shapes], dtype=torch.int32, device=device)
        height, width = sides.repeat_interleave(points, 0).T
        starts = [0, *itertools.accumulate(rows * columns for rows, columns in shapes[:-1])]
        return cls(width, height, torch.tensor(starts, dtype=torch.int32, device=device).repeat_interleave(points))


class _Axis:
    """The two columns, or rows, around each point.

    Args:
        place: (..., P), normalised.
        count: How many there are in the level of each point, (P,).

    Attributes:
        cells: Their numbers, the lower and the upper one; outside a level, of one inside.
        inside: Whether each of them lies in the level, as numbers.
        shares: What each of them counts: falls linearly with the distance, and is zero outside.
    """

    def __init__(self, place: Tensor, count: Tensor) -> None:
        position = place * count - 0.5
        low = position.floor()
        cell = low.nan_to_num(nan=0.0)  # a place that is not finite has a value that is not, and a cell that exists
        far = position - low
        last = count - 1
        self.cells = (cell.clamp(min=0).minimum(last).int(), (cell + 1).clamp(min=0).minimum(last).int())
        self.inside = (((low >= 0) & (low <= last)).to(place), ((low >= -1) & (low < last)).to(place))
        self.shares = ((1 - far) * self.inside[0], far * self.inside[1])


class _Corners:
    """The four cells around each point, in the order upper left, upper right, lower left, lower right.

    Every quantity of a corner is a tensor of its own: axes of two are slow on CPUs.

    Args:
        places: (..., P, 2) xy, normalised.
        levels: Those of the points.
    """

    def __init__(self, places: Tensor, levels: _Levels) -> None:
        self._levels = levels
        self._across, self._down = _Axis(places[..., 0], levels.width), _Axis(places[..., 1], levels.height)

    def cells(self) -> list[Tensor]:
        """Return the number of each corner's cell among those of all levels, four times (..., P)."""
        starts = [row * self._levels.width + self._levels.start for row in self._down.cells]
        return [start + column for start in starts for column in self._across.cells]

    def shares(self) -> list[Tensor]:
        """Return the bilinear share of each corner, four times (..., P)."""
        return [upright * level for upright in self._down.shares for level in self._across.shares]

    def gradients(self, of_corners: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what a sum changes by the interpolated value, (..., P), and by the place for a value, (..., P, 2).

        Args:
            of_corners: What it changes by the share of each corner, four times (..., P).
        """
        (left, right), (top, bottom) = self._across.shares, self._down.shares
        top_left, top_right, bottom_left, bottom_right = of_corners
        upper, lower = top_left * left + top_right * right, bottom_left * left + bottom_right * right
        of_left, of_right = top_left * top + bottom_left * bottom, top_right * top + bottom_right * bottom
        of_x = of_right * self._across.inside[1] - of_left * self._across.inside[0]
        of_y = lower * self._down.inside[1] - upper * self._down.inside[0]
        return top * upper + bottom * lower, torch.stack([of_x * self._levels.width, of_y * self._levels.height], -1)


class _GatheredValues(torch.autograd.Function):
    """`gather_values`, whose values are rows of a table (B * S * heads, D).

    Backwards, the gradient of a row is a weighted sum as well, of the gradients of the queries that read it. Which they
    are is found once, for as many backward passes as there are. Queries without a gradient, such as denoising ones
    where the loss is that of the others, cost nothing.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor, weights: Tensor, levels: _Levels) -> Tensor:
        batch, cells, heads, depth = values.shape
        corners = _Corners(places, levels)
        first = torch.arange(batch, dtype=torch.int32, device=values.device).view(-1, 1, 1, 1, 1) * cells
        rows = torch.stack(corners.cells(), -2).add_(first).mul_(heads)
        rows = (
            rows.add_(torch.arange(heads, dtype=torch.int32, device=values.device).view(-1, 1, 1))
            .flatten(0, 2)
            .flatten(1)
        )
        shares = torch.stack([share * weights for share in corners.shares()], -2).view(rows.shape)
        table = values.reshape(-1, depth)
        ctx.save_for_backward(table, weights, rows, shares)
        ctx.corners, ctx.readers = corners, None
        return F.embedding_bag(rows, table, per_sample_weights=shares, mode="sum").view(batch, -1, heads * depth)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        table, weights, rows, shares = ctx.saved_tensors
        gradient = gradient.reshape(len(rows), -1)
        of_values = of_places = of_weights = None
        if ctx.needs_input_grad[0]:
            ctx.readers = ctx.readers or _readers(rows, shares, len(table))
            of_values = _gather(gradient, *ctx.readers).view(len(weights), -1, weights.shape[2], table.shape[1])
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_shares = _products(gradient, table, rows).view(*weights.shape[:-1], 4, -1).unbind(-2)
            of_weights, of_places = ctx.corners.gradients(of_shares)
            of_places = of_places * weights[..., None]
        return of_values, of_places, of_weights, None


def _readers(rows: Tensor, shares: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which sums read each row of a table, where those of a row begin, and their shares."""
    flat = rows.flatten()  # int32, which sorts in a third of the time
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat, minlength=length)
    starts = (counts.cumsum(0) - counts).int()
    return order.int() // rows.shape[1], starts, shares.flatten()[order]


def _gather(table: Tensor, rows: Tensor, starts: Tensor, shares: Tensor) -> Tensor:
    return F.embedding_bag(rows, table, starts, per_sample_weights=shares, mode="sum")


def _products(gradient: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """Return the products of gradients (N, D) with the rows (N, K) of a table that they are of, (N, K)."""
    live = (gradient != 0).any(1).nonzero().view(-1)
    number, per_sum = len(live), rows.shape[1]
    starts = torch.arange(0, number * per_sum, per_sum, dtype=rows.dtype, device=rows.device)
    sums = torch.arange(number, dtype=rows.dtype, device=rows.device).repeat_interleave(per_sum)
    # What PyTorch's own embedding_bag calls backwards.
    products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        gradient[live], table, rows[live].view(-1), starts, sums, 0, -1
    )
    return gradient.new_zeros(rows.shape).index_copy_(0, live, products.view(number, per_sum))
