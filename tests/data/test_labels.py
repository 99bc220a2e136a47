"""Images and label files: what is read, and what is said of bad ones."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from uavdet.data.labels import label_file, list_images, parse_label_rows, read_image_shape, read_split
from uavdet.errors import DataError


def write_image(path, height=20, width=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", []),
        ("\n  \n", []),
        ("1 0.5 0.5 0.2 0.4", [[1, 0.5, 0.5, 0.2, 0.4]]),
        ("0 0.05 0.5 0.2 0.2", [[0, 0.075, 0.5, 0.15, 0.2]]),  # clipped to the image
        ("0 1.005 0.5 0.02 0.2", [[0, 0.9975, 0.5, 0.005, 0.2]]),  # a converter's rounding
        ("2 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5", [[2, 0.2, 0.3, 0.2, 0.4]]),  # a polygon's box
    ],
)
def test_rows_are_read(text, rows):
    given, repeated = parse_label_rows(text, 3)
    np.testing.assert_allclose(given, np.array(rows, dtype=np.float32).reshape(-1, 5), atol=1e-6)
    assert repeated == 0


def test_repeated_rows_are_removed_and_counted():
    given, repeated = parse_label_rows("0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n0 .5 .5 .1 .1\n", 2)
    assert len(given) == 2
    assert repeated == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2", "line 2: 4 fields"),
        ("0 0.5 0.5 0.2 x", "no number"),
        ("1_0 0.5 0.5 0.2 0.2", "no number"),
        ("0 0.5 0.5 0.2 nan", "not finite"),
        ("0 300 200 40 30", "coordinate 300 outside"),
        ("0 0.5 -0.2 0.1 0.1", "coordinate -0.2 outside"),
        ("3 0.5 0.5 0.2 0.2", r"class 3; the dataset YAML has classes 0 to 2"),
        ("-1 0.5 0.5 0.2 0.2", "class -1"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6", "6 coordinates|fields"),
    ],
)
def test_bad_rows_name_line_and_reason(text, message):
    if message.startswith("6"):
        text += " 0.7"
    with pytest.raises(ValueError, match=message):
        parse_label_rows(text, 3)


def test_label_files_stand_in_the_last_images_folder(tmp_path):
    image = tmp_path / "images" / "images" / "val" / "a.b.jpg"
    assert label_file(image) == tmp_path / "images" / "labels" / "val" / "a.b.txt"
    assert label_file(tmp_path / "x.png") == tmp_path / "x.txt"


def test_shapes_follow_exif_rotation(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "rotated.jpg", exif=exif)
    assert read_image_shape(tmp_path / "rotated.jpg") == (40, 20)
    assert read_image_shape(write_image(tmp_path / "plain.png")) == (20, 30)


def test_bad_images_are_named(tmp_path):
    import ultralytics.data.base  # noqa: F401  (its opener replaces Pillow's, and imports what may not be installed)

    whole = write_image(tmp_path / "whole.jpg", 64, 64)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    write_image(tmp_path / "tiny.png", 4, 4)
    for name, reason in [
        ("cut.jpg", "truncated"), ("text.jpg", "not a readable"), ("empty.jpg", "not a readable"),
        ("tiny.png", "at least"), ("missing.jpg", "does not exist"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            read_image_shape(tmp_path / name)


def test_images_are_listed_from_folders_files_and_lists(tmp_path):
    first, second = write_image(tmp_path / "a" / "1.jpg"), write_image(tmp_path / "a" / "sub" / "2.png")
    (tmp_path / "list.txt").write_text("a/1.jpg\n\na/sub/2.png\n")
    assert list_images([tmp_path / "a"]) == [first, second]
    assert list_images([tmp_path / "list.txt"]) == [first, second]
    assert list_images([first]) == [first]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        list_images([tmp_path])


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.setenv("UAVDET_CACHE", str(tmp_path / "cache"))
    images = [write_image(tmp_path / "images" / f"{i}.jpg") for i in range(3)]
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "0.txt").write_text("0 .5 .5 .1 .1\n")
    (labels / "1.txt").write_text("")
    return images


def test_a_split_knows_images_without_labels(split):
    labels = read_split(split, 1)
    assert [len(entry.rows) for entry in labels.images] == [1, 0, 0]
    assert [entry.found for entry in labels.images] == [True, True, False]
    assert labels.problems == []


def test_a_split_reports_every_problem_and_keeps_the_rest(split):
    label_file(split[0]).write_text("0 .5 .5 .1 .1\n7 .5 .5 .1 .1\n")
    split[2].write_bytes(b"")
    labels = read_split(split, 1)
    assert len(labels.images) == 1
    assert len(labels.problems) == 2
    assert "0.txt line 2: class 7" in labels.problems[0]


def test_the_cache_is_used_and_follows_changes(split, tmp_path):
    first = read_split(split, 1)
    assert list((tmp_path / "cache" / "labels").glob("*.npz"))
    again = read_split(split, 1)
    assert [entry.shape for entry in again.images] == [entry.shape for entry in first.images]
    label_file(split[1]).write_text("0 .5 .5 .2 .2\n0 .2 .2 .1 .1\n")
    assert [len(entry.rows) for entry in read_split(split, 1).images] == [1, 2, 0]


@pytest.mark.parametrize("damage", [lambda whole: b"broken", lambda whole: b"", lambda whole: whole[:-40]])
def test_a_damaged_cache_is_read_anew(split, tmp_path, damage):
    read_split(split, 1)
    for file in (tmp_path / "cache" / "labels").glob("*.npz"):
        file.write_bytes(damage(file.read_bytes()))
    assert len(read_split(split, 1).images) == 3


def test_nothing_is_written_beside_the_images(split, tmp_path):
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    before = sorted(tmp_path.rglob("*"))
    read_split(split, 1)
    after = [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts]
    assert after == before
