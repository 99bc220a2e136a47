"""Drawn errors: the right colours at the right places, on images of any kind."""

import cv2
import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image
from uavdet.evaluation.confusion import find_errors
from uavdet.evaluation.pictures import CONFUSED, FALSE, FOUND, IGNORED, MISSED, draw_errors, read_picture, write_picture

NAMES = {0: "car", 1: "van"}
FOUND_BOX, MISSED_BOX, FALSE_BOX = [20, 20, 40, 40], [80, 20, 100, 40], [140, 20, 160, 40]
CONFUSED_BOX, REGION = [200, 20, 220, 40], [20, 100, 80, 160]


def has_colour(picture, colour, box, scale):
    left, top, right, bottom = (round(value * scale) for value in box)
    part = picture[max(0, top - 4 * int(scale + 1)) : bottom + 9, max(0, left - 9) : right + 9].astype(int)
    return (np.abs(part - colour).sum(-1) < 60).any()


@pytest.mark.parametrize("size", [(256, 200), (1300, 1016), (2560, 2000)])
def test_every_kind_has_its_colour(size):
    annotated = make_image("a.jpg", [FOUND_BOX, MISSED_BOX, CONFUSED_BOX], [0, 0, 0], regions=[REGION], size=(256, 200))
    found = make_detections([FOUND_BOX, FALSE_BOX, CONFUSED_BOX, REGION], classes=[0, 0, 1, 0])
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    picture = draw_errors(image, annotated, find_errors(annotated, found, 0.3), NAMES, 0.3)
    assert (image == 128).all()
    assert max(picture.shape) >= 1280
    scale = picture.shape[1] / 256
    boxes = {FOUND: FOUND_BOX, MISSED: MISSED_BOX, FALSE: FALSE_BOX, CONFUSED: CONFUSED_BOX, IGNORED: REGION}
    for colour in boxes:
        for other, place in boxes.items():
            assert has_colour(picture, colour, place, scale) == (colour == other), (colour, place)


def test_an_image_without_anything_has_its_legend_alone():
    annotated = make_image("a.jpg", size=(640, 512))
    picture = draw_errors(
        np.zeros((512, 640, 3), np.uint8), annotated, find_errors(annotated, make_detections(), 0), NAMES, 0.0
    )
    assert picture.shape[0] > 1024
    assert not picture[:1024].any()
    assert picture[1024:].any()


def test_boxes_beyond_the_image_are_drawn_where_they_can_be():
    annotated = make_image("a.jpg", [[-50, -50, 700, 600]], regions=[[-9, -9, -1, -1], [600, 500, 900, 900]])
    errors = find_errors(annotated, make_detections([[630, 500, 660, 530]], [0.9]), 0.5)
    assert draw_errors(np.zeros((512, 640, 3), np.uint8), annotated, errors, NAMES, 0.5).any()


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_pictures_are_read_as_eight_bit_colour(tmp_path, shape, depth):
    ramp = np.broadcast_to(np.linspace(1000, 3000, 40)[None, :, None], (30, 40, 3))
    image = (ramp / 16).astype(np.uint8) if depth is np.uint8 else ramp.astype(np.uint16)
    file = tmp_path / "ä.png"
    file.write_bytes(cv2.imencode(".png", image if len(shape) == 3 else np.ascontiguousarray(image[..., 0]))[1])
    picture = read_picture(file)
    assert picture.shape == (30, 40, 3)
    assert picture.dtype == np.uint8
    if depth is np.uint16:  # stretched to its own range
        assert picture.min() == 0
        assert picture.max() == 255


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_unreadable_pictures_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    assert read_picture(tmp_path / "a.jpg") is None


def test_pictures_are_written(tmp_path):
    write_picture(tmp_path / "ö.jpg", np.full((20, 30, 3), 90, np.uint8))
    assert read_picture(tmp_path / "ö.jpg").shape == (20, 30, 3)
