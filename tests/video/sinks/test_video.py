"""Annotated videos and what `save=True` writes."""

import numpy as np
import pytest

from tests.video.frames import NAMES, found, frame
from uavdet.video.drawing import DrawingOptions
from uavdet.video.sinks import SinkOptions, open_sinks
from uavdet.video.sinks.save import SaveSink

av = pytest.importorskip("av")


def look(path):
    """Return the size of a video and the seconds of its frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [float(picture.pts * stream.time_base) for picture in container.decode(stream)]
        return (stream.height, stream.width), times


def write(folder, frames, **options):
    with open_sinks("video", folder, NAMES, SinkOptions(**options)) as sinks:
        for each in frames:
            sinks.write(each)


@pytest.mark.parametrize("grey", [False, True])
def test_frames_of_a_stream_keep_their_times(tmp_path, grey):
    times = [0.0, 0.1, 0.45, 0.5, 2.0]
    frames = [frame(i, found([[5, 5, 9, 9]], ids=[1]), pts=5 + t, grey=grey) for i, t in enumerate(times)]
    write(tmp_path, frames)
    assert look(tmp_path / "video" / "rtsp_cam_a.mp4") == ((48, 64), pytest.approx(times, abs=1e-4))


def test_another_size_begins_another_part(tmp_path):
    sizes = [(48, 64), (48, 64), (31, 45), (48, 64)]
    write(tmp_path, [frame(i, size=size) for i, size in enumerate(sizes)])
    folder = tmp_path / "video"
    assert look(folder / "rtsp_cam_a.mp4") == ((48, 64), pytest.approx([0, 0.1]))
    assert look(folder / "rtsp_cam_a-part2.mp4") == ((32, 46), [0.0])
    assert look(folder / "rtsp_cam_a-part3.mp4") == ((48, 64), [0.0])


def test_pictures_are_one_video_of_one_size(tmp_path):
    sizes = [(48, 64), (31, 45), (200, 20)]
    write(tmp_path, [frame(i, size=s, pts=None, path=tmp_path / f"{i}.jpg") for i, s in enumerate(sizes)])
    assert look(tmp_path / "video" / "0.mp4") == ((48, 64), pytest.approx([0, 0.5, 1.0]))


def test_sources_have_videos_of_their_own(tmp_path):
    frames = [frame(i, slot=slot, source=f"rtsp://cam/{slot}") for i in range(2) for slot in (0, 1)]
    frames += [frame(0, slot=1, path=tmp_path / "é.mp4")]
    write(tmp_path, frames, sources=2)
    assert sorted(path.name for path in (tmp_path / "video").iterdir()) == ["rtsp_cam_0.mp4", "rtsp_cam_1.mp4", "é.mp4"]
    assert all(len(look(path)[1]) == (1 if path.stem == "é" else 2) for path in (tmp_path / "video").iterdir())


def save(folder, frames, drawing=DrawingOptions(), **options):  # noqa: B008
    sink = SaveSink(folder, NAMES, SinkOptions(), drawing=drawing, **options)
    for each in frames:
        sink.write(each)
    sink.close()


def test_saved_files_are_named_as_ultralytics_names_them(tmp_path):
    pictures = [frame(i, path=tmp_path / folder / "a.png", pts=None) for i, folder in enumerate(("x", "y"))]
    video = [frame(i, path=tmp_path / "v.avi") for i in range(2)]
    save(tmp_path / "run", [*pictures, *video], labels=True)
    files = sorted(str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*"))
    assert files == ["a-2.jpg", "a.jpg", "labels/a-2.txt", "labels/a.txt", "labels/v_1.txt", "labels/v_2.txt", "v.mp4"]


def test_labels_are_shares_of_the_image_with_score_and_identity(tmp_path):
    tracked = found([[16, 12, 32, 24]], [0.5], [1], [7])
    save(tmp_path, [frame(0, tracked, path=tmp_path / "a.jpg", pts=None)], None, labels=True, label_scores=True)
    assert (tmp_path / "labels" / "a.txt").read_text() == "1 0.375 0.375 0.25 0.25 0.5 7\n"
    assert not (tmp_path / "a.jpg").exists()


def test_pictures_have_the_size_they_had(tmp_path):
    import cv2

    save(tmp_path, [frame(0, found([[0, 0, 1, 1]]), size=(7, 301), grey=True, path=tmp_path / "å.jpg", pts=None)])
    data = np.frombuffer((tmp_path / "å.jpg").read_bytes(), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (7, 301, 3)
