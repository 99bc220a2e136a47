"""Image files of converted datasets: links, copies, and parts in the image's own depth."""

import cv2
import numpy as np
import pytest
from PIL import Image

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.image_files import ImageWriter
from uavdet.errors import DataError


def save_noise(file, shape, dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    cv2.imwrite(str(file), pixels)
    return pixels


def part(file, crop, name="part.png"):
    return AnnotatedImage(file, name, crop[2:], crop=crop)


def test_images_are_linked_absolutely_or_copied(tmp_path, monkeypatch):
    save_noise(tmp_path / "a.png", (12, 16, 3))
    monkeypatch.chdir(tmp_path)
    image = AnnotatedImage((tmp_path / "a.png").relative_to(tmp_path), "a.png", (16, 12))
    ImageWriter(link=True).write(image, tmp_path / "new" / "deep" / "a.png")
    assert (tmp_path / "new" / "deep" / "a.png").readlink() == tmp_path / "a.png"
    ImageWriter(link=False).write(image, tmp_path / "copy.png")
    assert not (tmp_path / "copy.png").is_symlink()
    assert (tmp_path / "copy.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_a_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("Operation not permitted")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    save_noise(tmp_path / "a.png", (12, 16, 3))
    writer = ImageWriter(link=True)
    for name in ("b.png", "c.png"):
        writer.write(AnnotatedImage(tmp_path / "a.png", name, (16, 12)), tmp_path / name)
        assert (tmp_path / name).read_bytes() == (tmp_path / "a.png").read_bytes()
    assert writer.refused


@pytest.mark.parametrize(
    ("shape", "dtype"), [((30, 40, 3), np.uint8), ((30, 40), np.uint8), ((30, 40), np.uint16), ((30, 40, 4), np.uint8)]
)
def test_parts_keep_channels_and_depth(tmp_path, shape, dtype):
    pixels = save_noise(tmp_path / "a.png", shape, dtype)
    writer = ImageWriter(link=True)
    for left in (0, 25):
        writer.write(part(tmp_path / "a.png", (left, 5, 15, 20)), tmp_path / f"{left}.png")
        given = cv2.imread(str(tmp_path / f"{left}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(given, pixels[5:25, left : left + 15])
        assert given.dtype == dtype


def test_parts_are_of_the_upright_image(tmp_path):
    picture = Image.fromarray(np.arange(20 * 40, dtype=np.uint8).reshape(20, 40))
    exif = picture.getexif()
    exif[274] = 6  # shown after a quarter turn clockwise: 20 px wide, 40 px high
    picture.save(tmp_path / "a.png", exif=exif)
    ImageWriter(link=True).write(part(tmp_path / "a.png", (10, 0, 10, 30)), tmp_path / "p.png")
    expected = np.rot90(np.asarray(picture), -1)[0:30, 10:20]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "p.png"), cv2.IMREAD_GRAYSCALE), expected)


def test_bad_parts_are_named(tmp_path):
    save_noise(tmp_path / "a.png", (12, 16, 3))
    with pytest.raises(DataError, match=r"a.png: the part \[10, 0, 7, 12\] reaches over its border"):
        ImageWriter(link=True).write(part(tmp_path / "a.png", (10, 0, 7, 12)), tmp_path / "p.png")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(DataError, match=r"b\.jpg cannot be decoded"):
        ImageWriter(link=True).write(part(tmp_path / "b.jpg", (0, 0, 5, 5)), tmp_path / "p.png")


@pytest.mark.parametrize("link", [True, False])
def test_what_is_there_already_is_never_written_over(tmp_path, link):
    """A file system without capital letters takes A.png for a.png, which is a link to the user's file."""
    save_noise(tmp_path / "a.png", (12, 16, 3))
    save_noise(tmp_path / "b.png", (10, 16, 3))
    before = (tmp_path / "a.png").read_bytes()
    (tmp_path / "taken.png").symlink_to(tmp_path / "a.png")
    writer = ImageWriter(link)
    for image in (AnnotatedImage(tmp_path / "b.png", "taken.png", (16, 10)), part(tmp_path / "b.png", (0, 0, 5, 5))):
        with pytest.raises(DataError, match=r"b\.png cannot be written: this file system takes taken\.png"):
            writer.write(image, tmp_path / "taken.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert not writer.refused


def test_parts_of_float_pixels_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((12, 16), 700, dtype=np.float32))
    with pytest.raises(DataError, match=r"a\.tif has float32 pixels"):
        ImageWriter(link=True).write(part(tmp_path / "a.tif", (0, 0, 5, 5)), tmp_path / "p.png")
