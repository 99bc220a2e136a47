"""Which files a source means, and how pictures are read."""

import cv2
import numpy as np
import pytest

from uavdet.errors import DataError, UsageError
from uavdet.video.sources import find_files, read_picture


def picture(path, level=100, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.full((*size, 3), level, np.uint8))[1].tobytes())
    return path


def test_deep_colour_is_read_as_training_reads_it(tmp_path):
    deep = np.array([[[0, 255, 256], [43690, 65535, 30000]]], dtype=np.uint16)
    for suffix in (".png", ".tif", ".tiff"):
        (tmp_path / f"x{suffix}").write_bytes(cv2.imencode(suffix, deep)[1].tobytes())
        np.testing.assert_array_equal(read_picture(tmp_path / f"x{suffix}"), deep // 256)


def video(path, frames=6, rate=10.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.png", "C.JPG", ".hidden.jpg", "deep/d.jpg"):
        picture(tmp_path / name)
    video(tmp_path / "clip.avi")
    (tmp_path / "notes.md").write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("b.jpg", ["b.jpg"]),
        ("clip.avi", ["clip.avi"]),
        ("", ["C.JPG", "a.png", "b.jpg", "clip.avi"]),
        ("*.jpg", ["b.jpg"]),
        ("[ab].*", ["a.png", "b.jpg"]),
        ("**/*.jpg", ["b.jpg", "d.jpg"]),
        ("deep", ["d.jpg"]),
    ],
)
def test_sources_are_found(source, names, folder, monkeypatch):
    assert [path.name for path in find_files(folder / source)] == names
    monkeypatch.chdir(folder)
    relative = find_files(source or ".")
    assert [path.name for path in relative] == names
    assert all(path.is_absolute() for path in relative)


def test_a_name_that_looks_like_a_glob_is_a_file_first(tmp_path):
    assert find_files(picture(tmp_path / "a[1].jpg")) == [tmp_path / "a[1].jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.jpg", "does not exist"),
        ("gone/*.jpg", "matches no file"),
        ("*.md", "matches no pictures and no videos"),
        ("notes.md", r"is no picture and no video that is known \(.md\)"),
        ("empty", "holds no pictures and no videos"),
    ],
)
def test_sources_that_match_nothing_are_refused(source, message, folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_files(folder / source)


def test_no_source_is_refused():
    with pytest.raises(UsageError, match="No source was given"):
        find_files("")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("grey", [False, True])
def test_pictures_are_read(suffix, grey, tmp_path):
    image = read_picture(picture(tmp_path / f"ü{suffix}"), grey)
    assert image.shape == ((20, 30) if grey else (20, 30, 3))
    assert abs(int(image.max()) - 100) < 3


def test_pictures_of_16_bits_keep_their_high_byte(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(cv2.imencode(".png", np.full((4, 5), 0x6412, np.uint16))[1].tobytes())
    assert read_picture(path).tolist() == np.full((4, 5, 3), 0x64).tolist()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"", "is empty"), (b"x" * 99, "cannot be decoded")]
)
def test_damaged_pictures_are_refused(content, message, tmp_path):
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.jpg .*{message}"):
        read_picture(path)


def test_a_picture_that_is_cut_off_is_refused_or_read_as_opencv_does(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    whole = cv2.imencode(".png", noise)[1].tobytes()
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 8])
    expected = cv2.imdecode(np.frombuffer(whole[: len(whole) // 8], np.uint8), cv2.IMREAD_COLOR)
    if expected is None:
        with pytest.raises(DataError, match="damaged"):
            read_picture(tmp_path / "x.png")
    else:
        np.testing.assert_array_equal(read_picture(tmp_path / "x.png"), expected)
