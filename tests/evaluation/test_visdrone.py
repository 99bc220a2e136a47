"""VisDrone's protocol: cases whose numbers are worked out by hand, the pixel mask, and submission files."""

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.errors import DataError
from uavdet.evaluation.truth import GroundTruth
from uavdet.evaluation.visdrone import VisDrone, covered_share, drop_ignored, write_submission

NAMES = {0: "pedestrian", 1: "car"}


def score(images, found, names=NAMES):
    return VisDrone().score(GroundTruth(images, names), found)


def test_no_objects_score_nothing():
    result = score([make_image("a.jpg")], {"a.jpg": make_detections([[0, 0, 9, 9]])})
    assert list(result.metrics)[:7] == ["AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AR500"]
    assert list(result.metrics)[7:] == [f"{name}_macro" for name in list(result.metrics)[:7]]
    assert all(np.isnan(value) for value in result.metrics.values())
    assert result.per_class == {}


def test_objects_without_detections_score_zero():
    metrics = score([make_image("a.jpg", [[0, 0, 9, 9]])], {}).metrics
    assert set(metrics.values()) == {0}


# The region x, y, w, h = 100, 50, 49, 49 marks the pixel columns 100 to 149 and the rows 50 to 99, counted from 1.
REGION = [[100, 50, 149, 99]]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (49, 1),  # columns 50 to 149, 50 of 100 are marked: deleted
        (48, 0.5),  # columns 49 to 148, 49 of 100 are marked: stays, and is wrong before the right one
    ],
)
def test_a_region_deletes_detections_of_half_their_area(left, expected):
    image = make_image("a.jpg", [[10, 150, 40, 180]], regions=REGION, size=(400, 300))
    found = {"a.jpg": make_detections([[left, 49, left + 100, 59], [10, 150, 40, 180]])}
    assert score([image], found).metrics["AP"] == pytest.approx(expected)


@pytest.mark.parametrize(("left", "expected"), [(49, 1), (48, 0.5)])
def test_a_region_deletes_objects_of_half_their_area(left, expected):
    image = make_image("a.jpg", [[10, 150, 40, 180], [left, 49, left + 100, 59]], regions=REGION, size=(400, 300))
    metrics = score([image], {"a.jpg": make_detections([[10, 150, 40, 180]])}).metrics
    assert metrics["AR500"] == pytest.approx(expected)


@pytest.mark.parametrize("others", [0, 1, 2])
def test_objects_of_score_0_are_neither_hit_nor_missed_by_detections(others):
    # However many detections lie in the score-0 object, precision is 1; its recall counts one of two objects, since
    # the toolkit leaves the score-0 object in the denominator.
    image = make_image("a.jpg", [[0, 0, 20, 20], [100, 100, 140, 140]], crowd=[False, True])
    boxes = [[100 + i, 100, 110 + i, 110] for i in range(others)]
    metrics = score([image], {"a.jpg": make_detections([*boxes, [0, 0, 20, 20]])}).metrics
    assert metrics["AP"] == pytest.approx(0.5)
    assert metrics["AR500"] == pytest.approx(0.5)


def test_a_detection_half_on_an_object_of_score_0_is_ignored_and_one_less_on_it_is_wrong():
    image = make_image("a.jpg", [[0, 0, 20, 20], [100, 100, 140, 140]], crowd=[False, True])
    for left, expected in ((135, 0.5), (136, 0.25)):  # 5 or 4 of 10 columns: IoD .5 or .4
        found = {"a.jpg": make_detections([[left, 100, left + 10, 110], [0, 0, 20, 20]])}
        assert score([image], found).metrics["AP50"] == pytest.approx(expected)


