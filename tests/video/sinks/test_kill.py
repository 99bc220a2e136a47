"""Files can be read after the process that writes them was killed."""

import json
import subprocess
import sys
import time

import pytest

from uavdet.video.sinks import SINKS

av = pytest.importorskip("av")

WRITER = """
import itertools, sys
from pathlib import Path
from tests.video.frames import NAMES, found, frame
from uavdet.video.sinks import open_sinks

sinks = open_sinks("video,jsonl,csv,mot,coco", Path(sys.argv[1]), NAMES)
for index in itertools.count():
    boxes = [[x, 5, x + 6, 11] for x in range(0, 60, 2)]
    sinks.write(frame(index, found(boxes, ids=range(1, 31))))
    print(index, flush=True)
"""


def test_files_of_a_killed_process_can_be_read(tmp_path):
    assert len(SINKS) == 6
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        written = -1
        for line in process.stdout:
            written = int(line)
            if written >= 60:
                break
        time.sleep(0.013)
        process.kill()
    lines = (tmp_path / "detections.jsonl").read_text("utf-8").splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    assert [line["index"] for line in whole] == list(range(len(whole)))
    assert len(whole) > written
    assert len((tmp_path / "detections.csv").read_text("utf-8").splitlines()) > 30 * written
    assert len((tmp_path / "mot" / "rtsp_cam_a.txt").read_text().splitlines()) >= 30 * written
    images = json.loads((tmp_path / "coco_images.json").read_text("utf-8"))["images"]
    results = json.loads((tmp_path / "coco_results.json").read_text("utf-8"))
    assert len(images) > written
    assert len(results) >= 30 * written
    with av.open(str(tmp_path / "video" / "rtsp_cam_a.mp4")) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames >= written - 20  # a fragment is a second, ten frames
