"""Tiles: their windows, and what becomes of objects, regions and flags in them."""

from pathlib import Path

import numpy as np
import pytest

from uavdet.data.annotations import AnnotatedImage, Annotation, DropLog, IgnoreRegion
from uavdet.data.tiling import CutObject, cut_tiles, tile_windows, visible_shares
from uavdet.errors import UsageError


def scene(*objects, size=(250, 100), **fields):
    return AnnotatedImage(Path("/pictures/p.jpg"), "day/p.jpg", size, list(objects), **fields)


def cut(image, tile=(100, 100), overlap=25):
    drops = DropLog()
    return list(cut_tiles([image], tile, overlap, "val", drops)), drops


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "windows"),
    [
        ((80, 60), (100, 100), 25, [(0, 0, 80, 60)]),
        ((100, 100), (100, 100), 25, [(0, 0, 100, 100)]),
        ((101, 50), (100, 100), 25, [(0, 0, 100, 50), (1, 0, 100, 50)]),
        ((250, 100), (100, 100), 25, [(0, 0, 100, 100), (75, 0, 100, 100), (150, 0, 100, 100)]),
        ((251, 100), (100, 100), 25, [(0, 0, 100, 100), (75, 0, 100, 100), (150, 0, 100, 100), (151, 0, 100, 100)]),
        ((60, 150), (50, 100), 0, [(0, 0, 50, 100), (10, 0, 50, 100), (0, 50, 50, 100), (10, 50, 50, 100)]),
    ],
)
def test_windows_end_at_the_border(size, tile, overlap, windows):
    assert [tuple(window) for window in tile_windows(size, tile, overlap)] == windows


@pytest.mark.parametrize("overlap", [100, 150])
def test_an_overlap_as_large_as_the_tile_is_refused(overlap):
    with pytest.raises(UsageError, match=f"overlap={overlap} is not smaller than the tile of 100 pixels"):
        tile_windows((500, 500), (100, 120), overlap)


def test_every_object_smaller_than_the_overlap_is_whole_somewhere():
    random = np.random.default_rng(0)
    for _ in range(200):
        size = tuple(int(n) for n in random.integers(10, 700, 2))
        overlap = int(random.integers(1, 60))
        tile = tuple(int(n) for n in random.integers(overlap + 1, 300, 2))
        side = random.uniform(0.5, np.minimum(overlap, size))
        corner = random.uniform(0, np.array(size) - side)
        windows = tile_windows(size, tile, overlap)
        whole = [
            w for w in windows
            if w.left <= corner[0] and w.top <= corner[1]
            and corner[0] + side[0] <= w.left + w.width and corner[1] + side[1] <= w.top + w.height
        ]  # fmt: skip
        assert whole, (size, tile, overlap, corner, side)
        assert visible_shares([(*corner, *side)], size, windows).max() == 1


def test_images_without_objects_are_tiled_and_small_ones_stay_whole():
    tiles, drops = cut(scene())
    assert [tile.name for tile in tiles] == ["day/p__0_0.png", "day/p__75_0.png", "day/p__150_0.png"]
    assert [tile.crop for tile in tiles] == [(0, 0, 100, 100), (75, 0, 100, 100), (150, 0, 100, 100)]
    assert [tile.size for tile in tiles] == [(100, 100)] * 3
    assert tiles[1].flags == {"tile_of": "day/p.jpg", "tile": [75, 0, 100, 100]}
    assert len(drops) == 0
    small = scene(size=(100, 90))
    assert cut(small)[0] == [small]


def test_a_crop_is_cut_where_it_lies_in_its_file():
    tiles, _ = cut(scene(crop=(1000, 2000, 250, 100)))
    assert [tile.crop for tile in tiles] == [(1000, 2000, 100, 100), (1075, 2000, 100, 100), (1150, 2000, 100, 100)]