@pytest.mark.parametrize(("wrong", "precision", "recall"), [(500, 0, 0), (499, 1 / 250, 1)])
def test_the_501st_detection_of_an_image_does_not_count_whatever_its_class(wrong, precision, recall):
    # The right detection has the lowest score. 499 wrong ones are 249 of its class and 250 of the other.
    image = make_image("a.jpg", [[0, 0, 20, 20]], size=(2000, 1000))
    classes = [1 - i % 2 for i in range(wrong)]
    boxes = [
        [100 + 20 * (i % 50), 100 + 20 * (i // 50), 110 + 20 * (i % 50), 110 + 20 * (i // 50)] for i in range(wrong)
    ]
    found = make_detections([*boxes, [0, 0, 20, 20]], [*np.linspace(1, 0.2, wrong), 0.1], [*classes, 0])
    metrics = score([image], {"a.jpg": found}).metrics
    assert metrics["AP"] == pytest.approx(precision)
    assert metrics["AR500"] == pytest.approx(recall)
    assert metrics["AR100"] == 0


def test_deleted_detections_do_not_fill_the_limit():
    image = make_image("a.jpg", [[0, 0, 20, 20]], regions=[[100, 100, 300, 300]], size=(400, 400))
    boxes = [[150, 150, 160, 160]] * 600 + [[0, 0, 20, 20]]
    assert score([image], {"a.jpg": make_detections(boxes)}).metrics["AP"] == pytest.approx(1)


def test_classes_are_weighted_by_the_images_that_have_them():
    # Pedestrians in 3 images are all found, cars in 1 image are not: (3 * 1 + 1 * 0) / 4, and (1 + 0) / 2.
    box = [0, 0, 20, 20]
    images = [make_image(f"{i}.jpg", [box]) for i in range(2)]
    images.append(make_image("2.jpg", [box, [50, 0, 70, 20], [90, 0, 110, 20]], [0, 1, 1]))
    result = score(images, {image.name: make_detections([box]) for image in images})
    for name in ("AP", "AP50", "AP75", "AR10", "AR500"):
        assert result.metrics[name] == pytest.approx(0.75), name
        assert result.metrics[f"{name}_macro"] == pytest.approx(0.5), name
    assert {name: row["AP"] for name, row in result.per_class.items()} == {"pedestrian": 1, "car": 0}


def test_an_image_with_score_0_objects_alone_counts_for_the_weight():
    # Pedestrians: one of two objects in two images, one of which is of score 0; cars: all, in one image.
    box = [0, 0, 20, 20]
    images = [make_image("a.jpg", [box, [50, 0, 70, 20]], [0, 1]), make_image("b.jpg", [box], crowd=[True])]
    found = {"a.jpg": make_detections([box, [50, 0, 70, 20]], classes=[0, 1])}
    assert score(images, found).metrics["AP"] == pytest.approx((2 * 0.5 + 1 * 1) / 3)


def test_precision_is_taken_at_all_points():
    # Of two objects, hits at ranks 1 and 3: (1 + 2/3) / 2, where 101 points would give (51 + 50 * 2/3) / 101.
    image = make_image("a.jpg", [[0, 0, 20, 20], [50, 0, 70, 20]])
    found = {"a.jpg": make_detections([[0, 0, 20, 20], [0, 90, 9, 99], [50, 0, 70, 20]])}
    assert score([image], found).metrics["AP"] == pytest.approx(5 / 6)


def test_recall_with_one_detection_looks_at_one_over_all_classes():
    boxes = [[0, 0, 20, 20], [50, 0, 70, 20]]
    metrics = score(
        [make_image("a.jpg", boxes, [0, 1])], {"a.jpg": make_detections(boxes, classes=[1, 0][::-1])}
    ).metrics
    assert metrics["AR1"] == pytest.approx(0.5)
    assert metrics["AR10"] == pytest.approx(1)


def test_classes_that_no_image_has_do_not_count():
    image = make_image("a.jpg", [[0, 0, 20, 20]])
    found = {"a.jpg": make_detections([[0, 0, 20, 20], [50, 50, 60, 60]], classes=[0, 1])}
    assert score([image], found).metrics["AP_macro"] == pytest.approx(1)


def share_in_a_mask(box, regions, size):
    """Return the share of a box in the regions: a mask is drawn pixel by pixel, columns and rows counted from 1."""
    width, height = size
    mask = np.zeros((height + 2, width + 2))

    def whole(values):
        return [max(1, int(np.floor(round(value, 9) + 0.5))) for value in values]  # right - left is no decimal number

    for left, top, right, bottom in regions:
        x, y, w, h = whole([left, top, right - left, bottom - top])
        mask[y : min(height, y + h) + 1, x : min(width, x + w) + 1] = 1
    x, y, w, h = whole([box[0], box[1], box[2] - box[0], box[3] - box[1]])
    x, y = min(x, width), min(y, height)
    return mask[y + 1 : min(height, y + h) + 1, x + 1 : min(width, x + w) + 1].sum() / (w * h)


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_those_of_a_mask(seed):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)))
    corner = rng.uniform(-10, 80, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 60, (30, 2))], 1)
    regions = boxes[: rng.integers(1, 8)].round()
    if seed % 2:
        boxes = boxes.round(1)
    image = make_image("a.jpg", regions=regions, size=size)
    expected = [share_in_a_mask(box, regions, size) for box in boxes]
    np.testing.assert_allclose(covered_share(boxes, image), expected, rtol=0, atol=1e-12)


