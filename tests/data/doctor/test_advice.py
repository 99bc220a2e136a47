"""Advice, each piece on both sides of its threshold, with numbers worked by hand."""

import numpy as np
import pytest

from uavdet.data.doctor.advice import (
    Evidence,
    advise,
    advise_classes,
    advise_labels,
    advise_protocol,
    advise_queries,
    advise_resolution,
    advise_splits,
    advise_thumbdet,
    round_up,
)

VISDRONE = (
    "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
)  # fmt: skip


def squares(*sides):
    return np.array([[side, side] for side in sides], dtype=float).reshape(-1, 2)


def evidence(**given):
    """Return the numbers of a dataset with nothing to change: 640 px images, 30 px objects, 20 an image."""
    standard = {
        "names": ("car", "person"),
        "counts": np.full(50, 20),
        "original": squares(*[30] * 1000),
        "network": squares(*[30] * 1000),
        "long_side": 640.0,
        "imgsz": 640,
        "queries": 300,
        "class_objects": {"car": 500, "person": 500},
    }
    return Evidence(**{**standard, **given})


def test_a_dataset_without_boxes_has_no_advice():
    none = squares()
    empty = evidence(counts=np.zeros(3, int), original=none, network=none, class_objects={"car": 0, "person": 0})
    assert advise(empty) == []
    assert advise(evidence(counts=np.zeros(0, int), original=none, network=none, long_side=0.0)) == []


def test_a_dataset_in_order_is_told_so():
    entries = advise(evidence())
    assert {entry.topic: entry.action for entry in entries} == {
        "queries": "keep 300",
        "image size": "keep imgsz=640",
        "ThumbDet factor": "none",
        "protocol": "coco",
    }
    assert not any(entry.change for entry in entries)


def test_what_is_to_be_done_stands_first():
    entries = advise(evidence(counts=np.full(50, 290)))
    assert [entry.change for entry in entries] == [True, False, False, False]
    assert str(entries[0]).startswith("queries: queries=400 in the place of 300, because an image has 290 objects")


@pytest.mark.parametrize(
    ("counts", "queries", "action", "numbers"),
    [
        ([250] * 100, 300, "keep 300", "at most 250"),  # 250 * 1.2 = 300
        ([251] * 100, 300, "queries=400", "251 objects at the 99th percentile"),
        ([1000] * 100, 300, "queries=1200", "70.0% of all objects are beyond 300"),
        ([10] * 999 + [5000], 300, "keep 300", "at most 5000"),  # one odd image
        ([251] * 100, 500, "keep 500", "at most 251"),
    ],
)
def test_queries_cover_the_99th_percentile_with_a_margin(counts, queries, action, numbers):
    advice = advise_queries(evidence(counts=np.array(counts), queries=queries))
    assert advice.action.startswith(action)
    assert numbers in advice.reason
    assert advice.change != action.startswith("keep")


def test_models_without_queries_get_no_advice_on_them():
    assert advise_queries(evidence(queries=None)) is None
    assert advise_thumbdet(evidence(queries=None)) is None


@pytest.mark.parametrize(
    ("original", "network", "long_side", "topic", "action"),
    [
        ([30] * 10, [12] * 10, 1500, "image size", "keep imgsz=640"),  # tiny, but large enough
        ([30] * 10, [9] * 4 + [17] * 6, 1500, "image size", "keep imgsz=640"),
        # 6 px: 12 px would take 1,280, which is twice 640
        ([12] * 10, [6] * 10, 1280, "image size", "imgsz=1280 in the place of 640"),
        # 9 px and all under 16: 640 * 12 / 9 = 853.3, the next multiple of 32 is 864
        ([18] * 10, [9] * 10, 1280, "image size", "imgsz=864 in the place of 640"),
        # the images end at 900 px: the next multiple of 32 is 928, where the object is 6 * 928 / 640 = 8.7 px
        ([8.4] * 10, [6] * 10, 900, "image size", "imgsz=928 in the place of 640"),
        # 4 px in 4,000 px images: 12 px would take 1,920, three times 640; at full size the object is 25 px
        ([25] * 10, [4] * 10, 4000, "tiling", "cut the images by `uavdet convert tile=640 overlap=32`"),
        ([5] * 10, [5] * 10, 640, "image size", "keep it, and take a model with stride-4 detail"),
    ],
)
def test_small_objects_ask_for_a_larger_input_or_tiles(original, network, long_side, topic, action):
    advice = advise_resolution(evidence(original=squares(*original), network=squares(*network), long_side=long_side))
    assert (advice.topic, advice.action[: len(action)]) == (topic, action)
    assert advice.change != action.startswith("keep imgsz")


def test_the_reason_of_a_larger_input_names_what_it_brings_and_costs():
    advice = advise_resolution(evidence(network=squares(*[6] * 10), long_side=900.0))
    assert "median object is 6.0 px and 100% of objects are under 16x16 px at 640" in advice.reason
    assert "there it is 8.7 px, at 2.1 times the compute" in advice.reason


