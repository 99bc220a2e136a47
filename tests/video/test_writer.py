"""Video files."""

import sys

import cv2
import numpy as np
import pytest

from uavdet.errors import DataError
from uavdet.video.drawing import fit_canvas
from uavdet.video.writer import VideoWriter, open_video

av = pytest.importorskip("av")


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_videos_hold_every_frame_at_their_rate(tmp_path, size):
    path = tmp_path / "sub" / "x.mp4"
    with VideoWriter(path, 12.5) as writer:
        for value in range(5):
            writer.write(np.full((*size, 3), 40 * value, np.uint8))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == pytest.approx(12.5)
    assert len(frames) == 5
    assert frames[4].mean() == pytest.approx(160, abs=3)
    assert frames[0].shape == (48, 64, 3)


def test_frames_of_another_size_are_refused(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 10) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(ValueError, match="the video 64x48"):
            writer.write(np.zeros((48, 80, 3), np.uint8))


def times(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(frame.pts * stream.time_base) for frame in container.decode(stream)]


def test_frames_keep_their_times_and_time_never_goes_back(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 10) as writer:
        for seconds in (7.0, 7.1, 7.5, 7.5, 7.2, 8.0):
            writer.write(np.zeros((48, 64, 3), np.uint8), seconds)
    tick = 1 / 90_000
    assert times(tmp_path / "x.mp4") == pytest.approx([0, 0.1, 0.5, 0.5 + tick, 0.5 + 2 * tick, 1.0], abs=1e-6)


def test_a_rate_that_is_none_is_replaced(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 0.0) as writer:
        for _ in range(3):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    assert times(tmp_path / "x.mp4") == pytest.approx([0, 1 / 30, 2 / 30], abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 301)])
def test_tiny_and_odd_frames_are_encoded(tmp_path, size):
    with VideoWriter(tmp_path / "ü x.mp4", 10) as writer:
        writer.write(np.full((*size, 3), 90, np.uint8))
    assert len(times(tmp_path / "ü x.mp4")) == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"x\.mp4 cannot be written: .*project=FOLDER") as caught:
        VideoWriter(tmp_path / "taken" / "x.mp4", 10)
    assert "\n" not in str(caught.value)


def test_without_pyav_opencv_writes(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    writer = open_video(tmp_path / "sub" / "x.mp4", 10, (48, 64))
    for _ in range(4):
        writer.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    writer.close()
    assert int(cv2.VideoCapture(str(tmp_path / "sub" / "x.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 4


def test_pictures_of_another_size_are_fitted():
    canvas = np.full((40, 80, 3), 200, np.uint8)
    assert fit_canvas(canvas, (40, 80)) is canvas
    fitted = fit_canvas(canvas, (100, 100))
    assert fitted.shape == (100, 100, 3)
    assert (fitted[25:75] == 200).all()
    assert fitted[:25].sum() == fitted[75:].sum() == 0