def test_halves_of_a_pixel_are_rounded_as_the_file_has_them():
    # Width 10.5 of the file is 11 pixels, of which columns 11 to 14 are marked; 9.9 + 10.5 - 9.9 is a little less.
    image = make_image("a.jpg", regions=[[1, 1, 14, 60]], size=(100, 100))
    box = np.array([[9.9, 9.0, 9.9 + 10.5, 19.0]])
    assert box[0, 2] - box[0, 0] < 10.5
    assert covered_share(box, image)[0] == pytest.approx(4 / 11)


def test_only_images_with_regions_lose_anything():
    truth = random_truth(seed=2)
    found = noisy_detections(truth, 2)
    left, kept = drop_ignored(truth, found)
    for image, after in zip(truth.images, left.images, strict=True):
        if not len(image.ignore_regions):
            assert after is image
            assert kept[image.name] is found[image.name]
        inside = covered_share(found[image.name].boxes, image) >= 0.5 if len(image.ignore_regions) else 0
        assert len(kept[image.name].scores) == len(found[image.name].scores) - np.sum(inside)
    assert sum(len(part.scores) for part in kept.values()) < sum(len(part.scores) for part in found.values())


def test_bad_detections_are_refused_by_their_number_in_the_image():
    image = make_image("a.jpg", regions=[[0, 0, 500, 500]])
    found = {"a.jpg": make_detections([[1, 1, 9, 9], [1, 1, float("nan"), 9]])}
    with pytest.raises(DataError, match=r"Detection 2 of 'a\.jpg'"):
        score([image], found)


def test_submission_files(tmp_path):
    truth = GroundTruth([make_image("val/0000001_d.jpg"), make_image("b.png")], NAMES)
    found = make_detections([[1, 2, 4, 6.5], [10.123, 20, 30, 40]], [0.25, 0.5], [1, 0])
    folder = write_submission(tmp_path / "new" / "files", truth, {"val/0000001_d.jpg": found})
    assert sorted(path.name for path in folder.iterdir()) == ["0000001_d.txt", "b.txt"]
    assert (folder / "b.txt").read_text() == ""
    lines = (folder / "0000001_d.txt").read_text().splitlines()
    assert lines == [
        "10.12,20.00,19.88,20.00,0.500000,1,-1,-1",
        "1.00,2.00,3.00,4.50,0.250000,2,-1,-1",
    ]


def test_submissions_have_the_best_500(tmp_path):
    boxes, scores = [[i, 0, i + 5, 5] for i in range(600)], np.arange(600) / 600
    truth = GroundTruth([make_image("a.jpg")], NAMES)
    lines = (write_submission(tmp_path, truth, {"a.jpg": make_detections(boxes, scores)}) / "a.txt").read_text()
    lefts = [float(line.split(",")[0]) for line in lines.splitlines()]
    assert lefts == list(range(599, 99, -1))


def test_frames_of_sequences_keep_their_folders(tmp_path):
    truth = GroundTruth([make_image("x/1.jpg"), make_image("y/1.jpg")], NAMES)
    write_submission(tmp_path, truth, {"y/1.jpg": make_detections([[0, 0, 5, 5]])})
    assert (tmp_path / "x" / "1.txt").read_text() == ""
    assert (tmp_path / "y" / "1.txt").read_text().startswith("0.00,0.00,5.00,5.00,")
