"""Streams of the Python API: `UAVDet.stream` and `uavdet.runtime.Detector.stream`."""

import threading

import cv2
import numpy as np
import pytest

from tests.runtime.networks import write_network
from uavdet import UAVDet
from uavdet.errors import DataError, UsageError
from uavdet.runtime import Detector
from uavdet.video.opening import needs_ultralytics
from uavdet.video.writer import VideoWriter

pytest.importorskip("onnxruntime")
pytest.importorskip("trackers")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder to work in, with a clip of four frames and a picture."""
    monkeypatch.chdir(tmp_path)
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for level in range(4):
            writer.write(np.full((64, 128, 3), 40 * level, np.uint8))
    cv2.imwrite("x.png", np.full((32, 64, 3), 90, np.uint8))
    return tmp_path


@pytest.fixture
def detector(folder):
    return Detector(write_network(folder / "x.onnx"), device="cpu")


def test_frames_come_with_what_was_found(detector, folder):
    called, events = [], []
    stream = detector.stream("clip.mp4", callback=lambda frame: called.append(frame.index), on_event=events.append)
    frames = list(stream)
    assert [frame.index for frame in frames] == called == [0, 1, 2, 3]
    assert [len(frame.detections) for frame in frames] == [2] * 4
    assert all(frame.detections.track_ids is None for frame in frames)
    assert frames[0].image.shape == (64, 128, 3)
    assert [event.kind for event in events] == ["ended"]
    assert stream.report.processed == 4
    assert not (folder / "runs").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("uavdet-")]


def test_tiles_and_tracks_go_together(detector):
    frames = list(detector.stream("clip.mp4", tile="64x64", overlap=0, full_frame=False, tracker="bytetrack"))
    assert all(len(frame.detections.track_ids) for frame in frames[1:])
    assert frames[-1].timings.keys() >= {"inference", "track", "age"}


def test_weights_and_files_stream_alike(tiny_run, folder):
    model = UAVDet(tiny_run.best)
    exported = UAVDet(model.export(format="onnx", out="y.onnx", parity=False))
    several = [list(one.stream("clip.mp4", conf=0.01, device="cpu", verbose=False)) for one in (model, exported)]
    for ours, theirs in zip(*several, strict=True):
        assert len(ours.detections) == len(theirs.detections) > 0
        np.testing.assert_allclose(ours.detections.scores, theirs.detections.scores, atol=1e-3)
        np.testing.assert_allclose(ours.detections.boxes, theirs.detections.boxes, atol=0.5)


def test_what_is_asked_for_is_saved(detector, folder):
    report = detector.stream("clip.mp4", sinks=["jsonl"], save=True, project="out", name="run").run()
    assert report.processed == 4
    assert sorted(path.name for path in (folder / "out" / "run").iterdir()) == ["clip.mp4", "detections.jsonl"]


def test_sinks_of_ones_own_are_taken(detector):
    seen = []
    detector.stream("x.png", sinks=[lambda frame: seen.append(len(frame.detections))]).run()
    assert seen == [2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": "gone.mp4"}, DataError, "does not exist"),
        ({"source": None}, UsageError, "No source was given"),
        ({"source": "x.png", "conf": 0.5}, UsageError, "conf=0.5 is settled"),
        ({"source": "x.png", "tiles": "auto"}, UsageError, "Did you mean 'tile'"),
        ({"source": "x.png", "tracker": "botsrt"}, UsageError, "Did you mean 'botsort'"),
        ({"source": "x.png", "show": True}, UsageError, "show=True is nothing that streams do"),
        ({"source": "screen"}, UsageError, "the screen is nothing that streams do"),
        ({"source": "x.png", "latency": "now"}, UsageError, "latency=now is not allowed"),
        ({"source": "x.png", "merge": "wbf", "tile": "auto"}, UsageError, "merge=wbf is not allowed"),
        ({"source": "x.png", "stall_timeout": 0}, UsageError, "stall_timeout=0 is not allowed"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(detector, options, error, message):
    with pytest.raises(error, match=message) as caught:
        detector.stream(**options)
    assert "\n" not in str(caught.value)


def test_calls_that_give_results_refuse_what_is_of_streams(tiny_run, folder):
    with pytest.raises(UsageError, match=r"tile=auto is for streams of frames. Use it with UAVDet\.stream"):
        UAVDet(tiny_run.best).predict("x.png", tile="auto")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"source": "x.jpg"}, None),
        ({"source": "rtsp://host/x"}, None),
        ({"source": 0}, None),
        ({"source": ["x.jpg"]}, None),
        ({"source": "x.jpg", "show": False}, None),
        ({"source": "x.jpg", "save_crop": True}, "save_crop=True"),
        ({"source": "x.jpg", "persist": True}, "persist=True"),
        ({"source": "screen"}, "source=screen, the screen,"),
        ({"source": "screen 1 0 0 64 64"}, "source=screen 1 0 0 64 64, the screen,"),
        ({"source": "https://youtu.be/x"}, "source=https://youtu.be/x, a video of YouTube,"),
        ({"source": "x.heic"}, "source=x.heic, a .heic picture,"),
        ({"source": "phone"}, "source=phone, a .HEIC picture,"),
    ],
)
def test_what_only_ultralytics_does_is_known(options, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "x.HEIC").touch()
    assert needs_ultralytics(options) == reason
