"""The network's input against that of training, and the memory that it takes."""

import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from tests.realdata import REAL_DATA
from uavdet.errors import DataError
from uavdet.runtime.metadata import ImageInput
from uavdet.runtime.preprocess import InputBuffer, stretch_images
from uavdet.video.sources import read_picture


def images(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def trained_on(image, size):
    """Return what training makes of an image: Ultralytics' transform, then its division."""
    from ultralytics.data.augment import LetterBox

    resized = LetterBox(size, scale_fill=True)(image=image)
    return (torch.from_numpy(np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1))).float() / 255).numpy()


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (64, 64)])
def test_it_equals_training_pixel_by_pixel(size):
    given = images((50, 70), size, (200, 31))
    for row, image in zip(stretch_images(given, size), given, strict=True):
        np.testing.assert_array_equal(row, trained_on(image, size))


def test_files_are_read_and_stretched_as_the_dataset_of_training_does(tiny_data):
    from uavdet.data.config import load_data_config
    from uavdet.data.dataset import StretchDataset

    data = load_data_config(tiny_data)
    folder = tiny_data.parent / "images" / "val"
    dataset = StretchDataset(img_path=str(folder), imgsz=96, augment=False, data={"names": data.names, "split": "val"})
    assert len(dataset) == 4
    for index, file in enumerate(dataset.im_files):
        expected = (dataset[index]["img"].float() / 255).numpy()
        np.testing.assert_array_equal(stretch_images([read_picture(file)], (96, 96))[0], expected)


@pytest.mark.skipif(REAL_DATA is None, reason="no real drone images at hand: set UAVDET_DATA")
def test_real_images_equal_those_of_the_predictor():
    from ultralytics.utils.patches import imread

    files = sorted((REAL_DATA / "hituav" / "images" / "val").glob("*.jpg"))[::20]
    assert files
    for file in files:
        given = stretch_images([read_picture(file)], (384, 640))[0]
        np.testing.assert_array_equal(given, trained_on(imread(str(file)), (384, 640)))


def test_no_image_gives_no_input():
    assert stretch_images([], (32, 64)).shape == (0, 3, 32, 64)


def test_grey_images_have_three_equal_channels():
    batch = stretch_images([images((20, 30))[0][..., 0]], (32, 32))
    np.testing.assert_array_equal(batch[0, 0], batch[0, 2])


def test_a_grey_network_reads_grey_and_colour_images():
    colour = images((20, 30))[0]
    grey = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    batch = stretch_images([colour, grey], (32, 64), channels=1)
    assert batch.shape == (2, 1, 32, 64)
    np.testing.assert_array_equal(batch[0], batch[1])
    np.testing.assert_array_equal(batch[0, 0], cv2.resize(grey, (64, 32)) / np.float32(255))


@pytest.mark.parametrize("size", [(32, 64), (20, 30)])
@pytest.mark.parametrize(
    ("channels_last", "color"), [(True, "BGR"), (True, "RGB"), (False, "RGB"), (False, "BGR"), (True, "grey")]
)
def test_uint8_inputs_hold_the_stretched_picture(channels_last, color, size):
    channels = 1 if color == "grey" else 3
    form = ImageInput("images", (32, 64), channels, np.uint8, channels_last, color)
    (image,) = images(size)
    expected = cv2.resize(image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (64, 32))
    expected = expected.reshape(32, 64, channels)[..., :: -1 if color == "RGB" else 1]
    given = InputBuffer(form).fill([image], 1)
    assert given.dtype == np.uint8
    np.testing.assert_array_equal(given[0] if channels_last else given[0].transpose(1, 2, 0), expected)


def test_half_precision_inputs_are_rounded_from_single_precision():
    (image,) = images((50, 70))
    given = InputBuffer(ImageInput("images", (32, 64), dtype=np.float16)).fill([image], 1)
    np.testing.assert_array_equal(given, stretch_images([image], (32, 64)).astype(np.float16))


def test_views_of_other_arrays_are_read_rightly():
    (image,) = images((50, 70))
    four = np.concatenate([image, image[..., :1]], 2)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    expected = stretch_images([image, mirrored], (32, 64))
    np.testing.assert_array_equal(stretch_images([four[..., :3], image[:, ::-1]], (32, 64)), expected)


def test_missing_images_of_a_batch_are_black_also_after_others():
    buffer = InputBuffer(ImageInput("images", (32, 64)))
    buffer.fill(images((32, 64), (32, 64), (32, 64)), 3)
    part = buffer.fill(images((32, 64), seed=5), 3)
    np.testing.assert_array_equal(part[0], stretch_images(images((32, 64), seed=5), (32, 64))[0])
    assert not part[1:].any()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_memory_is_made_once(dtype):
    """The input of one image has 2.4 MB; a call after the first one makes no array of a twentieth of that."""
    buffer = InputBuffer(ImageInput("images", (448, 448), dtype=dtype, channels_last=dtype is np.uint8, color="BGR"))
    given = images((720, 1280), (448, 448))
    first = buffer.fill(given[:1], 1)
    tracemalloc.start()
    assert buffer.fill(given[1:], 1) is first
    assert buffer.fill(given[:1], 1) is first
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120_000


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        None,
        "x.jpg",
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(DataError, match=r"Image 1 is .* Give uint8"):
        stretch_images([np.zeros((4, 4, 3), np.uint8), image], (32, 32))
