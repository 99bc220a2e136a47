"""Cells of objects, against loops over boxes and cells in exact arithmetic."""

from fractions import Fraction

import pytest
import torch

from uavdet.methods.spectral_enhancement.foreground import foreground_cells

SHAPES = [(4, 4), (5, 9), (20, 12), (1, 3)]
ROUNDING = Fraction(1, 1000)


def corners(box):
    """Return x0, y0, x1, y1 of a float32 cxcywh box as fractions."""
    cx, cy, w, h = (Fraction(float(value)) for value in box)
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def reached(low, high, cells):
    """Return which cells of one axis a box from `low` to `high` reaches into."""
    low, high = (min(max(end, 0), 1) for end in (low, high))
    centre = min(int((low + high) / 2 * cells), cells - 1)
    overlap = [min(high * cells, cell + 1) - max(low * cells, cell) for cell in range(cells)]
    return torch.tensor([cell == centre or share > ROUNDING for cell, share in enumerate(overlap)])


def overlapped(boxes, image, images, shape):
    """Return the foreground as the definition says it, box by box."""
    found = torch.zeros(images, 1, *shape, dtype=torch.bool)
    for box, place in zip(boxes, image.long().tolist(), strict=True):
        x0, y0, x1, y1 = corners(box)
        if x1 >= 0 and y1 >= 0 and x0 <= 1 and y0 <= 1:
            found[place, 0] |= reached(y0, y1, shape[0])[:, None] & reached(x0, x1, shape[1])
    return found


def sampled(boxes, image, images, shape, size):
    """Return the foreground of the released code: fill whole pixels, then take every cell's top left one."""
    width, height = size
    found = torch.zeros(images, 1, *shape, dtype=torch.bool)
    for place in range(images):
        pixels = torch.zeros(height, width, dtype=torch.bool)
        for box in boxes[image.long() == place]:
            x0, y0, x1, y1 = (
                int(min(max(value, 0), 1) * side + ROUNDING) for value, side in zip(corners(box), size * 2, strict=True)
            )
            pixels[y0:y1, x0:x1] = True
        found[place, 0] = torch.nn.functional.interpolate(pixels[None, None].float(), shape, mode="nearest")[0, 0] > 0
    return found


