"""The VisDrone protocol against an independent, slow version of it, on random and on real annotations."""

import numpy as np
import pytest

from tests.evaluation.visdrone_oracle import METRICS, Image, car, evaluate, found, region
from tests.realdata import REAL_DATA
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

NAMES = dict(
    enumerate(["pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor"])
)


def corners(rows):
    boxes = np.array([row[:4] for row in rows], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def as_package(images, names=NAMES):
    """Return the same images as the package's truth and detections; images without detections have no entry."""
    truths, detections = [], {}
    for number, image in enumerate(images):
        objects = [row for row in image.truth if 1 <= row[5] <= 10]
        boxes = corners(objects)
        truths.append(
            ImageTruth(
                f"{number:03}.jpg",
                (image.width, image.height),
                boxes,
                np.array([row[5] - 1 for row in objects], dtype=np.int64),
                (boxes[:, 2:] - boxes[:, :2]).prod(1),
                np.array([row[4] == 0 for row in objects], dtype=bool),
                corners([row for row in image.truth if row[5] == 0]),
            )
        )
        if image.detections:
            detections[f"{number:03}.jpg"] = ImageDetections(
                corners(image.detections),
                np.array([row[4] for row in image.detections], dtype=np.float64),
                np.array([row[5] - 1 for row in image.detections], dtype=np.int64),
            )
    return GroundTruth(truths, dict(names)), detections


def score_by_package(images):
    from uavdet.evaluation.protocol import find_protocols

    return find_protocols(["visdrone"])[0].score(*as_package(images))


def assert_equal_to_oracle(images):
    expected, score = evaluate(images), score_by_package(images)
    for name in METRICS:
        assert score.metrics[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name
    for category, values in expected["per_class"].items():
        given = score.per_class[NAMES[category - 1]]
        for name in given.keys() & values.keys():
            assert given[name] == pytest.approx(values[name], abs=1e-9), (category, name)
    assert set(score.per_class) == {NAMES[category - 1] for category in expected["per_class"]}


def jitter(rows, rng, spread=3.0):
    """Return boxes near annotated ones, in quarter pixels, which are exact in float64."""
    found = []
    for row in rows:
        x, y, w, h = np.round((np.array(row[:4]) + rng.normal(0, spread, 4)) * 4) / 4
        category = row[5] if 1 <= row[5] <= 10 and rng.random() < 0.9 else int(rng.integers(1, 11))
        found.append([float(x), float(y), float(max(w, 1)), float(max(h, 1)), 0.0, category])
    return found


def random_rows(count, rng, size, whole=True, largest=60):
    corner = rng.uniform(-5, np.array(size), (count, 2))
    side = rng.uniform(1, largest, (count, 2))
    boxes = np.concatenate([corner, side], 1)
    return (np.round(boxes) if whole else np.round(boxes * 4) / 4).tolist()


def random_image(rng, objects, extra, ties):
    """Return an image of rare and common classes, some of score 0 or 'others', regions, and near and far detections."""
    size = (int(rng.integers(80, 400)), int(rng.integers(80, 300)))
    shares = np.array([30, 4, 1, 30, 8, 4, 1, 1, 1, 10, 4]) / 94
    truth = []
    for box in random_rows(objects, rng, size):
        category = int(rng.choice(np.arange(1, 12), p=shares))
        truth.append([max(box[0], 0), max(box[1], 0), *box[2:], int(rng.random() > 0.15), category, 0, 0])
    regions = random_rows(int(rng.integers(0, 4)), rng, size, largest=120)
    truth += [[max(box[0], 0), max(box[1], 0), *box[2:], 0, 0, 0, 0] for box in regions]
    rng.shuffle(truth)
    near = jitter([row for row in truth if row[5] and rng.random() < 0.8], rng)
    near += [[*row[:4], 0.0, row[5]] for row in truth if 1 <= row[5] <= 10 and rng.random() < 0.3]
    far = [[*box, 0.0, int(rng.integers(1, 11))] for box in random_rows(extra, rng, size, whole=False)]
    rows = near + far
    rng.shuffle(rows)
    for row in rows:
        row[4] = float(np.round(rng.random(), 1 if ties else 6))
    return Image(*size, truth, sorted(rows, key=lambda row: -row[4]))


def random_images(seed):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(int(rng.integers(1, 9))):
        image = random_image(rng, int(rng.integers(0, 40)), int(rng.integers(0, 50)), ties=seed % 2 == 0)
        if rng.random() < 0.15:
            image.detections = []
        if rng.random() < 0.1:
            image.truth = []
        images.append(image)
    return images


@pytest.mark.parametrize("seed", range(24))
def test_the_package_is_equal_on_random_scenes(seed):
    assert_equal_to_oracle(random_images(seed))


@pytest.mark.parametrize("seed", range(2))
def test_the_package_is_equal_beyond_500_detections(seed):
    rng = np.random.default_rng(100 + seed)
    images = [random_image(rng, 60, 620, ties=seed == 0), random_image(rng, 20, 30, ties=True)]
    assert len(images[0].detections) > 520
    assert_equal_to_oracle(images)


def crowded(*extra):
    """Return an image whose one right detection is the 500th, after those given."""
    wrong = [found(0, 0, score=0.9, category=1 + index % 10) for index in range(499)]
    return Image(100, 100, [car(50, 50), region(80, 80, 15, 15)], [*extra, *wrong, found(50, 50, score=0.1)])


@pytest.mark.parametrize(
    "images",
    [
        [],
        [Image(50, 50)],
        [Image(50, 50, [], [found(1, 1)])],
        [Image(50, 50, [car(5, 5)])],
        [Image(50, 50, [car(5, 5, score=0)], [found(5, 5)])],
        [Image(50, 50, [region(0, 0, 49, 49), car(5, 5)], [found(5, 5)])],
        [Image(100, 50, [car(0, 0), car(50, 0, score=0)], [found(50, 0), found(0, 0, score=0.8)])],
        [Image(100, 50, [car(0, 0), car(2, 0)], [found(0, 0, w=12), found(2, 0, score=0.8)])],
        [Image(100, 50, [car(2, 0), car(0, 0)], [found(0, 0, w=12), found(2, 0, score=0.8)])],
        [Image(100, 50, [], [found(0, 0)]), Image(100, 50, [car(0, 0)], [found(0, 0)])],
        [Image(50, 50, [car(0, 0)], [found(0, 0, w=width)]) for width in (5, 6, 7, 8, 9)],
        [crowded()],
        [crowded(found(20, 20))],
        [crowded(found(82, 82))],
    ],
    ids=[
        "no image", "empty image", "no object", "no detection", "score 0 alone", "all ignored", "score 0",
        "equal overlaps", "equal overlaps, reversed", "equal scores", "overlap at the threshold",
        "the 500th", "the 501st", "the 501st, one before it ignored",
    ],
)  # fmt: skip
def test_the_package_is_equal_at_the_edges(images):
    assert_equal_to_oracle(images)


@pytest.mark.parametrize("x", [*np.arange(20, 32, 0.25), *np.arange(8, 20, 0.25)])
def test_the_package_is_equal_along_the_edge_of_a_region(x):
    image = Image(100, 100, [region(20, 20, 10, 10), car(70, 70)], [found(float(x), 20), found(70, 70, score=0.1)])
    assert score_by_package([image]).metrics["AP"] == pytest.approx(evaluate([image])["AP"], abs=1e-9)


def test_the_package_takes_the_best_500_of_unsorted_detections():
    rng = np.random.default_rng(7)
    image = random_image(rng, 30, 600, ties=False)
    shuffled = Image(image.width, image.height, image.truth, list(image.detections))
    rng.shuffle(shuffled.detections)
    expected = evaluate([image])
    assert score_by_package([shuffled]).metrics["AP"] == pytest.approx(expected["AP"], abs=1e-9)


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
@pytest.mark.parametrize("seed", range(2))
def test_the_package_is_equal_on_real_annotations(seed):
    rng = np.random.default_rng(seed)
    images = []
    for file in sorted((REAL_DATA / "visdrone_format" / "annotations").glob("*.txt")):
        rows = [[int(value) for value in line.split(",")[:8]] for line in file.read_text().splitlines()]
        found = jitter([row for row in rows if rng.random() < 0.9], rng, 2.0)
        found += [[*box, 0.0, int(rng.choice([1, 3, 4]))] for box in random_rows(10, rng, (640, 512), whole=False)]
        for row in found:
            row[4] = float(np.round(rng.random(), 2))
        images.append(Image(640, 512, rows, sorted(found, key=lambda row: -row[4])))
    assert len(images) == 24
    assert sum(row[5] == 0 for image in images for row in image.truth) == 26
    assert 0.05 < evaluate(images)["AP50"] < 0.95
    assert_equal_to_oracle(images)
