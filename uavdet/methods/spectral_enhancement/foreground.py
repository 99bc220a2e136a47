"""Which cells of a feature map objects lie in (SET, CVPR 2025, Eq. 1), for a whole batch at once."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Mask = Literal["overlap", "nearest"]
Span = tuple[Tensor, Tensor]

_ROUNDING = 1e-3  # cells or pixels: normalised float32 coordinates, and six decimals in a file, are that far off


def foreground_cells(
    boxes: Tensor,
    image: Tensor,
    images: int,
    shape: tuple[int, int],
    mask: Mask = "overlap",
    image_size: tuple[int, int] | None = None,
) -> Tensor:
    """Return which cells of a feature map hold a part of an object.

    `overlap` takes every cell that a box reaches into, at least the one under its centre, so that no object is taken
    for background. `nearest` is the way of the released code: boxes are cut down to whole pixels of the network's
    input, filled, and of each cell only the top left pixel is looked at. An object of 8 pixels is then lost in 3 of 4
    cases at stride 16, and in 15 of 16 at stride 32. The paper leaves the way open.

    A box that is partly outside the image counts with the part inside it; one that is wholly outside is nowhere.
    Nothing leaves the device, and no step goes box by box: each box adds to four corners of a difference array, whose
    sums along both axes count the boxes of each cell.

    Args:
        boxes: (N, 4), cxcywh divided by the sides of the network's input.
        image: (N,), the place of each box's image in the batch.
        images: Images in the batch.
        shape: (height, width) of the feature map in cells.
        mask: "overlap" or "nearest".
        image_size: (width, height) of the network's input in pixels; `nearest` needs it.

    Returns:
        (images, 1, height, width) bool, on the device of `boxes`.

    Raises:
        ValueError: `mask` is neither, or `nearest` has no `image_size`.
    """
    if mask not in get_args(Mask):
        raise ValueError(f"mask={mask!r} is not usable: give {' or '.join(get_args(Mask))}")
    if mask == "nearest" and image_size is None:
        raise ValueError("mask='nearest' needs image_size, (width, height) in pixels")
    centre, half = boxes[:, :2].detach().float(), boxes[:, 2:].detach().float() / 2
    low, high = centre - half, centre + half
    inside = ((high >= 0) & (low <= 1)).all(-1)
    low, high = (torch.where(inside[:, None], corner, 0).clamp(0, 1) for corner in (low, high))
    spans = []
    for axis, cells in enumerate((shape[1], shape[0])):
        ends = low[:, axis], high[:, axis]
        spans.append(_sampled(*ends, cells, image_size[axis]) if mask == "nearest" else _overlapped(*ends, cells))  # type: ignore[index]
    return _fill(spans, inside, image.to(boxes.device).long(), images, shape)


def _overlapped(low: Tensor, high: Tensor, cells: int) -> Span:
    """Return the first cell, and the one behind the last, that boxes reach into along one axis; (N,) each."""
    centre = ((low + high) / 2 * cells).floor().clamp(max=cells - 1)
    start = torch.minimum((low * cells + _ROUNDING).floor(), centre)
    stop = torch.maximum((high * cells - _ROUNDING).ceil(), centre + 1)
    return start.long(), stop.long()


def _sampled(low: Tensor, high: Tensor, cells: int, pixels: int) -> Span:
    """Return the first cell, and the one behind the last, whose first pixel lies in boxes cut down to whole pixels.

    Cell i begins with pixel floor(i * pixels / cells), which is p or more where i is ceil(p * cells / pixels) or more.
    """
    start, stop = ((end * pixels + _ROUNDING).floor().long() for end in (low, high))
    return _divide_up(start * cells, pixels), _divide_up(stop * cells, pixels)


def _divide_up(number: Tensor, divisor: int) -> Tensor:
    return -torch.div(-number, divisor, rounding_mode="floor")


def _fill(spans: list[Span], inside: Tensor, image: Tensor, images: int, shape: tuple[int, int]) -> Tensor:
    """Return (images, 1, height, width): whether a box spans the cell; `spans` holds the columns, then the rows."""
    height, width = shape[0] + 1, shape[1] + 1
    (left, right), (top, bottom) = spans
    corners = torch.cat([y * width + x for y in (top, bottom) for x in (left, right)])
    sign = inside.int()
    counts = torch.zeros(images * height * width, dtype=torch.int32, device=image.device)
    counts.index_add_(0, corners + (image * height * width).repeat(4), torch.cat([sign, -sign, -sign, sign]))
    counts = counts.view(images, 1, height, width).cumsum(2, dtype=torch.int32).cumsum(3, dtype=torch.int32)
    return counts[..., :-1, :-1] > 0