def random_boxes(count, seed, largest=0.4):
    """Return boxes of which some are partly outside the image, and the places of their images among three."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * 1.1 - 0.05
    sides = torch.rand(count, 2, generator=generator) ** 3 * largest
    return torch.cat([centres, sides], 1), torch.randint(0, 3, (count,), generator=generator).float()


@pytest.mark.parametrize("mask", ["overlap", "nearest"])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_without_boxes_are_background(mask, shape):
    cells = foreground_cells(torch.zeros(0, 4), torch.zeros(0), 2, shape, mask, (64, 64))
    assert cells.shape == (2, 1, *shape)
    assert cells.dtype == torch.bool
    assert not cells.any()


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_overlap_is_every_cell_that_a_box_reaches_into(shape, count):
    boxes, image = random_boxes(count, seed=count)
    assert torch.equal(foreground_cells(boxes, image, 3, shape), overlapped(boxes, image, 3, shape))


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize(("shape", "size"), [((8, 8), (64, 64)), ((5, 9), (144, 80)), ((12, 20), (160, 384))])
def test_nearest_is_the_pixel_mask_of_the_released_code(shape, size, count):
    boxes, image = random_boxes(count, seed=count)
    found = foreground_cells(boxes, image, 3, shape, "nearest", size)
    assert torch.equal(found, sampled(boxes, image, 3, shape, size))


@pytest.mark.parametrize("mask", ["overlap", "nearest"])
def test_a_thousand_boxes(mask):
    boxes, image = random_boxes(1000, seed=0, largest=0.05)
    shape, size = (40, 64), (512, 320)
    expected = overlapped(boxes, image, 3, shape) if mask == "overlap" else sampled(boxes, image, 3, shape, size)
    assert torch.equal(foreground_cells(boxes, image, 3, shape, mask, size), expected)


# Cells of one 4 x 4 map, worked by hand: (row, column).
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.375, 0.375, 0.25, 0.25), {(1, 1)}),  # a cell, exactly
        ((0.5, 0.5, 0.0, 0.0), {(2, 2)}),  # no size, on a corner of four cells
        ((0.5, 0.5, 0.02, 0.02), {(1, 1), (1, 2), (2, 1), (2, 2)}),
        ((0.1, 0.9, 0.001, 0.001), {(3, 0)}),
        ((0.1, 0.9, 0.0, 0.6), {(2, 0), (3, 0)}),  # no width
        ((1.0, 1.0, 0.0, 0.0), {(3, 3)}),
        ((0.0, 0.375, 0.3, 0.25), {(1, 0)}),  # half outside
        ((-0.1, 0.375, 0.5, 0.25), {(1, 0)}),  # its centre outside
        ((1.5, 0.5, 0.2, 0.2), set()),
        ((float("nan"), 0.5, 0.2, 0.2), set()),
        ((0.5, 0.5, 3.0, 0.25), {(row, column) for row in (1, 2) for column in range(4)}),
        ((0.5, 0.5, 1.0, 1.0), {(row, column) for row in range(4) for column in range(4)}),
    ],
)
def test_cells_worked_by_hand(box, expected):
    cells = foreground_cells(torch.tensor([box]), torch.zeros(1), 1, (4, 4))[0, 0]
    assert {tuple(cell) for cell in cells.nonzero().tolist()} == expected


def test_boxes_on_the_grid_take_no_cell_beside_it():
    """Rounding of normalised coordinates, in float32 or with six decimals in a file, is no overlap."""
    for cells in (20, 23, 40, 80, 160):
        for first in range(cells - 2):
            low, high = first / cells, (first + 2) / cells
            for digits in (6, 9):
                box = torch.tensor([[round((low + high) / 2, digits), 0.5, round(high - low, digits), 0.5]])
                found = foreground_cells(box, torch.zeros(1), 1, (1, cells))[0, 0, 0]
                assert found.nonzero().flatten().tolist() == [first, first + 1]


@pytest.mark.parametrize(("side", "stride", "kept"), [(4, 8, 1 / 4), (4, 16, 1 / 16), (8, 16, 1 / 4), (8, 32, 1 / 16)])
def test_nearest_loses_tiny_objects_and_overlap_none(side, stride, kept):
    """An object of w pixels keeps a cell of stride s with the probability min(1, w / s)^2."""
    places = [(x, y) for x in range(stride) for y in range(stride)]
    boxes = torch.tensor([[(32 + x + side / 2) / 128, (32 + y + side / 2) / 128, side / 128] for x, y in places])
    boxes = torch.cat([boxes, boxes[:, 2:]], 1)
    image, shape = torch.arange(len(boxes)), (128 // stride, 128 // stride)
    found = foreground_cells(boxes, image, len(boxes), shape, "nearest", (128, 128)).flatten(1).any(1)
    assert found.double().mean() == pytest.approx(kept)
    assert foreground_cells(boxes, image, len(boxes), shape).flatten(1).any(1).all()


def test_boxes_count_in_their_own_image():
    boxes = torch.tensor([[0.1, 0.1, 0.1, 0.1]]).repeat(2, 1)
    assert foreground_cells(boxes, torch.tensor([2.0, 0.0]), 4, (4, 4)).flatten(1).any(1).tolist() == [
        *(True, False),
        *(True, False),
    ]


def test_half_precision_boxes_and_gradients_are_harmless():
    boxes = torch.tensor([[0.5, 0.5, 0.25, 0.25]], requires_grad=True)
    assert not foreground_cells(boxes, torch.zeros(1), 1, (4, 4)).requires_grad
    assert foreground_cells(boxes.bfloat16(), torch.zeros(1), 1, (4, 4)).sum() == 4


@pytest.mark.parametrize(("mask", "said"), [("nearst", "mask='nearst' is not usable"), ("nearest", "needs image_size")])
def test_unusable_masks_are_refused(mask, said):
    with pytest.raises(ValueError, match=said):
        foreground_cells(torch.zeros(1, 4), torch.zeros(1), 1, (4, 4), mask)
