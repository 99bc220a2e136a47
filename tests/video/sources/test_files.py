"""Frames of videos and folders: all of them, with the times of their containers; odd files are told of."""

import sys
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from tests.video.painted import paint, read_number
from uavdet.errors import DataError, UsageError
from uavdet.video.sources import FileSource, find_files, open_sources

SIZE = (96, 128)


def video(path, times=(0, 1, 2, 3, 4, 5), codec="libx264", rate=10, size=SIZE, rotate=None):
    """Write painted frames; frame n stands at times[n] tenths of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(paint(number, size), format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def picture(path, level=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.full((20, 30, 3), level, np.uint8))[1].tobytes())
    return path


@pytest.fixture(params=["av", "opencv"])
def by(request, monkeypatch):
    """Read by PyAV, and by OpenCV as where PyAV is not installed."""
    if request.param == "opencv":
        monkeypatch.setattr("uavdet.video.sources.files.has_pyav", lambda: False)
    return request.param


def test_all_frames_come_with_their_numbers_and_times(by, tmp_path):
    path = video(tmp_path / "ü a.mp4")
    (source,) = open_sources(path)
    frames = list(source.frames())
    assert [read_number(frame.image) for frame in frames] == list(range(6))
    assert [frame.index for frame in frames] == list(range(6))
    np.testing.assert_allclose([frame.pts for frame in frames], np.arange(6) / 10, atol=1e-6)
    first = frames[0]
    assert (first.source, first.slot, first.path, first.rate) == (str(path), 0, path, 10.0)
    assert first.image.shape == (*SIZE, 3)
    assert first.image.flags.c_contiguous
    assert first.timings["decode"] > 0
    assert all(early.captured <= late.captured for early, late in pairwise(frames))
    assert (source.live, source.length, source.statistics.frames, source.statistics.corrupt) == (False, 6, 6, 0)


def test_a_variable_frame_rate_is_respected(by, tmp_path):
    times = [0, 1, 2, 7, 8, 20, 21]
    (source,) = open_sources(video(tmp_path / "x.mkv", times))
    np.testing.assert_allclose([frame.pts for frame in source.frames()], np.array(times) / 10, atol=2e-3)


def test_times_begin_with_the_first_frame(by, tmp_path):
    (source,) = open_sources(video(tmp_path / "x.ts", [50, 51, 53]))
    np.testing.assert_allclose([frame.pts for frame in source.frames()], [0, 0.1, 0.3], atol=1e-3)


@pytest.mark.parametrize(("stride", "numbers"), [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [3]), (7, [])])
def test_every_so_many_frames_are_read(stride, numbers, by, tmp_path):
    (source,) = open_sources(video(tmp_path / "x.mp4"), stride=stride)
    frames = list(source.frames())
    assert [read_number(frame.image) for frame in frames] == numbers
    assert [frame.index for frame in frames] == list(range(len(numbers)))
    assert [frame.rate for frame in frames] == [10 / stride] * len(numbers)
    assert source.length == len(numbers)


def test_frames_are_read_as_grey(by, tmp_path):
    (colour,) = open_sources(video(tmp_path / "x.mp4"))
    (grey,) = open_sources(video(tmp_path / "x.mp4"), grey=True)
    expected = cv2.cvtColor(next(colour.frames()).image, cv2.COLOR_BGR2GRAY).astype(int)
    image = next(grey.frames()).image
    assert image.shape == SIZE
    assert np.abs(image[:40] - expected[:40]).mean() < 3  # the blocks, which have no colour


@pytest.mark.parametrize("size", [(96, 130), (98, 250), (2, 2)])
def test_widths_that_are_padded_in_memory_are_read(size, by, tmp_path):
    (source,) = open_sources(video(tmp_path / "x.mp4", size=size) if size[0] > 2 else tiny(tmp_path / "x.avi"))
    image = next(source.frames()).image
    assert image.shape == (*size, 3)
    assert cv2.resize(image, (8, 8)).shape == (8, 8, 3)


def tiny(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 2, 2, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((2, 2, 3), 99, np.uint8), format="bgr24")))
        container.mux(stream.encode())
    return path


def collect(source, frames):
    """Add all frames of a source to a list, which has them though the source fails."""
    for frame in source.frames():
        frames.append(frame)


def turned(path, tmp_path):
    """Write a display matrix of a quarter turn, counterclockwise, into the head of an MP4's track."""
    data = bytearray(path.read_bytes())
    unity = b"".join(value.to_bytes(4, "big") for value in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    quarter = b"".join(
        (value & 0xFFFFFFFF).to_bytes(4, "big") for value in (0, -0x10000, 0, 0x10000, 0, 0, 0, 0, 0x40000000)
    )
    place = data.index(unity, data.index(b"tkhd"))
    data[place : place + len(unity)] = quarter
    (tmp_path / "turned.mp4").write_bytes(data)
    return tmp_path / "turned.mp4"


def test_videos_are_turned_as_their_container_says(by, tmp_path):
    path = video(tmp_path / "x.mp4")
    (upright,), (source,) = open_sources(path), open_sources(turned(path, tmp_path))
    np.testing.assert_array_equal(next(source.frames()).image, np.rot90(next(upright.frames()).image))


def test_a_folder_is_one_source_with_its_pictures_first(tmp_path):
    for name in ("b.jpg", "a.png", ".hidden.jpg"):
        picture(tmp_path / name)
    video(tmp_path / "v.mp4")
    (source,) = open_sources(tmp_path)
    frames = list(source.frames())
    assert [frame.path.name for frame in frames] == ["a.png", "b.jpg"] + ["v.mp4"] * 6
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.pts is None for frame in frames] == [True, True] + [False] * 6
    assert {frame.source for frame in frames} == {str(tmp_path)}


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_lists_name_files_beside_them_or_anywhere(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lists/near.jpg", "far.jpg", "globbed/1.png", "globbed/2.png"):
        picture(tmp_path / name)
    entries = ["near.jpg", "", str(tmp_path / "far.jpg"), " globbed/*.png "]
    file = tmp_path / "lists" / f"files{suffix}"
    file.write_text(("\n" if suffix == ".txt" else ",").join(entries))
    assert [path.name for path in find_files(file)] == ["near.jpg", "far.jpg", "1.png", "2.png"]
    (source,) = open_sources(file)
    assert (len(list(source.frames())), source.length, source.name) == (4, 4, str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"files\.txt names no file\. Give"),
        ("good.jpg\n\ngone.jpg", r"files\.txt:3 names gone\.jpg, which does not exist\. Mend"),
        ("good.jpg\nnotes.md", r"files\.txt:2 source=.*notes\.md is no picture and no video that is known \(\.md\)"),
        ("files.txt", r"files\.txt:1 names another list"),
        (b"\xff\xfe\xff", r"files\.txt cannot be read as text"),
    ],
)
def test_lists_with_mistakes_are_refused_with_their_line(text, message, tmp_path):
    picture(tmp_path / "good.jpg")
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "files.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as raised:
        open_sources(tmp_path / "files.txt")
    assert "\n" not in str(raised.value)


