"""Video files and drawing."""

import numpy as np
import pytest

from uavdet.video.drawing import draw_tracks, fit_canvas
from uavdet.video.writer import VideoWriter

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


def test_boxes_stand_off_small_objects():
    frame = np.zeros((100, 100, 3), np.uint8)
    names = {0: "person"}
    canvas = draw_tracks(frame, np.array([[40.0, 40, 46, 50]]), np.array([0]), np.array([7]), names)
    assert canvas.shape == (200, 200, 3), "small frames are enlarged"
    assert canvas[82:98, 82:90].sum() == 0, "the object itself is not covered"
    assert canvas[78, 80:90].sum() > 0
    assert draw_tracks(frame, np.zeros((0, 4)), np.zeros(0), np.zeros(0), names).shape == (200, 200, 3)


def test_pictures_of_another_size_are_fitted():
    canvas = np.full((40, 80, 3), 200, np.uint8)
    assert fit_canvas(canvas, (40, 80)) is canvas
    fitted = fit_canvas(canvas, (100, 100))
    assert fitted.shape == (100, 100, 3)
    assert (fitted[25:75] == 200).all()
    assert fitted[:25].sum() == fitted[75:].sum() == 0
