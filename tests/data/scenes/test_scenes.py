"""Synthetic scenes: determinism, tight boxes, smooth tracks, ignore regions, and the dataset writer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import yaml

from uavdet.data.scenes import CLASS_NAMES, Scene, SceneConfig, write_dataset
from uavdet.data.scenes.camera import plan_flight, project
from uavdet.data.scenes.shapes import Light, Pose, Prism, build_model, draw_patch, rectangle
from uavdet.errors import UsageError

KINDS = [
    SceneConfig(seed=0, objects=0, ignore_regions=0, size=(320, 256)),
    SceneConfig(seed=1, objects=1, ignore_regions=1, size=(320, 256), modality="thermal"),
    SceneConfig(seed=2, ground="urban", objects=30),
    SceneConfig(seed=3, ground="field", objects=30, modality="thermal", moving_camera=True, size=(400, 320)),
    SceneConfig(seed=4, ground="harbour", objects=30, ignore_regions=2, size=(416, 512)),
    SceneConfig(seed=5, ground="urban", objects=20, modality="thermal", min_size=8, max_size=120, moving_camera=True),
]
IDS = [f"{kind.modality}-{kind.ground}-{kind.objects}" for kind in KINDS]


@cache
def scene_of(config: SceneConfig) -> Scene:
    return Scene(config)


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_frames_depend_on_seed_and_index_alone(config):
    sequential = list(scene_of(config).frames(3))
    other = Scene(config)
    for index in (2, 0):
        frame = other.render(index)
        np.testing.assert_array_equal(frame.image, sequential[index].image)
        np.testing.assert_array_equal(frame.boxes, sequential[index].boxes)
        np.testing.assert_array_equal(frame.track_ids, sequential[index].track_ids)
    assert (sequential[0].image != sequential[1].image).any()


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_frame_is_well_formed(config):
    width, height = config.size
    for index in (0, 25):
        frame = scene_of(config).render(index)
        count = len(frame.boxes)
        assert frame.image.shape == (height, width, 3)
        assert frame.image.dtype == np.uint8
        assert (frame.boxes.dtype, frame.classes.dtype, frame.track_ids.dtype) == (np.float32, np.int64, np.int64)
        assert frame.boxes.shape == (count, 4)
        assert frame.classes.shape == frame.track_ids.shape == (count,)
        assert len(set(frame.track_ids.tolist())) == count
        assert frame.ignore_regions.shape[1:] == (4,)
        for boxes in (frame.boxes, frame.ignore_regions):
            assert ((boxes >= 0) & (boxes <= [width, height, width, height])).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()
        sides = frame.boxes[:, 2:] - frame.boxes[:, :2]
        assert (sides.max(1, initial=0) <= config.max_size).all()
        whole = (frame.boxes > 0).all(1) & (frame.boxes[:, 2:] < [width, height]).all(1)
        assert (sides[whole].max(1, initial=config.min_size) >= config.min_size).all()
        if config.objects == 0:
            assert count == 0
        if config.modality == "thermal":
            assert (frame.image == frame.image[:, :, :1]).all()


def test_seeds_and_modalities_differ():
    images = [scene_of(replace(KINDS[2], seed=seed)).render(0).image.astype(int) for seed in (2, 6)]
    assert np.abs(images[0] - images[1]).mean() > 5
    assert (images[0] != images[0][:, :, :1]).any()


@pytest.mark.parametrize("objects", [5, 40])
def test_mean_number_of_objects(objects):
    counts = [len(scene_of(SceneConfig(seed=seed, objects=objects)).render(3).boxes) for seed in range(20, 24)]
    assert 0.75 * objects - 1 <= np.mean(counts) <= 1.25 * objects + 1


@pytest.mark.parametrize("classes", [("person",), ("car", "truck"), ("boat",)])
def test_only_wanted_classes_are_drawn(classes):
    frame = Scene(SceneConfig(seed=8, objects=12, classes=classes)).render(0)
    assert {CLASS_NAMES[class_id] for class_id in frame.classes} <= set(classes)
    assert len(frame.boxes) > 4


def follow(scene, count):
    """Return {track id: {frame index: box}} and the class of every track."""
    tracks, classes = {}, {}
    for index, frame in enumerate(scene.frames(count)):
        for box, class_id, track_id in zip(frame.boxes, frame.classes, frame.track_ids, strict=True):
            tracks.setdefault(int(track_id), {})[index] = box
            assert classes.setdefault(int(track_id), class_id) == class_id
    return tracks


@pytest.mark.parametrize("config", [KINDS[2], KINDS[3], KINDS[5]], ids=["still", "moving", "moving near"])
def test_tracks_are_smooth(config):
    scene = scene_of(config)
    width, height = config.size
    # No object is faster than 15 m/s; the camera adds its own travel, which is felt most at the corners.
    scale = scene._world.flight.reference.focal / np.linalg.norm(scene._world.flight.reference.position)
    limit = 2.5 * scale * 15 / config.fps + (0.03 * width if config.moving_camera else 0)
    tracks = follow(scene, 12)
    steps, still = [], 0
    for boxes in tracks.values():
        inside = {i: b for i, b in boxes.items() if b[:2].min() > 0 and b[2] < width and b[3] < height}
        pairs = [(inside[i], inside[i + 1]) for i in inside if i + 1 in inside]
        steps += [np.abs(after - before).max() for before, after in pairs]
        still += len(pairs) > 5 and all((before == after).all() for before, after in pairs)
    assert len(steps) > 50
    assert max(steps) < limit
    assert max(steps) > 0.5
    assert (still > 0) == (not config.moving_camera)


def test_still_actors_do_not_move_and_travellers_do():
    scene = scene_of(KINDS[2])
    first, later = scene.render(0), scene.render(40)
    at = {int(t): b for t, b in zip(later.track_ids, later.boxes, strict=True)}
    moved = [
        float(np.abs(at[int(t)] - b).max()) for t, b in zip(first.track_ids, first.boxes, strict=True) if int(t) in at
    ]
    assert min(moved) == 0
    assert max(moved) > 5


def measure_change(scene, index, track_id):
    """Return per-pixel change when one object is taken away, seen by a camera without blur or noise, and as shot."""
    shot = np.abs(scene.render(index).image.astype(int) - scene._render(index, frozenset({track_id})).image).max(2)
    world = scene._world
    plain = replace(world.sensor, blur=0.0, sharpen=0.0, noise=0.0, smooth=False, haze=(0.0, 0.0),
                    gain=np.ones(1, np.float32), pattern=np.zeros((1, 1, 1), np.float32))  # fmt: skip
    scene._world = replace(world, sensor=plain)
    clean = np.abs(scene.render(index).image.astype(int) - scene._render(index, frozenset({track_id})).image).max(2)
    scene._world = world
    return clean, shot


def find_lonely(boxes):
    """Return the indices of boxes that no other box touches within 3 pixels."""
    low, high = boxes[:, None, :2] - 3, boxes[:, None, 2:] + 3
    touches = ((low < boxes[None, :, 2:]) & (high > boxes[None, :, :2])).all(2)
    return np.flatnonzero(touches.sum(1) == 1)


@pytest.mark.parametrize("config", [*KINDS[2:], SceneConfig(seed=9, objects=25)], ids=[*IDS[2:], "auto"])
def test_boxes_are_tight_and_objects_visible(config):
    scene = scene_of(config)
    frame = scene.render(0)
    gaps, contrasts = [], []
    for i in find_lonely(frame.boxes)[:9]:
        clean, shot = measure_change(scene, 0, int(frame.track_ids[i]))
        rows, columns = np.nonzero(clean > 3)
        extent = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        gaps.append(np.abs(extent - frame.boxes[i]).max())
        x1, y1, x2, y2 = np.rint(frame.boxes[i]).astype(int)
        contrasts.append(shot[y1:y2, x1:x2].mean() / scene._world.sensor.noise)
    assert len(gaps) >= 5
    # One object in a scene may wear its ground's very colour at its edge.
    assert sorted(gaps)[-2] <= 1.5
    assert max(gaps) <= 4
    assert sorted(contrasts)[1] > 2
    assert min(contrasts) > 1


@pytest.mark.parametrize("config", [replace(KINDS[4], seed=seed) for seed in (4, 30, 31)] + [KINDS[2], KINDS[5]])
def test_ignore_regions_hold_no_labelled_centre(config):
    scene = scene_of(config)
    regions = 0
    for index in (0, 10, 40):
        frame = scene.render(index)
        regions += len(frame.ignore_regions)
        centres = (frame.boxes[:, :2] + frame.boxes[:, 2:]) / 2
        for x1, y1, x2, y2 in frame.ignore_regions:
            inside = (centres > [x1, y1]).all(1) & (centres < [x2, y2]).all(1)
            assert not inside.any()
    assert regions > 0


def test_no_ignore_regions_when_none_are_wanted():
    assert scene_of(replace(KINDS[0], objects=3)).render(0).ignore_regions.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1), ("seed", 1.5), ("size", (640,)), ("size", (32, 512)), ("size", "640x512"),
        ("modality", "infrared"), ("ground", "desert"), ("objects", -3), ("objects", True), ("fps", 0),
        ("fps", float("nan")), ("ignore_regions", -1), ("min_size", 0), ("max_size", "big"), ("max_size", 3.0),
        ("classes", ()), ("classes", ("dog",)),
    ],
)  # fmt: skip
def test_bad_config_is_refused(name, value):
    with pytest.raises(UsageError, match=f"^{name}="):
        SceneConfig(**{name: value})


def test_negative_index_is_refused():
    with pytest.raises(UsageError, match="index=-1"):
        scene_of(KINDS[0]).render(-1)


@pytest.mark.parametrize(("tilt", "seed"), [(False, 11), (True, 13)])
def test_camera_projects_as_a_pinhole(tilt, seed):
    flight = plan_flight(SceneConfig(seed=seed, moving_camera=tilt), np.random.default_rng(seed))
    camera = flight.at(7.3)
    points = np.array([[0.0, 0, 0], [3, -2, 1.5], [-5, 4, 0.5]])
    image = project(camera.matrix, points)
    axis = np.array([
        np.sin(camera.heading) * np.cos(camera.pitch), -np.cos(camera.heading) * np.cos(camera.pitch),
        -np.sin(camera.pitch),
    ])  # fmt: skip
    for point, (x, y, depth) in zip(points, image, strict=True):
        ray = point - camera.position
        assert depth == pytest.approx(ray @ axis)
        radius = np.hypot(x - camera.size[0] / 2, y - camera.size[1] / 2)
        off_axis = np.linalg.norm(ray - (ray @ axis) * axis)
        assert radius == pytest.approx(camera.focal * off_axis / (ray @ axis))
    corners = project(camera.matrix, np.hstack([camera.footprint(), np.zeros((4, 1))]))
    np.testing.assert_allclose(corners[:, :2], [[0, 0], [640, 0], [640, 512], [0, 512]], atol=1e-6)


def test_patch_covers_the_area_of_a_box_seen_from_above():
    model = build_model([Prism(rectangle(4.0, 2.0), rectangle(4.0, 2.0), 0.0, 0.0, (90,) * 3, (200, 100, 50))])
    matrix = np.array([[5.0, 0, 0, 40], [0, 5.0, 0, 30], [0, 0, -1e-9, 1]])
    light = Light(np.array([0.0, 0.0, 1.0]), 1.0, 0.0)
    for heading in (0.0, 0.4, 2.0):
        patch = draw_patch(model, Pose(1.3, 0.7, heading), matrix, light, (0.0, 1000.0))
        assert patch.alpha.sum() == pytest.approx(4 * 2 * 25, rel=0.06)
        reach = np.abs(np.array([np.cos(heading), np.sin(heading)])) @ np.array([[4, 2], [2, 4]]) * 2.5
        centre = np.array([46.5, 33.5])
        np.testing.assert_allclose(patch.box, [*(centre - reach), *(centre + reach)], atol=0.5)
        np.testing.assert_allclose(patch.value[patch.alpha == 1].mean(0), [200, 100, 50], atol=1)


NAMES = {"person": "Person", "car": "Car", "truck": "Car"}


def read_rows(path):
    return np.array([[float(v) for v in row.split()] for row in path.read_text().splitlines()]).reshape(-1, 5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    config = SceneConfig(seed=3, size=(320, 256), objects=14)
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 4, "val": 2, "test": 0}, config, NAMES)


def test_data_yaml_names_splits_and_classes(dataset):
    content = yaml.safe_load(dataset.read_text())
    assert dataset.name == "data.yaml"
    assert content["names"] == {0: "Person", 1: "Car"}
    for split in ("train", "val", "test"):
        assert (dataset.parent / content[split]).is_dir()
        assert (dataset.parent / content["annotations"][split]).is_file()


@pytest.mark.parametrize(("split", "count"), [("test", 0), ("val", 2), ("train", 4)])
def test_labels_agree_with_annotations(dataset, split, count):
    folder = dataset.parent
    truth = json.loads((folder / f"annotations/instances_{split}.json").read_text())
    assert len(truth["images"]) == len(list((folder / "images" / split).glob("*.jpg"))) == count
    assert [category["name"] for category in truth["categories"]] == ["Person", "Car"]
    assert [item["id"] for item in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
    for entry in truth["images"]:
        image = cv2.imread(str(folder / "images" / split / entry["file_name"]))
        assert image.shape[:2] == (entry["height"], entry["width"]) == (256, 320)
        rows = read_rows(folder / "labels" / split / entry["file_name"].replace(".jpg", ".txt"))
        boxes = [item for item in truth["annotations"] if item["image_id"] == entry["id"]]
        assert len(rows) == len(boxes)
        assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()
        for row, item in zip(rows, boxes, strict=True):
            x, y, width, height = item["bbox"]
            assert row[0] == item["category_id"] - 1
            assert row[0] in (0, 1)
            expected = [(x + width / 2) / 320, (y + height / 2) / 256, width / 320, height / 256]
            np.testing.assert_allclose(row[1:], expected, atol=2e-6)
            assert item["area"] == pytest.approx(width * height, rel=1e-3)
            assert item["iscrowd"] == 0
            assert isinstance(item["track_id"], int)
    for region in truth["ignore_regions"]:
        assert region["name"] == "DontCare"
        assert 1 <= region["image_id"] <= count
        assert len(region["bbox"]) == 4


def test_split_without_objects_has_empty_labels(tmp_path):
    config = SceneConfig(seed=1, size=(128, 96), objects=0, ignore_regions=0)
    path = write_dataset(tmp_path, {"val": 2}, config)
    labels = list((tmp_path / "labels/val").glob("*.txt"))
    assert [label.read_text() for label in labels] == ["", ""]
    assert json.loads((tmp_path / "annotations/instances_val.json").read_text())["annotations"] == []
    assert yaml.safe_load(path.read_text())["names"] == dict(enumerate(CLASS_NAMES))


def test_workers_write_the_same_files(tmp_path):
    config = SceneConfig(seed=5, size=(128, 96), objects=3)
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), {"train": 3}, config, modalities=("thermal",), workers=workers)
    one, two = ({p.relative_to(tmp_path / w): p.read_bytes() for p in (tmp_path / w).rglob("*.*")} for w in ("1", "2"))
    assert len(one) == 8
    assert one == two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": {}}, "names"),
        ({"names": {"cat": "Cat"}}, "names='cat'"),
        ({"modalities": ("sonar",)}, "modalities='sonar'"),
        ({"modalities": ()}, "modalities"),
        ({"images": {"train": -1}}, "images"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_unusable_dataset_requests_are_refused(tmp_path, change, message):
    request = {"folder": tmp_path, "images": {"train": 1}, "config": SceneConfig()} | change
    with pytest.raises(UsageError, match=message):
        write_dataset(**request)
