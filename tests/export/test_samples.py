"""Images and truth of the parity gate."""

import json

import cv2
import numpy as np
import pytest

from tests.realdata import REAL_DATA
from uavdet.errors import DataError
from uavdet.export.samples import _render, read_samples

NAMES = {0: "Car", 1: "pedestrian"}


def test_no_image_is_refused():
    with pytest.raises(DataError, match="images=0 leaves nothing to compare on"):
        read_samples(NAMES, (64, 64), count=0)


def test_scenes_are_thermal_and_colour_and_the_same_every_time():
    first = read_samples(NAMES, (192, 64), count=4)
    _render.cache_clear()
    again = read_samples(NAMES, (192, 64), count=4)
    assert [name.split()[0] for name in first.images] == ["thermal", "colour"] * 2
    for name, image in first.images.items():
        assert image.shape == (192, 200, 3)  # 160 pixels at least, and a quarter more in width
        np.testing.assert_array_equal(image, again.images[name])
        grey = (image == image[..., :1]).all()
        assert grey == name.startswith("thermal")


def test_truth_of_scenes_has_the_classes_that_the_model_knows():
    samples = read_samples(NAMES, (128, 128), count=2)
    assert samples.truth.names == NAMES
    assert {int(category) for image in samples.truth.images for category in image.classes} == {0, 1}
    assert read_samples({0: "kite"}, (64, 64), count=1).truth is None


@pytest.mark.skipif(REAL_DATA is None, reason="no real images at hand")
def test_images_of_a_dataset_are_spread_and_joined_by_colour():
    file = REAL_DATA / "hituav" / "data.yaml"
    samples = read_samples({0: "x"}, (64, 64), file, count=5)
    names = [image.name for image in samples.truth.images]
    listed = json.loads((file.parent / "annotations" / "instances_val.json").read_text(encoding="utf-8"))["images"]
    assert names == [listed[place]["file_name"] for place in (0, 25, 50, 74, 99)]  # of 100, quarter by quarter
    assert [name.split()[0] for name in list(samples.images)[5:]] == ["colour"] * 2
    np.testing.assert_array_equal(samples.images[names[0]], cv2.imread(str(file.parent / "images" / "val" / names[0])))


def test_a_dataset_without_annotations_json(tiny_data):
    samples = read_samples({0: "person", 1: "car"}, (64, 64), tiny_data, count=100)
    assert len(samples.truth.images) == 4
    assert samples.truth.counts.sum() > 0
