"""What `source=` can be given, and what becomes of it."""

import sys
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from uavdet.errors import DataError, MissingDependencyError, UsageError
from uavdet.video.sources import FileSource, Reconnection, StreamSource, open_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.png", "deep/c.jpg", "odd,name.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, np.zeros((4, 5, 3), np.uint8))[1].tobytes())
    (tmp_path / "v.mp4").write_bytes(b"x")
    (tmp_path / "cameras.streams").write_text("# two cameras\n rtsp://u:sesame@one/x \n\n1\nv.mp4\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "names", "live"),
    [
        ("a.jpg", ["a.jpg"], [False]),
        (Path("a.jpg"), ["a.jpg"], [False]),
        ("odd,name.jpg", ["odd,name.jpg"], [False]),
        ("*.jpg", ["*.jpg"], [False]),
        ("deep", ["deep"], [False]),
        ("0", ["camera 0"], [True]),
        (0, ["camera 0"], [True]),
        ("/dev/video3", ["camera 3"], [True]),
        ("0,2", ["camera 0", "camera 2"], [True, True]),
        ("rtsp://u:sesame@h/x", ["rtsp://u:***@h/x"], [True]),
        ("rtsp://a,udp://b:1", ["rtsp://a", "udp://b:1"], [True, True]),
        ("v.mp4,a.jpg, b.png", ["v.mp4", "2 pictures"], [False, False]),
        ("http://h/clip.mp4", ["http://h/clip.mp4"], [False]),
        ("http://h/live.m3u8", ["http://h/live.m3u8"], [True]),
        ("cameras.streams", ["rtsp://u:***@one/x", "camera 1", "v.mp4"], [True, True, False]),
        (Path("cameras.streams"), ["rtsp://u:***@one/x", "camera 1", "v.mp4"], [True, True, False]),
        (["a.jpg"], ["a.jpg"], [False]),
        (["a.jpg", "v.mp4", Path("b.png"), "rtsp://a"], ["2 pictures", "v.mp4", "rtsp://a"], [False, False, True]),
        (("rtsp://a", ["rtsp://b"]), ["rtsp://a", "rtsp://b"], [True, True]),
    ],
)
def test_sources_are_made_of_what_is_given(given, names, live, folder):
    sources = open_sources(given)
    assert [source.name for source in sources] == names
    assert [source.slot for source in sources] == list(range(len(names)))
    assert [source.live for source in sources] == live
    assert [isinstance(source, StreamSource) for source in sources] == [
        name.startswith("camera") or "://" in name for name in names
    ]


def test_a_file_by_its_address_is_a_file(folder):
    (source,) = open_sources(f"file://{folder}/a.jpg")
    assert isinstance(source, FileSource)
    assert len(list(source.frames())) == 1


def test_pictures_of_a_list_are_one_source(folder):
    source, _ = open_sources(["a.jpg", "v.mp4", "deep/c.jpg"])
    assert [frame.path.name for frame in source.frames()] == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("", UsageError, "No source was given"),
        ("  ", UsageError, "No source was given"),
        ([], UsageError, r"source=\[\] is empty"),
        (None, UsageError, "source= was given a NoneType. Give a path"),
        (True, UsageError, "source= was given a bool. Give a path"),
        (1.5, UsageError, "source= was given a float. Give a path"),
        (np.zeros((2, 2)), UsageError, "source= was given a ndarray. Give a path"),
        ("gone.mp4", DataError, "source=gone.mp4 does not exist"),
        (["a.jpg", "gone.jpg"], DataError, "source=gone.jpg does not exist"),
        ("v.mp4,gone.mp4", DataError, "source=gone.mp4 does not exist"),
        ("gone.streams", DataError, "gone.streams does not exist"),
        ("empty.streams", DataError, r"empty\.streams names no source\. Give one address a line"),
        ("nested.streams", DataError, r"nested\.streams:2 names another list, cameras\.streams"),
    ],
)
def test_what_is_no_source_is_refused_in_one_line(given, error, message, folder):
    (folder / "empty.streams").write_text("\n# nothing\n")
    (folder / "nested.streams").write_text("0\ncameras.streams\n")
    with pytest.raises(error, match=message) as raised:
        open_sources(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("stride", [0, -1, 1.5, True, "2"])
def test_strides_that_are_not_allowed_are_refused(stride, folder):
    with pytest.raises(UsageError, match=r"vid_stride=.* is not allowed"):
        open_sources("a.jpg", stride=stride)


def test_streams_say_that_they_need_pyav(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"source=rtsp://u:\*\*\*@h/x needs av \(PyAV\).*uavdet\[video\]"):
        open_sources("rtsp://u:sesame@h/x")
    assert len(open_sources(["a.jpg", 0, "v.mp4"])) == 3


def test_pipelines_say_that_they_need_gstreamer(monkeypatch):
    pipeline = "rtspsrc location=rtsp://u:sesame@h/x ! appsink"
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: False)
    with pytest.raises(MissingDependencyError, match=r"rtsp://u:\*\*\*@h/x ! appsink is a pipeline of GStreamer"):
        open_sources(pipeline)


class FakeCapture:
    """Stands for OpenCV with GStreamer: gives two frames, then none."""

    images = (np.full((4, 6, 4), 7, np.uint8), np.full((4, 6), 9, np.uint8))
    opened: ClassVar[list] = []

    def __init__(self):
        self._left = list(self.images)

    def open(self, *given):
        self.opened.append(given)
        return True

    def isOpened(self):  # noqa: N802
        return True

    def get(self, name):
        return {cv2.CAP_PROP_FPS: 60.0}.get(name, 0.0)

    def grab(self):
        return bool(self._left)

    def retrieve(self):
        return True, self._left.pop(0)

    def release(self):
        self._left.clear()


@pytest.mark.parametrize(("grey", "shape"), [(False, (4, 6, 3)), (True, (4, 6))])
def test_pipelines_and_cameras_are_read_by_opencv_and_tried_again(grey, shape, monkeypatch):
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: True)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "opened", [])
    events = []
    again = Reconnection(max_retries=3, first_delay=0.01, stall_timeout=2.0)
    pipeline, camera = open_sources(
        ["nvarguscamerasrc ! appsink", 5], reconnection=again, grey=grey, on_event=events.append
    )
    for source in (pipeline, camera):
        frames = source.frames()
        images = [next(frames).image for _ in range(5)]
        assert [image.shape for image in images] == [shape] * 5
        assert [int(image.flat[0]) for image in images] == [7, 9, 7, 9, 7]
        assert (source.statistics.reconnects, source.rate) == (2, 60.0)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 2000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 2000]
    assert FakeCapture.opened == [("nvarguscamerasrc ! appsink", cv2.CAP_GSTREAMER, limits)] * 3 + [(5,)] * 3
    assert [event.kind for event in events if event.slot == 0] == ["opened", *["lost", "retrying", "reconnected"] * 2]


def test_a_camera_that_is_not_there_is_told_of():
    (source,) = open_sources(97, reconnection=Reconnection(max_retries=0))
    with pytest.raises(DataError, match="source=camera 97 cannot be opened"):
        next(source.frames())
