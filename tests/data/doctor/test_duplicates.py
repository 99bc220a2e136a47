"""Identical and similar images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.doctor.conftest import picture
from uavdet.data.doctor import duplicates
from uavdet.data.doctor.duplicates import HASH_DISTANCE, find_duplicates, perceptual_hash
from uavdet.data.doctor.images import ImageFacts, examine_image


def facts(name, image, digest=None):
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    return ImageFacts(Path(name), digest=digest or name, thumbnail=small)


def test_no_image_one_image_and_unreadable_ones_have_no_duplicates():
    for images in ([], [facts("a", picture(1))], [ImageFacts(Path("x"), problem="broken")] * 3):
        found = find_duplicates(images, ["train"] * len(images))
        assert (found.identical, found.across, found.within, dict(found.counts)) == ([], [], [], {})


def test_identical_files_are_grouped_and_are_no_near_duplicates():
    images = [facts(name, picture(seed), digest) for name, seed, digest in [
        ("a", 1, "x"), ("b", 2, "y"), ("c", 1, "x"), ("d", 1, "x"), ("e", 3, "z")]]  # fmt: skip
    found = find_duplicates(images, ["train", "train", "train", "val", "val"])
    assert found.identical == [[0, 2, 3]]
    assert (found.across, found.within) == ([], [])
    assert found.partners == {("train", "val"): 2, ("val", "train"): 1}


def shifted(image):
    return image[:, 3:]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: cv2.resize(image, (48, 32), interpolation=cv2.INTER_AREA),
        lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
        lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=30),
        shifted,
    ],
)
def test_changed_copies_are_near_duplicates_and_other_pictures_are_not(change):
    originals = [facts(f"a{seed}", picture(seed)) for seed in range(20)]
    copies = [facts(f"b{seed}", change(picture(seed))) for seed in range(20)]
    found = find_duplicates(originals + copies, ["train"] * 20 + ["val"] * 20)
    assert {(pair.first, pair.second) for pair in found.across} == {(seed, 20 + seed) for seed in range(20)}
    assert found.within == []
    assert found.counts == {("train", "val"): 20}
    assert found.partners == {("train", "val"): 20, ("val", "train"): 20}


def test_pairs_are_those_of_a_plain_double_loop(monkeypatch):
    """The oracle compares every pair by the definition; blocks are small so that pairs span them."""
    monkeypatch.setattr(duplicates, "_BLOCK", 3)
    rng = np.random.default_rng(0)
    base = [picture(seed) for seed in range(4)]
    images = [
        facts(f"{n}", cv2.add(base[n % 4], rng.integers(0, 60, base[0].shape, dtype=np.uint8))) for n in range(14)
    ]
    splits = ["train" if n < 9 else "val" for n in range(14)]
    expected = set()
    for i in range(14):
        for j in range(i + 1, 14):
            a, b = images[i].thumbnail, images[j].thumbnail
            bits = int((perceptual_hash(a) != perceptual_hash(b)).sum())
            if bits <= HASH_DISTANCE and np.corrcoef(a.ravel(), b.ravel())[0, 1] >= 0.7:
                expected.add((i, j, bits))
    found = find_duplicates(images, splits)
    assert {(p.first, p.second, p.distance) for p in found.across + found.within} == expected
    assert expected
    assert sum(found.counts.values()) == len(expected)
    assert all(splits[p.first] != splits[p.second] for p in found.across)
    assert [p.distance for p in found.within] == sorted(p.distance for p in found.within)


def test_only_the_closest_pairs_are_listed_but_all_are_counted(monkeypatch):
    monkeypatch.setattr(duplicates, "KEPT_PAIRS", 5)
    images = [facts(f"{n}", picture(1)) for n in range(10)]
    found = find_duplicates(images, ["train"] * 10)
    assert len(found.within) == 5
    assert found.counts == {("train", "train"): 45}


def test_pictures_without_content_are_not_compared():
    flat = np.full((64, 96, 3), 90, np.uint8)
    found = find_duplicates([facts("a", flat), facts("b", flat + 1)], ["train", "val"])
    assert not found.counts


def test_a_copy_turned_by_exif_is_found(tmp_path):
    from PIL import Image

    upright = Image.fromarray(picture(4))
    upright.save(tmp_path / "a.jpg", quality=95)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[274] = 6  # turn by 90 degrees clockwise to see it upright
    turned.save(tmp_path / "b.jpg", exif=exif, quality=95)
    found = find_duplicates([examine_image(tmp_path / name) for name in ("a.jpg", "b.jpg")], ["train", "train"])
    assert [pair.distance <= 2 for pair in found.within] == [True]
