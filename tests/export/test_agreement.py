"""Sets of detections compared, against boxes whose IoU is worked by hand."""

import numpy as np
import pytest

from uavdet.export.agreement import TIE, compare_rows, found_again

SIZE = (100, 200)  # height, width


def rows(*entries):
    return np.array(entries, dtype=np.float32).reshape(-1, 6)


BOX = (0.5, 0.5, 0.1, 0.2, 0.9, 0.0)  # 20 x 20 pixels


def test_no_rows_agree_with_no_rows():
    result = compare_rows(rows(), rows(), SIZE)
    assert (len(result.overlaps), result.unmatched, result.cut, result.rows) == (0, 0, 0, 0)


def test_rows_of_another_order_are_the_same_set():
    generator = np.random.default_rng(0)
    first = np.concatenate([generator.uniform(0.2, 0.8, (40, 5)), generator.integers(0, 3, (40, 1))], axis=1)
    first[:, 2:4] *= 0.1
    result = compare_rows(first, first[generator.permutation(40)], SIZE)
    assert result.overlaps.min() == pytest.approx(1.0)
    assert (result.scores.max(), result.logits.max(), result.unmatched, result.paired) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("change", "overlap"),
    [
        ({0: 0.51}, 18 / 22),  # 2 of 20 pixels to the right
        ({3: 0.12}, 0.6),  # less high
        ({2: 0.125}, 0.8),  # wider
    ],
)
def test_overlap_of_moved_boxes(change, overlap):
    moved = list(BOX)
    for index, value in change.items():
        moved[index] = value
    assert compare_rows(rows(BOX), rows(moved), SIZE).overlaps == pytest.approx([overlap], rel=1e-5)


def test_difference_of_scores():
    other = (*BOX[:4], 0.8, 0.0)
    result = compare_rows(rows(BOX), rows(other), SIZE)
    assert result.scores == pytest.approx([0.1], abs=1e-6)
    assert result.logits == pytest.approx([np.log(9) - np.log(4)], abs=1e-5)


@pytest.mark.parametrize("other", [(*BOX[:5], 1.0), (0.2, *BOX[1:])], ids=["class", "place"])
def test_another_class_or_place_is_no_counterpart(other):
    low = (0.9, 0.9, 0.1, 0.1, 0.1, 0.0)
    result = compare_rows(rows(BOX, low), rows(other, low), SIZE)
    assert (result.unmatched, result.cut, result.paired) == (2, 0, 0.5)


def test_rows_that_tie_at_the_last_place_may_stand_for_each_other():
    last = (0.2, 0.2, 0.1, 0.1, 0.5, 0.0)
    tied = (0.8, 0.8, 0.1, 0.1, 0.5 + TIE / 8, 0.0)  # the logit's slope is 4 at a score of 0.5
    result = compare_rows(rows(BOX, last), rows(BOX, tied), SIZE)
    assert (result.unmatched, result.cut) == (0, 2)
    clear = (0.8, 0.8, 0.1, 0.1, 0.6, 0.0)
    assert compare_rows(rows(BOX, clear), rows(BOX, last), SIZE).unmatched == 1


@pytest.mark.parametrize(
    ("first", "second", "logits"),
    [
        (0.5, 0.5 + 1e-5, 4e-5),  # the logit's slope is 4 at a score of 0.5
        (0.01, 0.0101, 0.0100508),
        (0.999, 0.9991, 0.10546),
        (1 - 6e-8, 1.0, 0.0),  # the last step below 1
        (0.9999, 0.9999 + 1.2e-7, 0.0),  # 1.2e-3 logits, as float32 tells them
        (1e-5, 1.005e-5, 0.0),
        (0.9999, 1.0, 16.118 - 9.21),  # as the logit of 1 counts that of 1 - 1e-7
    ],
)
def test_logits_of_scores_differ_by_what_rounding_does_not_explain(first, second, logits):
    result = compare_rows(rows((*BOX[:4], first, 0.0)), rows((*BOX[:4], second, 0.0)), SIZE)
    assert result.logits == pytest.approx([logits], rel=0.02, abs=1e-7)


@pytest.mark.parametrize(("score", "paired"), [(1.0, 1.0), (0.5, 1.0), (0.6, 0.5)])
def test_rows_that_all_tie_at_the_last_score_may_be_others(score, paired):
    last = (0.2, 0.2, 0.1, 0.1, min(score, 0.5), 0.0) if score < 1 else (0.2, 0.2, 0.1, 0.1, 1.0, 0.0)
    elsewhere = (0.8, 0.8, 0.1, 0.1, score, 0.0)
    result = compare_rows(rows((*BOX[:4], score, 0.0), last), rows(elsewhere, last), SIZE)
    assert result.paired == paired


def test_each_row_has_one_counterpart():
    result = compare_rows(rows(BOX, BOX), rows(BOX), SIZE)
    assert (len(result.overlaps), result.unmatched + result.cut) == (1, 1)


def test_boxes_below_a_pixel_do_not_measure_rounding():
    first, second = (0.5, 0.5, 1e-7, 1e-7, 0.9, 0.0), (0.5, 0.5, 3e-7, 1e-7, 0.9, 0.0)
    assert compare_rows(rows(first), rows(second), SIZE).overlaps == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("found", "expected"),
    [(rows(), (0, 1)), (rows(BOX), (1, 1)), (rows((0.506, *BOX[1:])), (1, 1)), (rows((0.52, *BOX[1:])), (0, 1))],
)
def test_confident_detections_found_again(found, expected):
    weak = (0.1, 0.1, 0.1, 0.1, 0.05, 0.0)
    assert found_again(rows(BOX, weak), found) == expected


def test_without_confident_detections_nothing_is_told():
    assert found_again(rows((*BOX[:4], 0.05, 0.0)), rows(BOX)) is None