def test_70_percent_decides():
    # 20 px wide: the first tile ends at 100, so that it shows 14, 13 and 20 px of them; the second begins at 75.
    seventy, less, whole = ((86, 10, 20, 10), (87, 30, 20, 10), (80, 50, 20, 10))
    objects = [
        Annotation(tuple(map(float, box)), "car", flags={"n": n}) for n, box in enumerate((seventy, less, whole))
    ]
    first, second, third = cut(scene(*objects))[0]
    assert [(o.box, o.flags) for o in first.objects] == [
        ((86, 10, 14, 10), {"n": 0, "whole_bbox": [86, 10, 20, 10], "visible": 0.7}),
        ((80, 50, 20, 10), {"n": 2}),
    ]
    (region,) = first.ignore_regions
    assert isinstance(region, CutObject)
    assert (region.box, region.name, region.flags) == ((87, 30, 13, 10), "cut car", {"visible": 0.65, "n": 1})
    assert [o.box for o in second.objects] == [(11, 10, 20, 10), (12, 30, 20, 10), (5, 50, 20, 10)]
    assert (third.objects, third.ignore_regions) == ([], [])


def test_a_share_is_of_what_lies_inside_the_image():
    entry = Annotation((-40.0, 10.0, 50.0, 10.0), "car")  # 10 px of it lie inside, and the first tile shows them all
    tiles, drops = cut(scene(entry))
    assert [o.box for o in tiles[0].objects] == [(-40, 10, 50, 10)]
    assert len(drops) == 0


def test_ignored_objects_regions_and_excluded_ones_are_clipped_to_the_tile():
    image = scene(
        Annotation((95.0, 0.0, 40.0, 10.0), "car", ignored=True),
        ignore_regions=[IgnoreRegion((50.0, -5.0, 60.0, 20.0), "crowd", {"k": 1})],
        excluded=[Annotation((90.0, 0.0, 20.0, 10.0), "others")],
    )
    first, second, third = cut(image)[0]
    assert [(o.box, o.ignored) for o in first.objects] == [((95, 0, 5, 10), True)]
    assert [(r.box, r.name, r.flags) for r in first.ignore_regions] == [((50, 0, 50, 15), "crowd", {"k": 1})]
    assert [(r.box) for r in second.ignore_regions] == [(0, 0, 35, 15)]
    assert [e.box for e in first.excluded] == [(90, 0, 10, 10)]
    assert [e.box for e in second.excluded] == [(15, 0, 20, 10)]
    assert (third.objects, third.ignore_regions, third.excluded) == ([], [], [])


def test_areas_and_polygons_follow():
    square, nested = [80, 0, 100, 0, 100, 10, 80, 10], [[80.0, 0.0, 100.0, 0.0, 90.0, 10.0]]
    entry = Annotation((80.0, 0.0, 20.0, 10.0), "car", area=50.0, flags={"polygon": square, "segmentation": nested})
    mask = Annotation((80.0, 0.0, 25.0, 10.0), "car", area=100.0, flags={"segmentation": {"counts": "x"}})
    first, second, _ = cut(scene(entry, mask))[0]
    assert (first.objects[0].area, first.objects[0].flags["polygon"]) == (50.0, square)
    assert first.objects[1].area == 80.0  # 20 of 25 px
    assert second.objects[0].flags["polygon"] == [5, 0, 25, 0, 25, 10, 5, 10]
    assert second.objects[0].flags["segmentation"] == [[5, 0, 25, 0, 15, 10]]
    assert "segmentation" not in second.objects[1].flags


def test_an_object_that_no_tile_shows_is_counted():
    tiles, drops = cut(scene(Annotation((0.0, 0.0, 200.0, 50.0), "bus", origin="a.txt line 4")))
    assert [tile.objects for tile in tiles] == [[], [], []]
    assert [region.box for tile in tiles for region in tile.ignore_regions] == [
        (0, 0, 100, 50), (0, 0, 100, 50), (0, 0, 50, 50),
    ]  # fmt: skip
    ((key, count),) = drops.counts.items()
    assert (key[0], count, drops.places[key]) == ("val", 1, "a.txt line 4")
