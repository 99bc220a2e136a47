"""Label files: every bad row is named, where training stops at the first."""

import numpy as np
import pytest

from uavdet.data.doctor.label_files import examine_labels, find_orphans


@pytest.fixture
def image(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    return tmp_path / "images" / "a.jpg"


def labels(image, text, nc=2):
    (image.parents[1] / "labels" / "a.txt").write_text(text)
    return examine_labels(image, nc)


def test_no_file_and_an_empty_one_hold_no_box_and_no_problem(image):
    missing, empty = examine_labels(image, 2), labels(image, "\n")
    assert (missing.found, len(missing.rows), missing.problems) == (False, 0, [])
    assert (empty.found, len(empty.rows), empty.problems) == (True, 0, [])


def test_every_bad_row_is_named_and_the_others_are_kept(image):
    facts = labels(
        image,
        "0 .5 .5 .1 .1\n7 .5 .5 .1 .1\n\n0 .5 .5 .1\n1 .5 .5 -.2 .1\n1 .5 .5 .2 0\n0 300 200 40 30\n0 .5 nan .1 .1\n"
        "1 .5 .5 .1 x\n1 .4 .4 .1 .1\n-1 .5 .5 .1 .1\n0.5 .5 .5 .1 .1\n0 -.3 .5 .1 .1\n"
        "0 .1 .1 .2 .1 .2 .2 .3\n",
    )
    assert [(line, kind) for line, kind, _ in facts.problems] == [
        (2, "unknown class"),
        (4, "malformed row"),
        (5, "inverted or empty box"),
        (6, "inverted or empty box"),
        (7, "box outside the image"),
        (8, "malformed row"),
        (9, "malformed row"),
        (11, "unknown class"),
        (12, "unknown class"),
        (13, "box outside the image"),
        (14, "malformed row"),
    ]
    assert facts.problems[0][2] == "class 7; the dataset YAML has classes 0 to 1"
    np.testing.assert_allclose(facts.rows, [[0, 0.5, 0.5, 0.1, 0.1], [1, 0.4, 0.4, 0.1, 0.1]], atol=1e-6)


def test_repeated_rows_name_both_lines(image):
    facts = labels(image, "0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n0 .50 .5 .1 .1\n")
    assert facts.repeats == [(3, 1)]
    assert len(facts.rows) == 2


def test_boxes_over_the_edge_are_named_apart_from_rounding(image):
    facts = labels(image, "0 .05 .5 .2 .2\n0 .05 .5 .101 .2\n0 .5 .98 .1 .1\n")
    assert facts.clipped == [1, 3]
    assert facts.problems == []


def test_text_that_is_not_utf8_is_a_problem_of_the_file(image):
    (image.parents[1] / "labels" / "a.txt").write_bytes("0 .5 .5 .1 .1 # Straße".encode("latin-1"))
    assert examine_labels(image, 2).problems == [(0, "unreadable label file", "is no UTF-8 text (byte 20)")]
    (image.parents[1] / "labels" / "a.txt").write_bytes(b"\xef\xbb\xbf0 .5 .5 .1 .1\n")
    assert len(examine_labels(image, 2).rows) == 1


def test_a_folder_in_the_place_of_a_file_is_a_problem(image):
    (image.parents[1] / "labels" / "a.txt").mkdir()
    assert examine_labels(image, 2).problems[0][1] == "unreadable label file"


def test_label_files_without_image_are_found(image):
    folder = image.parents[1] / "labels"
    for name in ("a.txt", "b.txt", "other.txt", "classes.txt"):
        (folder / name).touch()
    assert find_orphans([], set()) == []
    assert find_orphans([image], {folder / "a.txt", folder / "other.txt"}) == [folder / "b.txt"]
    beside = image.parent.parent / "x.jpg"
    (image.parent.parent / "list.txt").touch()
    assert find_orphans([beside], set()) == []