def unknown_codec(path):
    """Write a video whose codec nobody knows."""
    video(path, codec="mjpeg")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ").replace(b"mjpg", b"ZZZZ"))
    return path


def without_frames(path):
    """Write a video's beginning."""
    whole = video(path).read_bytes()
    path.write_bytes(whole[:40])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), r"is empty: no frame of it can be read\. Replace it\."),
        (lambda path: path.write_bytes(b"x" * 5000), r"is no video that (FFmpeg|OpenCV) reads\. Give another file"),
        (without_frames, r"(is no video that|is damaged or no video)"),
    ],
)
def test_files_that_are_no_videos_are_told_of(make, message, by, tmp_path):
    make(tmp_path / "x.mp4")
    (source,) = open_sources(tmp_path / "x.mp4")
    with pytest.raises(DataError, match=r"x\.mp4 " + message) as raised:
        list(source.frames())
    assert "\n" not in str(raised.value)


def test_an_unknown_codec_is_told_of(by, tmp_path):
    (source,) = open_sources(unknown_codec(tmp_path / "x.avi"))
    with pytest.raises(
        DataError, match=r"x\.avi (has a codec that this FFmpeg does not decode|is no video|is damaged)"
    ):
        list(source.frames())


@pytest.mark.parametrize("given", ["gone.mp4", "gone/*.mp4", "gone", ""])
def test_what_does_not_exist_is_refused_at_once(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError if given else UsageError, match=r"(does not exist|matches no file|No source was given)"
    ):
        open_sources(given)


def test_files_that_cannot_be_read_stop_none_of_the_others(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"x")
    picture(tmp_path / "2.jpg")
    (tmp_path / "3.mp4").write_bytes(b"")
    video(tmp_path / "4.mp4")
    events = []
    (source,) = open_sources(tmp_path, on_event=events.append)
    frames = []
    with pytest.raises(DataError, match=r"2 of 4 files could not be read, the others have been: .*1\.jpg is damaged"):
        collect(source, frames)
    assert [frame.path.name for frame in frames] == ["2.jpg"] + ["4.mp4"] * 6
    assert [event.kind for event in events] == ["failed", "failed", "ended"]
    assert [found.path.name for found in source.unreadable] == ["1.jpg", "3.mp4"]
    assert source.statistics.unreadable == 2


def test_damaged_frames_of_a_file_are_counted_and_left(tmp_path):
    path = video(tmp_path / "x.avi", times=range(30), codec="mjpeg")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data) - 1) if data[place : place + 3] == b"\xff\xd8\xff"]
    for number in (3, 17):
        data[starts[number] : starts[number] + 900] = bytes(900)
    path.write_bytes(data)
    (source,) = open_sources(path)
    numbers = [read_number(frame.image) for frame in source.frames()]
    assert numbers == [number for number in range(30) if number not in (3, 17)]
    assert source.statistics.corrupt == 2


def test_a_video_that_is_cut_off_ends_with_what_is_there(by, tmp_path):
    path = video(tmp_path / "x.ts", times=range(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (source,) = open_sources(path)
    numbers = [read_number(frame.image) for frame in source.frames()]
    assert 20 < len(numbers) < 60
    assert numbers[:-1] == list(range(len(numbers) - 1))


def test_a_source_that_is_closed_ends(by, tmp_path):
    (source,) = open_sources(video(tmp_path / "x.mp4"))
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []


def test_pictures_and_files_go_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("uavdet.video.sources.files.has_pyav", lambda: False)
    source = FileSource([picture(tmp_path / "x.jpg"), video_by_opencv(tmp_path / "x.avi")])
    assert len(list(source.frames())) == 5


def video_by_opencv(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, SIZE[::-1])
    for number in range(4):
        writer.write(paint(number, SIZE))
    writer.release()
    return path


def test_frames_of_several_videos_are_numbered_in_their_own_video(tmp_path):
    files = [picture(tmp_path / "a.jpg"), video(tmp_path / "b.mp4"), video(tmp_path / "c.mp4")]
    given = [(frame.path.name, frame.index, frame.number) for frame in FileSource(files).frames()]
    assert given[0] == ("a.jpg", 0, 1)
    assert given[1:] == [(name, start + i, i + 1) for name, start in (("b.mp4", 1), ("c.mp4", 7)) for i in range(6)]
