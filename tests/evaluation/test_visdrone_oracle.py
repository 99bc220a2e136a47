"""The independent VisDrone evaluation itself, on cases worked by hand from the toolkit's rules."""

import math

import numpy as np
import pytest

from tests.evaluation.visdrone_oracle import METRICS, THRESHOLDS, Image, car, evaluate, found, region, round_half_away


def test_nothing_to_score_is_no_number():
    result = evaluate([Image(50, 50), Image(50, 50, [], [found(1, 1)])])
    assert all(math.isnan(result[name]) for name in METRICS)
    assert result["per_class"] == {}
    assert math.isnan(evaluate([])["AP"])


def test_an_object_and_no_detection_is_zero():
    result = evaluate([Image(50, 50, [car(5, 5)])])
    assert all(result[name] == 0 for name in METRICS)


def test_the_thresholds_never_exceed_their_decimals():
    decimals = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert all(t <= d for t, d in zip(THRESHOLDS, decimals, strict=True))
    np.testing.assert_allclose(THRESHOLDS, decimals, atol=1e-15)


def test_halves_round_away_from_zero():
    assert [round_half_away(v) for v in (0.5, 1.5, 2.5, 2.4, -2.5, -0.4)] == [1, 2, 3, 2, -3, 0]


def test_the_area_is_that_under_the_falling_curve():
    # 3 objects; by score right, wrong, right. Recall 1/3, 1/3, 2/3; precision 1, 1/2, 2/3.
    # Area: 1/3 at precision 1, 1/3 at 2/3, then nothing: 1/3 + 2/9 = 5/9. Perfect boxes: the same at every threshold.
    image = Image(
        200, 50, [car(0, 0), car(50, 0), car(100, 0)], [found(0, 0), found(150, 0, score=0.8), found(50, 0, score=0.7)]
    )
    result = evaluate([image])
    for name in ("AP", "AP50", "AP75"):
        assert result[name] == pytest.approx(5 / 9)
    # The first row alone is right; all rows find 2 of 3.
    assert result["AR1"] == pytest.approx(1 / 3)
    assert result["AR10"] == result["AR500"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("width", "count"),
    [(6, 3), (7, 5), (9, 9), (5, 1)],  # IoU 0.6, 0.7, 0.9 and 0.5 pass .5:.05:IoU
)
def test_an_overlap_equal_to_the_threshold_is_enough(width, count):
    result = evaluate([Image(50, 50, [car(0, 0)], [found(0, 0, w=width)])])
    assert result["AP"] == pytest.approx(count / 10)


@pytest.mark.parametrize(
    ("x", "ap"),
    [
        # Region x 1, w 100: columns 1 to 101. A box x 51, w 100 stands for columns 52 to 151, of which 50 are covered:
        # 50 / 100 deletes it, and the right detection below it stands alone with AP 1.
        (51, 1.0),
        # x 52: columns 53 to 152, 49 covered: it stays as a wrong one of higher score, and precision is 1/2.
        (52, 0.5),
    ],
)
def test_a_detection_goes_at_half_in_an_ignored_region(x, ap):
    image = Image(300, 50, [region(1, 1, 100, 10), car(250, 20)], [found(x, 5, w=100, h=1), found(250, 20, score=0.5)])
    assert evaluate([image])["AP"] == pytest.approx(ap)


@pytest.mark.parametrize(("x", "ap"), [(51, 1.0), (52, 0.5)])
def test_an_object_goes_at_half_in_an_ignored_region(x, ap):
    # The second object is never found. Deleted at 50 %, the first is all there is; kept at 49 %, recall ends at 1/2.
    image = Image(300, 50, [region(1, 1, 100, 10), car(250, 20), car(x, 5, w=100, h=1)], [found(250, 20)])
    assert evaluate([image])["AP"] == pytest.approx(ap)


@pytest.mark.parametrize(
    ("box", "deleted"),
    [
        # Region x 20, y 21, w 10, h 10: columns 20 to 30, rows 21 to 31. y 20 stands for rows 21 to 30, all of them.
        ((20, 21, 10, 10), True),  # the same box: all of it
        ((25, 20, 10, 10), True),  # columns 26 to 35, 5 of 10 covered
        ((26, 20, 10, 10), False),  # 27 to 36: 4 of 10
        ((14, 20, 10, 10), True),  # 15 to 24: 5 of 10 (20 to 24), where the drawn boxes share 4 columns
        ((13, 20, 10, 10), False),  # 14 to 23: 4 of 10
        ((25.5, 20, 10, 10), False),  # rounds to 26
        ((25.4, 20, 10, 10), True),
        ((20, 26, 10, 10), True),  # rows 27 to 36: 5 of 10
        ((20, 26.5, 10, 10), False),  # rounds to 27, not to the even 26: 4 of 10
        ((25, 20, 10.5, 10), False),  # width 11: columns 26 to 36, 5 of 11
        ((28, 28, 0, 0), True),  # sides of at least 1: column 29, row 29
        ((-3, 20, 10, 10), False),  # 1: columns 2 to 11
    ],
)
def test_the_mask_counts_pixels_as_the_toolkit_does(box, deleted):
    # A wrong detection of the highest score costs half the precision if it stays.
    image = Image(100, 100, [region(20, 21, 10, 10), car(70, 70)], [found(*box), found(70, 70, score=0.1)])
    assert evaluate([image])["AP"] == pytest.approx(1.0 if deleted else 0.5)


