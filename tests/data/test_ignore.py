"""Ignored regions: what is read, how they are made disjoint, and how they are painted over."""

import json

import numpy as np
import pytest

from uavdet.data.ignore import disjoint, fill_regions, read_ignored
from uavdet.errors import DataError


def raster(boxes, side=60):
    """Return how many boxes cover each of side x side unit cells."""
    count = np.zeros((side, side), int)
    for x1, y1, x2, y2 in boxes.astype(int):
        count[y1:y2, x1:x2] += 1
    return count


@pytest.mark.parametrize("number", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("seed", range(4))
def test_disjoint_boxes_cover_the_same_cells_once(number, seed):
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(0, 40, (number, 2)), rng.integers(1, 20, (number, 2))
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    parts = disjoint(boxes)
    assert parts.dtype == np.float32
    assert parts.shape[1] == 4
    np.testing.assert_array_equal(raster(parts), (raster(boxes) > 0).astype(int))


def test_the_same_box_twice_is_one_box():
    box = np.array([[1, 1, 5, 5]], np.float32)
    np.testing.assert_array_equal(disjoint(np.concatenate([box, box])), box)


def annotations(tmp_path, **changes):
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 2, "file_name": "b.jpg", "width": 100, "height": 50},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 0, 10, 10], "area": 100, "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "car"}],
        "ignore_regions": [
            {"image_id": 1, "bbox": [90, 25, 30, 10]},  # reaches beyond the right border
            {"image_id": 1, "bbox": [200, 25, 30, 10]},  # wholly outside
        ],
        **changes,
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    return file


def test_regions_and_crowds_are_read_and_objects_are_not(tmp_path):
    found = read_ignored(annotations(tmp_path), {0: "car"}, dict.fromkeys(["x/a.jpg", "x/b.jpg"], (50, 100)))
    assert list(found) == ["x/a.jpg"]
    np.testing.assert_allclose(found["x/a.jpg"], [[0.9, 0.5, 1, 0.7], [0.5, 0, 0.6, 0.2]], atol=1e-6)


def test_a_dataset_without_regions_has_none(tmp_path):
    assert (
        read_ignored(annotations(tmp_path, annotations=[], ignore_regions=[]), {0: "car"}, {"a.jpg": (50, 100)}) == {}
    )


def test_a_region_that_is_not_finite_names_its_image(tmp_path):
    file = annotations(tmp_path, ignore_regions=[{"image_id": 2, "bbox": [float("nan"), 0, 1, 1]}])
    with pytest.raises(DataError, match=r"b\.jpg"):
        read_ignored(file, {0: "car"}, {"b.jpg": (50, 100)})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [({"a.jpg": (50, 100), "c.jpg": (50, 100)}, r"c\.jpg"), ({"a.jpg": (100, 50)}, r"'a\.jpg' 100x50 pixels")],
)
def test_annotations_of_other_images_are_refused(tmp_path, shapes, message):
    with pytest.raises(DataError, match=message):
        read_ignored(annotations(tmp_path), {0: "car"}, shapes)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_region_is_painted_in_its_mean_and_its_objects_stay(channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 60, *channels)).astype(np.uint8)
    before = image.copy()
    region = np.array([[10 / 60, 10 / 40, 30 / 60, 30 / 40]], np.float32)
    thing = np.array([[12 / 60, 12 / 40, 16 / 60, 18 / 40]], np.float32)
    painted = fill_regions(image, region, thing)
    np.testing.assert_array_equal(image, before)
    mean = before[10:30, 10:30].mean((0, 1)).round()
    expected = before.copy()
    expected[10:30, 10:30] = mean
    expected[12:18, 12:16] = before[12:18, 12:16]
    np.testing.assert_array_equal(painted, expected)


def test_without_regions_nothing_is_painted():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    np.testing.assert_array_equal(fill_regions(image, np.zeros((0, 4)), np.array([[0, 0, 1, 1]])), image)
