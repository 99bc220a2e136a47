"""Frames looked at tile by tile, by a detector that finds bright rectangles exactly."""

import cv2
import numpy as np
import pytest

from tests.runtime.networks import write_network
from uavdet.errors import DataError
from uavdet.runtime import Detections, Detector
from uavdet.tiling import TiledDetector, TilingOptions

NAMES = {0: "dim", 1: "bright"}
STATISTICS = {"size_original": {"p5": 4, "p50": 8, "p95": 12}, "size_network": {"p5": 4, "p50": 8, "p95": 12}}


class RectangleDetector:
    """Finds the rectangles of an image; the value of a pixel tells the class, and a hundredth of it the score."""

    names, device, grey = NAMES, "cpu", True

    def __init__(self, imgsz=(64, 64), batch=None, statistics=STATISTICS):
        self.imgsz, self.batch, self.statistics = imgsz, batch, statistics
        self.calls, self.timings = [], {}

    def detect(self, images):
        self.calls.append(list(images))
        self.timings = {"inference": 2.0 * len(images)}
        return [self._find(image) for image in images]

    def _find(self, image):
        rows = []
        for value in np.unique(image[image > 0]):
            _, _, stats, _ = cv2.connectedComponentsWithStats((image == value).astype(np.uint8))
            rows += [(left, top, left + width, top + height, value) for left, top, width, height, _ in stats[1:]]
        found = np.array(rows, np.float32).reshape(-1, 5)
        found = found[np.argsort(-found[:, 4], kind="stable")]
        return Detections(found[:, :4], found[:, 4] / 256, (found[:, 4] > 128).astype(np.int64), NAMES)


def paint(size, count, largest, seed=0):
    """Return a frame with rectangles that do not touch, each of a value of its own, and their rows by value."""
    random = np.random.default_rng(seed)
    image, taken, rows = np.zeros(size[::-1], np.uint8), np.zeros(size[::-1], bool), []
    for value in random.permutation(np.arange(30, 250))[:count].tolist():
        width, height = (int(n) for n in random.integers(2, largest + 1, 2))
        left, top = (int(random.integers(0, side - extent)) for side, extent in zip(size, (width, height), strict=True))
        place = np.s_[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2]
        if taken[place].any():
            continue
        taken[place] = True
        image[top : top + height, left : left + width] = value
        rows.append([left, top, left + width, top + height, value])
    return image, np.array(sorted(rows, key=lambda row: -row[4]), float).reshape(-1, 5)


def assert_found(found, rows):
    np.testing.assert_array_equal(found.boxes, rows[:, :4])
    np.testing.assert_allclose(found.scores, rows[:, 4] / 256)
    np.testing.assert_array_equal(found.classes, rows[:, 4] > 128)


def test_no_frame_gives_no_result():
    detector = RectangleDetector()
    assert TiledDetector(detector).detect([]) == []
    assert detector.calls == []


@pytest.mark.parametrize("batch", [None, 1, 8])
def test_an_empty_frame_gives_no_detection(batch):
    found = TiledDetector(RectangleDetector(batch=batch)).detect([np.zeros((200, 300), np.uint8)])
    assert [len(entry) for entry in found] == [0]
    assert found[0].boxes.shape == (0, 4)
    assert found[0].names == NAMES


@pytest.mark.parametrize("merge", ["nms", "nmm", "greedynmm"])
@pytest.mark.parametrize("metric", ["ios", "iou"])
@pytest.mark.parametrize("full_frame", [False, True])
def test_objects_no_larger_than_the_overlap_are_found_once_and_whole(merge, metric, full_frame):
    options = TilingOptions(tile="64x56", merge=merge, merge_metric=metric, full_frame=full_frame)
    for seed in range(5):
        image, rows = paint((400, 300), 150, largest=11, seed=seed)
        assert len(rows) > 50
        found = TiledDetector(RectangleDetector(), options)(image)
        assert_found(found, rows)


@pytest.mark.parametrize(("size", "tiles"), [((150, 64), 3), ((64, 150), 3), ((150, 120), 9)])
@pytest.mark.parametrize("merge", ["nmm", "greedynmm"])
def test_parts_of_an_object_larger_than_the_overlap_are_joined(size, tiles, merge):
    image = np.zeros(size[::-1], np.uint8)
    left, top = (10 if side > 64 else 20 for side in size)
    right, bottom = (100 if side > 100 else 40 for side in size)
    image[top:bottom, left:right] = 200
    detector = TiledDetector(RectangleDetector(), TilingOptions(tile=64, merge=merge, full_frame=False))
    found = detector(image)
    assert detector.plan(size).tiles == tiles
    assert found.boxes.tolist() == [[left, top, right, bottom]]


