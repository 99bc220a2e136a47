"""Pictures of every odd kind: the right result, or one clear line."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from uavdet.errors import DataError
from uavdet.video.sources import read_picture


def flat_png(path, width, height):
    """Write a PNG of one bit a pixel, every second pixel white; rows are packed one by one."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    row = b"\0" + b"\x55" * ((width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"x" * 99, "is damaged or no picture")],
)
def test_files_that_are_no_pictures_are_told_of(content, message, tmp_path):
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.jpg {message}.*\. [A-Z]"):
        read_picture(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_a_picture_of_one_pixel_is_read(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(cv2.imencode(suffix, np.full((1, 1, 3), 90, np.uint8))[1].tobytes())
    image = read_picture(path)
    assert image.shape == (1, 1, 3)
    assert abs(int(image.max()) - 90) <= 2


def test_a_picture_of_20000_by_20000_pixels_is_read(tmp_path):
    image = read_picture(flat_png(tmp_path / "x.png", 20_000, 20_000), grey=True)
    assert image.shape == (20_000, 20_000)
    assert image[::9999, :4].tolist() == [[0, 255, 0, 255]] * 3


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(40_000, 40_000, r"is too large: OpenCV decodes up to 2\^30 pixels"), (2_000_000, 1, "cannot be decoded")],
)
def test_pictures_that_are_too_large_are_refused_in_one_line(width, height, message, tmp_path):
    with pytest.raises(DataError, match=message) as raised:
        read_picture(flat_png(tmp_path / "x.png", width, height))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_and_palettes_are_left_out(mode, tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 4), dtype=np.uint8)
    given = Image.fromarray(colours, "RGBA").convert(mode)
    given.save(tmp_path / "x.png")
    # Colours stay as they are beneath what is transparent: nothing is blended with a ground.
    opaque = given.convert("RGB") if mode == "P" else None
    expected = np.asarray(opaque) if opaque else np.asarray(given)[..., : {"RGBA": 3, "LA": 1}[mode]]
    expected = np.broadcast_to(expected, (20, 30, 3))
    np.testing.assert_array_equal(read_picture(tmp_path / "x.png")[..., ::-1], expected)


def test_cmyk_jpegs_are_read_in_their_colours(tmp_path):
    blocks = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (230, 230, 230), (20, 20, 20)]
    colours = np.repeat(np.array([blocks], np.uint8), 16, axis=0).repeat(16, axis=1)
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    read = read_picture(tmp_path / "x.jpg")[8, 8::16, ::-1].astype(int)
    assert np.abs(read - np.array(blocks)).max() <= 12


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_keep_their_upper_8(suffix, channels, tmp_path):
    deep = (np.arange(4 * 5 * channels, dtype=np.uint16) * 800 + 5).reshape(4, 5, channels)
    (tmp_path / f"x{suffix}").write_bytes(cv2.imencode(suffix, deep)[1].tobytes())
    read = read_picture(tmp_path / f"x{suffix}").astype(int)
    expected = (deep >> 8).astype(int)[..., :3] if channels > 1 else np.repeat(deep >> 8, 3, axis=2).astype(int)
    assert np.abs(read - expected).max() <= (1 if suffix == ".tif" and channels == 1 else 0)


# EXIF 2.32, tag 0x0112: where the first row and the first column of what is stored belong.
_ORIENTATIONS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("orientation", sorted(_ORIENTATIONS))
def test_pictures_are_turned_as_their_exif_says(orientation, tmp_path):
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :16] = (250, 250, 250)
    stored[:16, 32:] = (120, 120, 120)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "x.jpg", quality=98, exif=exif)
    read, expected = read_picture(tmp_path / "x.jpg"), _ORIENTATIONS[orientation](stored)
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).mean() < 2
