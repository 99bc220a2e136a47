"""Where tiles lie: every pixel is covered, neighbours overlap, and every tile has the full size."""

import numpy as np
import pytest

from uavdet.tiling.grid import fitting_side, tile_grid


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "lefts", "tops"),
    [
        ((1, 1), (100, 100), 0.2, [0], [0]),
        ((80, 60), (100, 100), 0.2, [0], [0]),
        ((100, 100), (100, 100), 0.2, [0], [0]),
        ((101, 50), (100, 100), 0.25, [0, 1], [0]),
        ((250, 100), (100, 100), 0.25, [0, 75, 150], [0]),
        ((251, 100), (100, 100), 0.25, [0, 75, 150, 151], [0]),
        ((300, 200), (100, 100), 0, [0, 100, 200], [0, 100]),
        ((1920, 1080), (512, 512), 0.2, [0, 409, 818, 1227, 1408], [0, 409, 568]),  # 102.4 pixels of overlap are 103
        ((1920, 1080), (640, 540), 0.2, [0, 512, 1024, 1280], [0, 432, 540]),
        ((3, 1), (1, 1), 0.9, [0, 1, 2], [0]),
    ],
)
def test_grids_worked_by_hand(size, tile, overlap, lefts, tops):
    width, height = min(tile[0], size[0]), min(tile[1], size[1])
    wanted = [[left, top, left + width, top + height] for top in tops for left in lefts]
    assert tile_grid(size, tile, overlap).tolist() == wanted


def test_every_pixel_is_covered_and_neighbours_overlap_as_much_as_asked_for():
    random = np.random.default_rng(0)
    for _ in range(200):
        size = tuple(int(n) for n in random.integers(1, 300, 2))
        tile = tuple(int(n) for n in random.integers(1, 200, 2))
        overlap = float(random.choice([0, 0.1, 0.2, 0.5, 0.9, random.uniform(0, 0.9)]))
        windows = tile_grid(size, tile, overlap)
        covered = np.zeros(size[::-1], bool)
        for left, top, right, bottom in windows:
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
            covered[top:bottom, left:right] = True
        assert covered.all()
        assert len(np.unique(windows, axis=0)) == len(windows)
        for axis in (0, 1):
            side = min(tile[axis], size[axis])
            assert (windows[:, axis + 2] - windows[:, axis] == side).all()
            starts = np.unique(windows[:, axis])
            shared = starts[:-1] + side - starts[1:]
            assert (shared >= min(overlap * side, side - 1) - 1e-6).all(), (size, tile, overlap)


def test_an_object_no_larger_than_the_overlap_is_whole_in_a_tile():
    random = np.random.default_rng(1)
    for _ in range(200):
        size = random.integers(50, 700, 2)
        tile = random.integers(20, 300, 2)
        overlap = random.uniform(0.1, 0.9)
        side = random.uniform(0.1, overlap * np.minimum(tile, size))
        corner = random.uniform(0, size - side)
        windows = tile_grid(tuple(map(int, size)), tuple(map(int, tile)), overlap)
        assert ((windows[:, :2] <= corner) & (windows[:, 2:] >= corner + side)).all(1).any()


@pytest.mark.parametrize("overlap", [0, 0.2, 0.5, 0.9])
def test_the_fitting_side_is_the_shortest_that_so_many_tiles_take(overlap):
    for length in [1, 7, 100, 1080]:
        for count in range(1, min(length, 9)):
            enough = [side for side in range(1, length + 1) if len(tile_grid((length, 1), (side, 1), overlap)) <= count]
            assert fitting_side(length, count, overlap) == min(enough), (length, count)
