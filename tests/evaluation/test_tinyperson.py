"""TinyPerson's protocol against its rule written out in loops, and cases whose numbers are worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.evaluation.tinyperson import TinyPerson
from uavdet.evaluation.truth import GroundTruth

SIZES = {
    "all": (1, 1e10),
    "tiny": (1, 400),
    "tiny1": (1, 64),
    "tiny2": (64, 144),
    "tiny3": (144, 400),
    "small": (400, 1024),
    "reasonable": (1024, 1e10),
}
METRICS = [("50", size) for size in SIZES] + [("25", "tiny"), ("75", "tiny")]


def shared(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def size(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def judge(box, counted, ignored, taken, iou):
    """Return 1 where a detection is right, 0 where it is wrong, None where it is ignored.

    It is compared with the free objects first; only one that matches none is compared with what is ignored.
    """
    best = None
    for index, item in enumerate(counted):
        overlap = shared(box, item) / (size(box) + size(item) - shared(box, item))
        if index not in taken and overlap >= (iou if best is None else best[0]):
            best = overlap, index
    if best is not None:
        taken.add(best[1])
        return 1
    if any(shared(box, item) / size(box) >= iou for item in ignored):
        return None
    return 0


def slow_precision(truth, found, category, area, iou, limit):
    """Return the mean precision of a class over 101 recalls; None where it has no object of the size."""
    rows, total = [], 0
    for image in truth.images:
        if image.dense:
            continue
        mine = [i for i in range(len(image.boxes)) if image.classes[i] == category]
        counts = [i for i in mine if not image.crowd[i] and area[0] <= image.areas[i] <= area[1]]
        counted, taken = [image.boxes[i] for i in counts], set()
        ignored = [image.boxes[i] for i in mine if i not in counts] + list(image.ignore_regions)
        total += len(counted)
        if image.name not in found:
            continue
        part = found[image.name]
        order = [i for i in np.argsort(-part.scores, kind="stable") if part.classes[i] == category][:limit]
        for i in order:
            verdict = judge(part.boxes[i], counted, ignored, taken, iou)
            if verdict == 1 or (verdict == 0 and area[0] <= size(part.boxes[i]) <= area[1]):
                rows.append((part.scores[i], verdict))
    if not total:
        return None
    rows.sort(key=lambda row: -row[0])
    right = np.cumsum([verdict for _, verdict in rows])
    points = [(hits / total, hits / count) for count, hits in enumerate(right, start=1)]
    at = [max((p for r, p in points if r >= recall), default=0) for recall in np.linspace(0, 1, 101)]
    return float(np.mean(at))


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_rule_in_loops(seed):
    truth = random_truth(images=6, seed=seed, sides=(1, 45))
    truth.images[1].dense = True
    found = noisy_detections(truth, seed, noise=1.5, extra=40)
    metrics = TinyPerson().score(truth, found).metrics
    assert metrics.keys() == {f"AP{iou}_{name}{suffix}" for iou, name in METRICS for suffix in ("", "@1000")}
    for iou, name in METRICS:
        for suffix, limit in (("", 200), ("@1000", 1000)):
            values = [slow_precision(truth, found, c, SIZES[name], int(iou) / 100, limit) for c in truth.names]
            wanted = np.mean([value for value in values if value is not None])
            assert metrics[f"AP{iou}_{name}{suffix}"] == pytest.approx(wanted, abs=1e-9), (iou, name, suffix)


def test_no_objects_score_nothing():
    score = TinyPerson().score(GroundTruth([make_image("a.jpg")], {0: "person"}), {})
    assert next(iter(score.metrics)) == "AP50_tiny"
    assert all(np.isnan(value) for value in score.metrics.values())
    assert score.per_class == {}


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        # A wrong detection of 10 x 10 before the right one halves the precision, unless half of it is ignored.
        ((300, 300), 0.5),
        ((95, 0), 1),  # 5 of 10 columns on the ignored object
        ((95.1, 0), 0.5),
        ((195, 200), 1),  # on the region
        ((195.1, 200), 0.5),
        ((415, 400), 1),  # inside an object of another size
    ],
)
def test_detections_on_ignored_objects_regions_and_other_sizes_do_not_count(corner, expected):
    boxes = [[0, 50, 10, 60], [60, 0, 100, 10], [400, 400, 440, 440]]
    image = make_image("a.jpg", boxes, crowd=[False, True, False], regions=[[150, 200, 200, 250]])
    truth = GroundTruth([image], {0: "person"})
    wrong = [*corner, corner[0] + 10, corner[1] + 10]
    score = TinyPerson().score(truth, {"a.jpg": make_detections([wrong, boxes[0]])})
    assert score.metrics["AP50_tiny"] == pytest.approx(expected)
    assert score.per_class["person"]["AP50_tiny"] == pytest.approx(expected)


def test_dense_images_are_left_out_with_their_detections():
    images = [make_image("a.jpg", [[0, 0, 9, 9]]), make_image("b.jpg", [[0, 0, 9, 9]], dense=True)]
    found = {"a.jpg": make_detections([[0, 0, 9, 9]]), "b.jpg": make_detections([[50, 50, 59, 59]] * 9)}
    truth = GroundTruth(images, {0: "person"})
    assert TinyPerson().score(truth, found).metrics["AP50_tiny"] == pytest.approx(1)
    truth.images[1] = replace(images[1], dense=False)
    assert TinyPerson().score(truth, found).metrics["AP50_tiny"] < 1


def test_200_and_1000_detections():
    # 300 objects, all found: 200 of them reach recalls up to .66, 67 of 101 points.
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(300)]
    truth = GroundTruth([make_image("a.jpg", boxes, size=(6000, 20))], {0: "person"})
    metrics = TinyPerson().score(truth, {"a.jpg": make_detections(boxes)}).metrics
    assert metrics["AP50_tiny"] == pytest.approx(67 / 101)
    assert metrics["AP50_tiny@1000"] == pytest.approx(1)