def test_tiles_share_a_strip_of_half_their_side_at_most():
    advice = advise_resolution(
        evidence(original=squares(*[25] * 90, *[900] * 10), network=squares(*[4] * 100), long_side=4000.0)
    )
    assert advice.action.endswith("overlap=320`")


@pytest.mark.parametrize(
    ("network", "long_side", "imgsz", "action", "reason"),
    [
        ([12] * 10, 1279, 640, "none", "2.0 times"),
        ([12] * 10, 1280, 640, "2, with an input of 1280 (a multiple of 64)", "100% of objects keep 8 px"),
        ([12] * 10, 2560, 640, "4, with an input of 2560 (a multiple of 128)", "4.0 times"),
        ([12] * 10, 1400, 672, "2, with an input of 1344 (a multiple of 64)", "2.1 times"),
        ([12] * 8 + [7] * 2, 1280, 640, "2,", "80% of objects keep 8 px"),
        ([12] * 7 + [7] * 3, 1280, 640, "none", "only 70% of objects keep 8 px"),
        ([40] * 8 + [12] * 2, 1280, 640, "none", "only 20% of objects are under 16x16 px"),
    ],
)
def test_thumbdet_needs_large_images_and_objects_that_survive_it(network, long_side, imgsz, action, reason):
    advice = advise_thumbdet(evidence(network=squares(*network), long_side=float(long_side), imgsz=imgsz))
    assert advice.action.startswith(action)
    assert reason in advice.reason
    assert advice.change == (action != "none")


def test_rare_classes_are_named():
    assert advise_classes(evidence(class_objects={"car": 50, "person": 5000})) is None
    advice = advise_classes(evidence(class_objects={"car": 49, "person": 5000, "bus": 0}))
    assert advice.reason.endswith("fewer than 50 objects in training: bus 0, car 49")
    many = advise_classes(evidence(class_objects={f"c{n}": n for n in range(8)}))
    assert many.reason.endswith("c5 5 and 2 more")


def test_shared_pictures_are_named_from_one_in_a_hundred():
    assert advise_splits(evidence(leaked={"val": (0, 100)})) == []
    assert advise_splits(evidence(leaked={"val": (1, 101)})) == []
    assert "1 of 100 val images" in advise_splits(evidence(leaked={"val": (1, 100), "test": (0, 0)}))[0].reason


def test_missing_label_files_are_named_from_one_in_ten():
    assert advise_labels(evidence(unlabelled=(0, 0))) is None
    assert advise_labels(evidence(unlabelled=(9, 100))) is None
    assert "10 of 100 training images (10%)" in advise_labels(evidence(unlabelled=(10, 100))).reason


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        ({}, "coco"),
        ({"counts": np.full(50, 101)}, "coco500"),
        ({"counts": np.full(50, 100)}, "coco"),
        ({"original": squares(*[10] * 6, *[40] * 4)}, "aitod"),
        ({"original": squares(*[10] * 5, *[40] * 5)}, "coco"),
        ({"names": VISDRONE, "original": squares(10)}, "visdrone"),
        ({"names": tuple(name.title() for name in VISDRONE)}, "visdrone"),
    ],
)
def test_the_protocol_follows_sizes_counts_and_classes(given, protocol):
    assert advise_protocol(evidence(**given)).action == protocol


@pytest.mark.parametrize(("value", "step", "expected"), [(0, 32, 0), (32, 32, 32), (32.01, 32, 64), (640.0, 32, 640)])
def test_rounding_up(value, step, expected):
    assert round_up(value, step) == expected


def test_a_larger_input_and_thumbdet_are_told_to_be_alternatives():
    entries = {e.topic: e for e in advise(evidence(network=squares(*[9] * 10), long_side=2560.0))}
    assert entries["image size"].action == "imgsz=864 in the place of 640"
    assert entries["ThumbDet factor"].action.endswith(", in the place of another image size: one of the two")


def test_queries_are_for_whole_images_where_tiles_are_advised():
    large = {"network": squares(*[3] * 10), "original": squares(*[18] * 10), "long_side": 3840.0}
    entries = {e.topic: e for e in advise(evidence(counts=np.full(50, 900), **large))}
    assert "tiling" in entries
    assert (
        entries["queries"].action == "queries=1100 in the place of 300 for whole images; for tiles run doctor on them"
    )
    assert {e.topic: e for e in advise(evidence(**large))}["queries"].action == "keep 300"


@pytest.mark.parametrize(
    ("side", "long_side", "action"),
    [
        (30, 640.0, "keep imgsz=360,640"),
        (9, 1920.0, "imgsz=512,864 in the place of 360,640"),  # 640 * 12 / 9 = 853.3, 864 * 9 / 16 = 486
        (4, 4000.0, "cut the images by `uavdet convert tile=360,640 overlap=32`"),
    ],
)
def test_inputs_that_are_no_squares_are_written_as_such(side, long_side, action):
    advice = advise_resolution(evidence(network=squares(*[side] * 10), long_side=long_side, shape=(360 / 640, 1.0)))
    assert advice.action == action
