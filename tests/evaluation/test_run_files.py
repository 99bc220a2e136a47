"""What a run leaves for comparisons: it is read back as it was, and damage is named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.errors import DataError
from uavdet.evaluation.run_files import hash_truth, read_run, write_detections, write_metrics
from uavdet.evaluation.truth import GroundTruth


def write_run(folder, truth, found, **record):
    write_metrics(folder / "report" / "metrics.json", {"protocols": {}, **record})
    write_detections(folder / "report" / "detections.npz", truth, found)
    return folder


def assert_same_fields(entry, other):
    for name, value in vars(entry).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(other, name), value)
        else:
            assert getattr(other, name) == value


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (GroundTruth([], {0: "a"}), {}),
        (GroundTruth([make_image("a.jpg")], {0: "a"}), {}),
        (GroundTruth([make_image("ü/a b.jpg", [[0, 0, 1 / 3, 2]])], {3: "a"}, {3: "id"}), {"ü/a b.jpg": None}),
        (random_truth(seed=2), None),
    ],
    ids=["no image", "empty image", "names", "random"],
)
def test_runs_are_read_back_as_they_were(tmp_path, truth, found):
    if found is None:
        found = noisy_detections(truth, 1, missing=("3.jpg",))
    found = {name: entry or make_detections([[1, 2, 3, 4]], [1 / 3], [3]) for name, entry in found.items()}
    for index, image in enumerate(truth.images):
        image.image_id, image.dense = (index, "text", None)[index % 3], index == 1
    run = read_run(write_run(tmp_path / "run", truth, found))
    assert run.truth.names == truth.names
    assert run.truth.category_ids == truth.category_ids
    for image, stored in zip(truth.images, run.truth.images, strict=True):
        assert_same_fields(image, stored)
        assert_same_fields(found.get(image.name, make_detections()), run.detections[image.name])
    assert run.truth_hash == hash_truth(truth) == hash_truth(run.truth)


def test_not_a_number_becomes_null_and_a_rewrite_leaves_one_file(tmp_path):
    file = tmp_path / "metrics.json"
    write_metrics(file, {"AP": 1.0})
    write_metrics(file, {"AP": float("nan"), "n": np.int64(3), "folder": tmp_path})
    assert json.loads(file.read_text()) == {"AP": None, "n": 3, "folder": str(tmp_path)}
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_is_called_as_it_was_told_or_as_its_folder(tmp_path):
    truth = random_truth()
    assert read_run(write_run(tmp_path / "set2", truth, {}, name="set")).name == "set"
    unnamed = write_run(tmp_path / "val3", truth, {}, name=None)
    assert read_run(unnamed).name == "val3"
    assert read_run(unnamed / "report").folder == unnamed


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda i: replace(i, name=f"elsewhere/{i.name}"), True),
        (lambda i: replace(i, name="other.jpg"), False),
        (lambda i: replace(i, boxes=i.boxes + 1e-9), False),
        (lambda i: replace(i, classes=i.classes + 1), False),
        (lambda i: replace(i, crowd=~i.crowd), False),
        (lambda i: replace(i, ignore_regions=i.ignore_regions[:0]), False),
        (lambda i: replace(i, size=(1, 1)), False),
    ],
    ids=["folder", "name", "box", "class", "crowd", "region", "size"],
)
def test_the_hash_follows_what_is_scored_and_nothing_else(change, same):
    image = make_image("a.jpg", [[0, 0, 5, 5], [1, 1, 9, 9]], regions=[[0, 0, 2, 2]])
    first, other = (GroundTruth([i], {0: "a", 1: "b"}) for i in (image, change(image)))
    assert (hash_truth(first) == hash_truth(other)) is same


def _cut(folder):
    file = folder / "detections.npz"
    file.write_bytes(file.read_bytes()[:-60])


def _store(folder, **arrays):
    with np.load(folder / "detections.npz") as stored:
        np.savez(folder / "detections.npz", **{**stored, **arrays})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"has no report/metrics.json\. .* uavdet val model="),
        (lambda f: (f / "detections.npz").unlink(), r"has no report/detections.npz"),
        (lambda f: (f / "metrics.json").write_text("{"), r"metrics.json' is no JSON"),
        (lambda f: (f / "metrics.json").write_text("[]"), r"metrics.json' holds no protocols"),
        (lambda f: (f / "detections.npz").write_bytes(b""), r"detections.npz' is damaged"),
        (_cut, r"detections.npz' is damaged"),
        (lambda f: _store(f, scores=np.zeros(1)), r"detections.npz' is damaged \(ValueError: scores has 1 rows"),
        (lambda f: _store(f, boxes=np.array([{}], dtype=object)), r"detections.npz' is damaged"),
    ],
    ids=["no report", "no detections", "no JSON", "no record", "empty", "cut", "counts", "pickle"],
)
def test_damaged_runs_are_refused(tmp_path, damage, message):
    truth = random_truth(seed=1)
    folder = write_run(tmp_path / "run", truth, noisy_detections(truth))
    damage(folder / "report")
    with pytest.raises(DataError, match=message) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)