@pytest.mark.parametrize(
    ("box", "deleted"),
    [
        ((90, 20, 20, 10), True),  # columns 91 to 100 of 110: 10 of 20, the part outside counts as not covered
        ((90, 20, 21, 10), False),  # 10 of 21
        ((100, 20, 10, 10), False),  # no column inside is left
        ((150, 20, 10, 10), False),
    ],
)
def test_boxes_at_the_border_of_the_image(box, deleted):
    image = Image(100, 100, [region(50, 1, 80, 90), car(5, 5)], [found(*box), found(5, 5, score=0.1)])
    assert evaluate([image])["AP"] == pytest.approx(1.0 if deleted else 0.5)


def test_a_region_at_zero_begins_at_one():
    # x 0 and x 1 are the same region: columns 1 to 11. A box x 6, w 10: columns 7 to 16, of which 7 to 11.
    for x in (0, 1):
        image = Image(100, 100, [region(x, 0, 10, 90), car(70, 70)], [found(6, 5), found(70, 70, score=0.1)])
        assert evaluate([image])["AP"] == pytest.approx(1.0)
        image.detections[0] = found(7, 5)
        assert evaluate([image])["AP"] == pytest.approx(0.5)


def test_overlapping_regions_count_once():
    # Columns 20 to 30 twice, and 20 to 28 again: still only columns 27 to 30 of the box's 27 to 36.
    regions = [region(20, 20, 10, 10), region(20, 20, 10, 10), region(20, 20, 8, 10)]
    image = Image(100, 100, [*regions, car(70, 70)], [found(26, 20), found(70, 70, score=0.1)])
    assert evaluate([image])["AP"] == pytest.approx(0.5)


def test_score_zero_objects_are_neither_hit_nor_miss_but_count_in_recall():
    # A detection on each of a normal and an ignored object, the ignored one's first: precision stays 1, and recall ends
    # at 1/2, because the toolkit divides by both objects.
    image = Image(100, 50, [car(0, 0), car(50, 0, score=0)], [found(50, 0), found(0, 0, score=0.8)])
    assert evaluate([image])["AP"] == pytest.approx(0.5)
    # Twice on the ignored object: still neither. A wrong one instead costs precision: 1/2 * 1/2.
    image.detections.insert(0, found(50, 0, score=0.95))
    assert evaluate([image])["AP"] == pytest.approx(0.5)
    image.detections[0] = found(80, 20, score=0.95)
    assert evaluate([image])["AP"] == pytest.approx(0.25)


def test_a_score_zero_object_takes_what_lies_within_it():
    # Detection 10 x 10 within an ignored 40 x 40 object: IoU 1/16, intersection / detection area 1: neither. With half
    # of it outside (5 / 10) it is neither at threshold .5 and wrong at the other nine:
    # AP 1/2 once and 1/4 nine times, (0.5 + 9 * 0.25) / 10 = 0.275.
    truth = [car(0, 0), car(50, 0, 40, 40, score=0)]
    image = Image(100, 50, truth, [found(60, 10), found(0, 0, score=0.8)])
    assert evaluate([image])["AP"] == pytest.approx(0.5)
    image.detections[0] = found(45, 10)
    assert evaluate([image])["AP"] == pytest.approx(0.275)
    assert evaluate([image])["AP50"] == pytest.approx(0.5)


def test_a_normal_object_comes_before_an_ignored_one():
    # IoU 0.6 with the normal object, all within the ignored one: right up to .6, neither above. Denominator 2.
    truth = [car(0, 0, 40, 40, score=0), car(0, 0)]
    result = evaluate([Image(100, 50, truth, [found(0, 0, w=6)])])
    assert result["AP50"] == pytest.approx(0.5)
    assert result["AP"] == pytest.approx(3 * 0.5 / 10)