def test_suppression_does_not_join_parts():
    image = np.zeros((64, 150), np.uint8)
    image[20:40, 10:100] = 200
    found = TiledDetector(RectangleDetector(), TilingOptions(tile=64, merge="nms", full_frame=False))(image)
    assert len(found) >= 1
    assert [10, 20, 100, 40] not in found.boxes.tolist()


def test_an_object_of_several_tiles_is_whole_where_the_full_frame_is_looked_at():
    image = np.zeros((200, 400), np.uint8)
    image[20:180, 15:390] = 200
    found = TiledDetector(RectangleDetector(), TilingOptions(tile=64, full_frame=True))(image)
    assert [15, 20, 390, 180] in found.boxes.tolist()
    assert found.boxes.tolist()[0] == [15, 20, 390, 180]


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (60, 60), (30, 64)])
def test_a_frame_of_one_tile_gives_what_the_detector_gives(size):
    image, _ = (
        paint(size, 5, largest=max(min(size) - 1, 1)) if min(size) > 3 else (np.full(size[::-1], 99, np.uint8), 0)
    )
    detector = RectangleDetector()
    found = TiledDetector(detector)(image)
    wanted = RectangleDetector().detect([image])[0]
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    assert len(detector.calls) == 1


@pytest.mark.parametrize(
    ("batch", "runs"),
    [(4, [4, 4, 3]), (8, [8, 3]), (64, [11]), (1, [1] * 11), (None, [1] * 11)],
)
def test_tiles_of_frames_of_several_sizes_share_runs(batch, runs):
    frames = [paint(size, 40, largest=9, seed=seed) for seed, size in enumerate([(112, 112), (64, 64), (164, 100)])]
    detector = RectangleDetector(batch=batch)
    tiled = TiledDetector(detector, TilingOptions(tile=64, full_frame=False))
    found = tiled.detect([image for image, _ in frames])
    assert [tiled.plan(image.shape[::-1]).tiles for image, _ in frames] == [4, 1, 6]
    assert [len(call) for call in detector.calls] == runs
    assert tiled.timings["inference"] == 2.0 * 11
    assert tiled.timings["postprocess"] > 0
    for entry, (_, rows) in zip(found, frames, strict=True):
        assert_found(entry, rows)


def test_tiles_of_a_gpu_go_by_the_eight():
    detector = RectangleDetector()
    detector.device = "cuda:0"
    TiledDetector(detector, TilingOptions(tile=64, full_frame=False))(np.zeros((164, 164), np.uint8))  # 3x3 tiles
    assert [len(call) for call in detector.calls] == [8, 1]


def test_tiles_are_views_of_their_frame():
    detector, image = RectangleDetector(), np.zeros((200, 300, 3), np.uint8)
    detector._find = lambda tile: Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), NAMES)
    TiledDetector(detector)(image)
    tiles = [tile for call in detector.calls for tile in call]
    assert len(tiles) > 1
    assert all(np.shares_memory(tile, image) for tile in tiles)


def test_most_detections_of_a_frame():
    image, rows = paint((300, 300), 100, largest=9)
    found = TiledDetector(RectangleDetector(), max_det=5)(image)
    assert_found(found, rows[:5])


def test_what_was_chosen_is_said_once_a_size():
    lines = []
    tiled = TiledDetector(RectangleDetector(), on_plan=lines.append)
    tiled.detect([np.zeros((64, 64), np.uint8), np.zeros((200, 300), np.uint8)] * 2)
    tiled(np.zeros((200, 300), np.uint8))
    assert [line.partition(":")[0] for line in lines] == ["64x64", "300x200"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((5, 5, 3), np.uint8), "one array of"),
        ([np.zeros((5, 5, 4), np.uint8)], "Image 0 is uint8 \\(5, 5, 4\\)"),
        ([np.zeros((5, 5), np.uint8), np.zeros((0, 5), np.uint8)], "Image 1 is"),
        ([np.zeros((5, 5), np.float32)], "float32"),
        ([None], "NoneType"),
    ],
)
def test_what_is_no_frame_is_refused(images, message):
    with pytest.raises(DataError, match=message):
        TiledDetector(RectangleDetector()).detect(images)


@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_an_exported_file_is_tiled(tmp_path, batch):
    path = write_network(tmp_path / "x.onnx", batch=batch, ours={"statistics": STATISTICS})
    image = np.zeros((60, 200, 3), np.uint8)
    tiled = TiledDetector(Detector(path, device="cpu"), TilingOptions(overlap=0))
    found = tiled(image)
    assert tiled.plan((200, 60)).tiles > 1
    assert len(found) == 2 * len(tiled.plan((200, 60)).windows)  # the network finds the same two boxes in every tile
    assert set(tiled.timings) == {"preprocess", "inference", "postprocess"}
    assert (tiled.names, tiled.imgsz, tiled.device, tiled.grey) == ({0: "person", 1: "car"}, (32, 64), "cpu", False)
