"""JSON Lines, CSV and MOTChallenge, against lines worked by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.video.frames import NAMES, found, frame
from uavdet.errors import UsageError
from uavdet.video.sinks import SinkOptions, open_sinks

TRACKS = {"boxes": [[1, 2, 11, 22], [30, 5, 34.5, 8.25]], "scores": [0.75, 0.5], "classes": [0, 1], "ids": [4, 9]}


def write(folder, names, frames, **options):
    with open_sinks(names, folder, NAMES, SinkOptions(**options)) as sinks:
        for each in frames:
            sinks.write(each)


def test_no_frame_makes_no_folder(tmp_path):
    write(tmp_path / "run", "jsonl,csv,mot", [])
    assert not (tmp_path / "run").exists()


def test_json_lines_hold_all_that_is_known(tmp_path):
    fields = {"lat": 59.25, "gimbal": {"pitch": np.float32(-0.5)}, "höjd": float("nan"), "at": object, "id": 3}
    given = frame(3, found(**TRACKS), path=tmp_path / "ö.mp4", fields=fields, timings={"decode": 1.23456})
    write(tmp_path, "jsonl", [frame(2), given])
    empty, line = map(json.loads, (tmp_path / "detections.jsonl").read_text("utf-8").splitlines())
    assert empty["detections"] == []
    assert line == {
        "source": "rtsp://cam/a",
        "slot": 0,
        "index": 3,
        "pts": 0.3,
        "captured": 103.0,
        "path": str(tmp_path / "ö.mp4"),
        "shape": [48, 64],
        "detections": [
            {"class": 0, "name": "Människa", "confidence": 0.75, "track_id": 4,
             "box": {"x1": 1.0, "y1": 2.0, "x2": 11.0, "y2": 22.0}},
            {"class": 1, "name": "car", "confidence": 0.5, "track_id": 9,
             "box": {"x1": 30.0, "y1": 5.0, "x2": 34.5, "y2": 8.25}},
        ],
        "fields": {"lat": 59.25, "gimbal": {"pitch": -0.5}, "höjd": None, "at": str(object), "id": 3},
        "timings": {"decode": 1.235},
    }  # fmt: skip


def test_lines_are_there_before_the_end(tmp_path):
    sinks = open_sinks("jsonl,csv,mot", tmp_path, NAMES)
    sinks.write(frame(0, found(**TRACKS)))
    assert len((tmp_path / "detections.jsonl").read_text("utf-8").splitlines()) == 1
    assert len((tmp_path / "detections.csv").read_text("utf-8").splitlines()) == 3
    assert len((tmp_path / "mot" / "rtsp_cam_a.txt").read_text().splitlines()) == 2
    sinks.close()
    sinks.close()


def test_fields_become_columns_and_later_ones_go_into_extra(tmp_path):
    first = frame(0, found(**TRACKS), fields={"lat": 1.5, "aim": [1, 2], "name": "taken"})
    later = frame(1, found([[1, 2, 3, 4]], scores=[0.25]), fields={"lat": 2.5, "fuel": "åtta, nio"})
    write(tmp_path, "csv", [first, frame(2), later])
    assert (tmp_path / "detections.csv").read_text("utf-8").splitlines() == [
        "source,slot,index,pts,captured,track_id,class,name,confidence,x1,y1,x2,y2,lat,aim,extra",
        'rtsp://cam/a,0,0,0.0,100.0,4,0,Människa,0.75,1.0,2.0,11.0,22.0,1.5,"[1, 2]","{""name"": ""taken""}"',
        'rtsp://cam/a,0,0,0.0,100.0,9,1,car,0.5,30.0,5.0,34.5,8.25,1.5,"[1, 2]","{""name"": ""taken""}"',
        'rtsp://cam/a,0,1,0.1,101.0,,0,Människa,0.25,1.0,2.0,3.0,4.0,2.5,,"{""fuel"": ""åtta, nio""}"',
    ]
    rows = list(csv.DictReader((tmp_path / "detections.csv").open(encoding="utf-8", newline="")))
    assert json.loads(rows[2]["extra"]) == {"fuel": "åtta, nio"}


def test_the_header_is_there_when_nothing_was_found(tmp_path):
    write(tmp_path, "csv", [frame(0), frame(1)])
    assert len((tmp_path / "detections.csv").read_text().splitlines()) == 1


def test_tracks_are_written_as_motchallenge_has_them(tmp_path):
    nothing = found(ids=[])
    write(
        tmp_path, "mot", [frame(0, found(**TRACKS)), frame(1, nothing), frame(2, found([[0, 0, 5, 5]], [1], ids=[4]))]
    )
    assert (tmp_path / "mot" / "rtsp_cam_a.txt").read_text().splitlines() == [
        "1,4,1.00,2.00,10.00,20.00,0.7500,-1,-1,-1",
        "1,9,30.00,5.00,4.50,3.25,0.5000,-1,-1,-1",
        "3,4,0.00,0.00,5.00,5.00,1.0000,-1,-1,-1",
    ]


def test_the_library_of_the_trackers_reads_them(tmp_path):
    load = pytest.importorskip("trackers").load_mot_file
    write(tmp_path, "mot", [frame(0, found(**TRACKS)), frame(1, found(ids=[]))])
    frames = load(tmp_path / "mot" / "rtsp_cam_a.txt")
    assert frames[1].ids.tolist() == [4, 9]
    assert frames[1].boxes.tolist() == [[1, 2, 10, 20], [30, 5, 4.5, 3.25]]


def test_videos_have_a_file_each_and_pictures_of_a_source_one(tmp_path):
    tracked = found(**TRACKS)
    videos = [frame(0, tracked, path=tmp_path / folder / "ö b.mp4") for folder in ("x", "y")]
    pictures = [frame(i, tracked, path=tmp_path / f"{i}.jpg", pts=None, slot=1) for i in (7, 8)]
    write(tmp_path, "mot", [*videos, *pictures])
    assert sorted(path.name for path in (tmp_path / "mot").iterdir()) == ["7.txt", "ö b-2.txt", "ö b.txt"]
    assert len((tmp_path / "mot" / "7.txt").read_text().splitlines()) == 4


def test_what_was_not_tracked_has_no_mot_file(tmp_path):
    with pytest.raises(UsageError, match="Run 'uavdet track'"):
        write(tmp_path, "mot", [frame(0)])


def test_several_sources_have_files_of_their_own(tmp_path):
    write(tmp_path, "jsonl,csv", [frame(0, slot=0), frame(0, slot=1)], sources=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "detections-0.csv", "detections-0.jsonl", "detections-1.csv", "detections-1.jsonl",
    ]  # fmt: skip


def test_every_video_of_a_source_begins_with_frame_one(tmp_path):
    with open_sinks("mot", tmp_path, NAMES) as sinks:
        for index, (name, begin) in enumerate([("a", 0), ("a", 0), ("b", 2)]):
            tracked = found([(1, 2, 3, 4)], ids=[7])
            sinks.write(frame(index, tracked, path=Path(f"{name}.mp4"), begin=begin))
    lines = {file.stem: file.read_text().splitlines() for file in (tmp_path / "mot").iterdir()}
    assert {name: [line.split(",")[0] for line in rows] for name, rows in lines.items()} == {
        "a": ["1", "2"],
        "b": ["1"],
    }