def test_a_class_of_score_zero_objects_alone_has_ap_zero_and_a_weight():
    truth = [car(0, 0), [50, 0, 10, 10, 0, 9, 0, 0]]
    result = evaluate([Image(100, 50, truth, [found(0, 0), found(50, 0, category=9)])])
    assert result["AP"] == pytest.approx(0.5)
    assert result["per_class"][9]["AP"] == 0


def test_among_equal_overlaps_the_last_object_is_taken():
    # Both objects have IoU 10 / 12 = 0.83 with the first detection; it takes the last (x 2), and the second detection,
    # identical to that one, has only IoU 8 / 12 = 0.67 with the first object. Both are right at .5 to .65 (AP 1).
    # At .7, .75, .8 one is right and one wrong (1/2 * 1); above, the second (IoU 1) alone is, after a wrong one (1/4).
    # Sum 4 * 1 + 3 * 0.5 + 3 * 0.25 = 6.25.
    truth = [car(0, 0), car(2, 0)]
    image = Image(100, 50, truth, [found(0, 0, w=12, score=0.9), found(2, 0, score=0.8)])
    assert evaluate([image])["AP"] == pytest.approx(0.625)
    # In the other order the first detection takes x 0, and the second is right everywhere: 7 * 1 + 3 * 0.25 = 7.75.
    image.truth.reverse()
    assert evaluate([image])["AP"] == pytest.approx(0.775)


def test_the_501st_detection_across_classes_is_not_looked_at():
    wrong = [found(0, 0, score=0.9, category=1 + index % 10) for index in range(499)]
    image = Image(100, 100, [car(50, 50)], [*wrong, found(50, 50, score=0.1)])
    # 50 of the 499 are cars (index 3, 13, ..., 493): precision 1 / 51 at recall 1.
    assert evaluate([image])["AP"] == pytest.approx(1 / 51)
    assert evaluate([image])["AR100"] == 0
    image.detections.insert(0, found(0, 0, score=0.9, category=1))
    assert evaluate([image])["AP"] == 0
    # One of the 501 in an ignored region is gone before the rows are counted.
    image.truth.append(region(80, 80, 15, 15))
    image.detections[0] = found(82, 82, score=0.9, category=1)
    assert evaluate([image])["AP"] == pytest.approx(1 / 51)


def test_rows_are_cut_in_file_order_whatever_their_scores():
    image = Image(100, 50, [car(0, 0)], [found(0, 0, score=0.1), found(50, 0, score=0.9)])
    result = evaluate([image])
    assert result["AR1"] == 1
    assert result["AP"] == pytest.approx(0.5)


def test_rows_of_classes_that_nobody_scores_take_a_place():
    image = Image(100, 50, [car(0, 0)], [found(70, 0, category=11), found(0, 0)])
    assert evaluate([image])["AR1"] == 0
    assert evaluate([image])["AR10"] == 1


def test_others_are_background():
    image = Image(100, 50, [car(0, 0), [50, 0, 10, 10, 1, 11, 0, 0]], [found(50, 0), found(0, 0, score=0.5)])
    assert evaluate([image])["AP"] == pytest.approx(0.5)


def test_the_mean_is_weighted_by_images():
    # Cars stand in 3 images and are all found; a bus stands in one and is not: (3 * 1 + 1 * 0) / 4, and (1 + 0) / 2.
    images = [Image(100, 50, [car(0, 0), car(50, 0)], [found(0, 0), found(50, 0)]) for _ in range(3)]
    images[2].truth.append([70, 20, 10, 10, 1, 9, 0, 0])
    result = evaluate(images)
    assert result["AP"] == result["AR500"] == pytest.approx(0.75)
    assert result["AP_macro"] == result["AR500_macro"] == pytest.approx(0.5)
    assert set(result["per_class"]) == {4, 9}


def test_objects_in_ignored_regions_give_no_weight():
    images = [Image(100, 50, [car(0, 0)], [found(0, 0)]) for _ in range(3)]
    images[0].truth.append([50, 0, 10, 10, 1, 9, 0, 0])
    images[1].truth += [[50, 0, 10, 10, 1, 9, 0, 0], region(45, 0, 30, 30)]
    # Cars in 3 images at AP 1, buses in 1 (the second is deleted) at AP 0.
    assert evaluate(images)["AP"] == pytest.approx(0.75)


def test_equal_scores_keep_the_order_of_the_images():
    right, wrong = Image(100, 50, [car(0, 0)], [found(0, 0)]), Image(100, 50, [], [found(0, 0)])
    assert evaluate([right, wrong])["AP"] == pytest.approx(1.0)
    assert evaluate([wrong, right])["AP"] == pytest.approx(0.5)


def test_a_region_between_pixels_is_refused():
    with pytest.raises(ValueError, match="whole number"):
        evaluate([Image(50, 50, [region(1.5, 0, 4, 4)], [found(0, 0)])])
