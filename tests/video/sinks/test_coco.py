"""The COCO sink against pycocotools, and its files while they are written."""

import json

import numpy as np
import pytest

from tests.video.frames import NAMES, found, frame
from uavdet.video.sinks import open_sinks
from uavdet.video.sinks.coco import JsonList


def read(file):
    return json.loads(file.read_text("utf-8"))


def test_frames_without_detections_are_images_all_the_same(tmp_path):
    with open_sinks("coco", tmp_path, NAMES) as sinks:
        sinks.write(frame(4))
    assert read(tmp_path / "coco_results.json") == []
    assert read(tmp_path / "coco_images.json") == {
        "categories": [{"id": 0, "name": "Människa"}, {"id": 1, "name": "car"}],
        "annotations": [],
        "images": [{"id": 1, "file_name": "rtsp_cam_a/000004", "width": 64, "height": 48, "frame": 4}],
    }


def test_pycocotools_reads_them(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    tracked = found([[1, 2, 11, 22], [30, 5, 34.5, 8.25]], [0.75, 0.5], [0, 1], [4, 9])
    with open_sinks("coco", tmp_path, NAMES) as sinks:
        sinks.write(frame(0, tracked, path=tmp_path / "ö.jpg", pts=None))
        sinks.write(frame(1))
        sinks.write(frame(2, found([[0, 0, 5, 5]], [1.0], [1])))
    results = coco.COCO(str(tmp_path / "coco_images.json")).loadRes(str(tmp_path / "coco_results.json"))
    assert results.imgs[1]["file_name"] == "ö.jpg"
    rows = [[row["image_id"], row["category_id"], row["bbox"], row["score"]] for row in results.anns.values()]
    assert rows == [
        [1, 0, [1, 2, 10, 20], 0.75],
        [1, 1, [30, 5, 4.5, 3.25], 0.5],
        [3, 1, [0, 0, 5, 5], 1.0],
    ]
    assert [row.get("track_id") for row in results.anns.values()] == [4, 9, None]


def test_files_are_whole_after_every_frame(tmp_path):
    sinks, rng = open_sinks("coco", tmp_path, NAMES), np.random.default_rng(0)
    total = 0
    for index in range(12):
        count = int(rng.integers(0, 300))
        total += count
        sinks.write(frame(index, found(rng.uniform(0, 40, (count, 4)))))
        assert len(read(tmp_path / "coco_results.json")) == total
        assert len(read(tmp_path / "coco_images.json")["images"]) == index + 1
    sinks.close()
    assert len(read(tmp_path / "coco_results.json")) == total


def test_every_write_leaves_whole_json(tmp_path, monkeypatch):
    """A kill comes between two calls of the system: after each one the file can be read."""
    file, seen, put = tmp_path / "x.json", [], JsonList._put

    def spy(self, place, text):
        end = put(self, place, text)
        seen.append((len(read(file)), len(text)))
        return end

    monkeypatch.setattr(JsonList, "_put", spy)
    entries = JsonList(file)
    entries.extend([{"ö": "x" * 100, "n": n} for n in range(200)])
    entries.extend([])
    entries.extend([{"long": "x" * 9000}])
    entries.close()
    assert [count for count, _ in seen] == sorted({count for count, _ in seen})
    assert max(length for _, length in seen[:-1]) <= 4096
    assert len(read(file)) == 201
