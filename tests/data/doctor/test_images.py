"""Image files: what is refused, and what kind of picture each holds."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.doctor.conftest import picture, write_picture
from uavdet.data.doctor.images import examine_image


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert "not a readable image" in examine_image(tmp_path / "empty.jpg").problem


def truncate(share, end=b""):
    return lambda data: data[: int(len(data) * share)] + end


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("a.jpg", truncate(0.6), "is truncated"),
        ("a.jpg", truncate(0.001), "not a readable image"),
        ("a.png", truncate(0.6), "is truncated"),
        ("a.png", truncate(0.6, b"IEND"), "truncated or damaged"),  # its end looks whole; decoding finds it
        ("a.png", lambda data: data[:60] + bytes(40) + data[100:], "truncated or damaged"),
        ("a.bmp", truncate(0.6), "truncated or damaged"),
        ("a.tif", truncate(0.6), "readable image|truncated or damaged"),
        ("a.webp", truncate(0.6), "readable image|truncated or damaged"),
        ("a.jpg", lambda data: b"no image at all", "not a readable image"),
        ("a.jpg", lambda data: bytes(2000), "not a readable image"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, damage, reason):
    file = write_picture(tmp_path / name, 1, 200, 160)
    assert examine_image(file).problem == ""
    file.write_bytes(damage(file.read_bytes()))
    facts = examine_image(file)
    assert any(part in facts.problem for part in reason.split("|")), facts.problem
    assert facts.thumbnail is None


def test_missing_and_too_small_files_are_refused(tmp_path):
    assert examine_image(tmp_path / "none.jpg").problem == "does not exist"
    assert "at least 10x10" in examine_image(write_picture(tmp_path / "a.png", 1, 9, 30)).problem


def test_a_picture_of_too_many_pixels_is_a_problem_and_no_crash(tmp_path, monkeypatch):
    file = write_picture(tmp_path / "a.png", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "DecompressionBombError" in examine_image(file).problem


@pytest.mark.parametrize(
    ("name", "array", "mode", "bits"),
    [
        ("a.png", np.zeros((20, 30, 3), np.uint8), "colour", 8),
        ("a.png", np.zeros((20, 30), np.uint8), "grey", 8),
        ("a.png", np.zeros((20, 30, 4), np.uint8), "alpha", 8),
        ("a.png", np.zeros((20, 30), np.uint16), "grey", 16),
        ("a.png", np.zeros((20, 30, 3), np.uint16), "colour", 16),
        ("a.tif", np.zeros((20, 30), np.uint16), "grey", 16),
        ("a.jpg", np.zeros((20, 30), np.uint8), "grey", 8),
        ("a.jpg", np.zeros((20, 30, 3), np.uint8), "colour", 8),
    ],
)
def test_the_kind_of_picture_is_known(tmp_path, name, array, mode, bits):
    cv2.imwrite(str(tmp_path / name), array)
    facts = examine_image(tmp_path / name)
    assert (facts.problem, facts.mode, facts.bits, facts.size) == ("", mode, bits, (30, 20))


def test_palettes_and_print_colours_are_known(tmp_path):
    Image.fromarray(picture(1)).convert("P").save(tmp_path / "p.png")
    Image.fromarray(picture(1)).convert("CMYK").save(tmp_path / "c.jpg")
    assert examine_image(tmp_path / "p.png").mode == "palette"
    assert examine_image(tmp_path / "c.jpg").mode == "cmyk"


def test_the_peak_of_deep_grey_images_is_kept(tmp_path):
    values = np.arange(600, dtype=np.uint16).reshape(20, 30)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert examine_image(tmp_path / "a.png").peak == 599


def test_grey_stored_in_colour_is_told_from_colour(tmp_path):
    grey = cv2.cvtColor(cv2.cvtColor(picture(1), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    for name in ("grey.jpg", "grey.png"):
        cv2.imwrite(str(tmp_path / name), grey)
        assert examine_image(tmp_path / name).grey_in_colour
    assert not examine_image(write_picture(tmp_path / "colour.jpg", 1)).grey_in_colour


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_images_are_seen_upright(tmp_path, orientation):
    """The oracle is OpenCV, which turns an image by EXIF as training reads it."""
    image = Image.fromarray(picture(1, 96, 64))
    exif = image.getexif()
    exif[274] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    facts = examine_image(tmp_path / "a.jpg")
    upright = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_GRAYSCALE)
    assert facts.orientation == orientation
    assert facts.size == upright.shape[::-1]
    expected = cv2.resize(upright, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(facts.thumbnail.astype(int) - expected).mean() < 4


def move_exif_behind_the_pixels(data):
    """Return a PNG whose eXIf chunk stands after its IDAT chunk, as the format allows."""
    exif = data.index(b"eXIf") - 4
    end = exif + 12 + int.from_bytes(data[exif : exif + 4], "big")
    return data[:exif] + data[end:-12] + data[exif:end] + data[-12:]


def test_a_png_may_hold_its_orientation_behind_the_pixels(tmp_path):
    image = Image.fromarray(picture(1, 96, 64))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "a.png", exif=exif)
    (tmp_path / "b.png").write_bytes(move_exif_behind_the_pixels((tmp_path / "a.png").read_bytes()))
    for name in ("a.png", "b.png"):
        facts = examine_image(tmp_path / name)
        assert (facts.problem, facts.size, facts.orientation) == ("", (64, 96), 6)
        assert cv2.imread(str(tmp_path / name)).shape[:2] == (96, 64)


def test_a_wrong_suffix_is_noticed_and_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(write_picture(tmp_path / "a.png", 1).read_bytes())
    facts = examine_image(tmp_path / "a.jpg")
    assert (facts.problem, facts.wrong_suffix, facts.format) == ("", True, "PNG")
    assert not examine_image(tmp_path / "a.png").wrong_suffix


def test_formats_that_training_cannot_read_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    buffer = io.BytesIO()
    Image.fromarray(picture(1)).save(buffer, "GIF")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert "holds GIF" in examine_image(tmp_path / "a.jpg").problem
    assert examine_image(write_picture(tmp_path / "b.jpg", 1)).problem == ""
