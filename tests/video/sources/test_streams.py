"""Streams of cameras that break down: what is read, what is told, and that nothing hangs and nothing is made up."""

import functools
import http.server
import logging
import socket
import threading
import time
from itertools import pairwise

import av
import numpy as np
import pytest

from tests.video.encoders import TransportStreamEncoder
from tests.video.fault_server import Camera, DatagramCamera, TransportStreamCamera
from tests.video.painted import read_number
from tests.video.rtsp_camera import RtspCamera
from tests.video.sources.test_files import collect, video
from uavdet.errors import DataError
from uavdet.video.sources import Reconnection, StreamSource

QUICK = Reconnection(stall_timeout=1.0, first_delay=0.02, longest_delay=0.1)
ONCE = Reconnection(max_retries=0, stall_timeout=1.0)
CAMERAS = [Camera, TransportStreamCamera, RtspCamera]


@pytest.fixture
def events():
    return []


def read(source, count):
    """Read so many frames and close."""
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == count:
            break
    source.close()
    return frames


def kinds(events):
    return [event.kind for event in events]


@pytest.mark.parametrize("kind", [*CAMERAS, DatagramCamera])
def test_frames_come_whole_in_order_and_with_their_times(kind, events):
    with kind(rate=50) as camera:
        source = StreamSource(camera.address, 3, on_event=events.append)
        frames = read(source, 60)
    numbers = [read_number(frame.image) for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 60))
    assert numbers[0] == 0 or kind is DatagramCamera
    assert [frame.index for frame in frames] == list(range(60))
    assert {(frame.slot, frame.source, frame.path) for frame in frames} == {(3, camera.address, None)}
    times = np.array([frame.pts for frame in frames])
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    if kind is not Camera:  # JPEGs in a multipart body have no times, so theirs are those of their arrival
        np.testing.assert_allclose(np.diff(times)[1:], 0.02, atol=1e-4)  # FFmpeg tells no time of RTSP's first frame
    assert source.live
    assert kinds(events) == ["opened"]
    assert source.statistics.to_json() == {"frames": 60, "corrupt": 0, "reconnects": 0, "stalls": 0, "unreadable": 0}


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_frame_is_not_kept_back(kind):
    """A JPEG is seen at once. H.264 has no end but the next frame's beginning, and a transport stream adds its own."""
    with kind(rate=20) as camera:
        behind = []
        for frame in StreamSource(camera.address, reconnection=QUICK).frames():
            behind.append(max(camera.sent) - read_number(frame.image))
            if len(behind) == 50:
                break
    assert np.median(behind[-15:]) <= {Camera: 0, RtspCamera: 1, TransportStreamCamera: 2}[kind]


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("fault", ["kill", "reset", "refuse"])
def test_a_stream_that_breaks_off_comes_back_without_a_frame_made_up(kind, fault, events):
    with kind(1, faults=2, kinds=(fault,), gap=(10, 15)) as camera:
        begun = time.monotonic()
        source = StreamSource(camera.address, reconnection=QUICK, on_event=events.append)
        frames = read(source, 60)
    numbers = [read_number(frame.image) for frame in frames]
    sent = sorted(set(camera.record.whole) & set(range(numbers[-1] + 1)))
    assert [number for number in numbers if number in set(sent)] == sent
    assert numbers == sorted(set(numbers))
    assert [frame.index for frame in frames] == list(range(60))
    assert [kind for kind in kinds(events) if kind in ("opened", "lost", "reconnected")] == [
        "opened",
        *["lost", "reconnected"] * 2,
    ]
    assert source.statistics.reconnects == 2
    times, captured = (np.array([getattr(frame, name) for frame in frames]) for name in ("pts", "captured"))
    assert (np.diff(times) > 0).all()
    # Times go on over the gaps: the last frame is as old as the clock says, whatever the first waited for.
    assert -0.05 < times[-1] - (captured[-1] - captured[0]) < 1.0
    assert times[-1] < captured[-1] - begun + 0.05


@pytest.mark.parametrize("kind", [*CAMERAS, DatagramCamera])
def test_a_stream_that_stalls_is_noticed_and_opened_again(kind, events):
    patience = 1.6 if kind is DatagramCamera else 30.0
    with kind(1, faults=1, kinds=("stall",), gap=(40, 40), stall=patience) as camera:
        source = StreamSource(camera.address, reconnection=QUICK, on_event=events.append)
        frames = read(source, 60)
    assert np.diff([frame.captured for frame in frames]).max() > 0.9
    stalled = next(event for event in events if event.kind == "stalled")
    assert "has sent nothing for 1 s" in stalled.message
    assert (source.statistics.stalls, source.statistics.reconnects) == (1, 1)


@pytest.mark.parametrize("kind", CAMERAS)
def test_another_size_in_the_middle_of_a_stream_is_read_and_told_of(kind, events):
    with kind(1, faults=2, kinds=("resize",), gap=(10, 10)) as camera:
        source = StreamSource(camera.address, reconnection=QUICK, on_event=events.append)
        frames = read(source, 40)
    assert [read_number(frame.image) for frame in frames] == list(range(40))
    sizes = [frame.image.shape[:2] for frame in frames]
    changes = [(before, now) for before, now in pairwise(sizes) if before != now]
    told = [event.details for event in events if event.kind == "resized"]
    assert [(tuple(event["before"]), tuple(event["now"])) for event in told] == changes
    assert len(changes) == 2
    assert source.statistics.reconnects == 0


@pytest.mark.parametrize("kind", [*CAMERAS, DatagramCamera])
def test_damaged_data_is_counted_and_what_is_whole_is_read(kind, events):
    with kind(5, faults=8, kinds=("corrupt",), gap=(12, 16)) as camera:
        source = StreamSource(camera.address, reconnection=QUICK, on_event=events.append)
        numbers = [read_number(frame.image) for frame in read(source, 120)]
    known = [number for number in numbers if number is not None]
    sent = [number for number in sorted(camera.record.whole) if known[0] <= number <= max(known)]
    assert [number for number in known if number in set(sent)] == sent
    if kind is Camera:  # no frame is built on another, so nothing of a damaged one is ever seen
        assert known == sorted(set(known))
    assert source.statistics.corrupt >= 1
    told = [event for event in events if event.kind == "corrupt"]
    assert 1 <= len(told) <= source.statistics.corrupt


def test_a_multipart_body_that_lost_its_boundary_goes_on_with_the_next(events):
    class TornCamera(Camera):
        def _spoil(self, data):
            self.record.damaged.append(self._number)  # the next one's beginning cannot be seen
            return data[:-2] + b"xx"

    with TornCamera(5, faults=3, kinds=("corrupt",), gap=(12, 16)) as camera:
        source = StreamSource(camera.address, reconnection=QUICK, on_event=events.append)
        numbers = [read_number(frame.image) for frame in read(source, 60)]
    torn = {number + step for kind, number, _ in camera.record.faults for step in (0, 1)}
    assert set(range(numbers[-1] + 1)) - set(numbers) <= torn
    assert numbers == sorted(set(numbers))
    assert (source.statistics.corrupt, source.statistics.reconnects) == (3, 0)


def refused(address, reconnection=ONCE, callback=None):
    """Return the message of a source that cannot be opened."""
    with pytest.raises(DataError) as raised:
        next(StreamSource(address, reconnection=reconnection, on_event=callback).frames())
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_wrong_password_is_told_of_and_never_shown(kind, events, caplog):
    caplog.set_level(logging.DEBUG)
    with kind(login="user:sesame") as camera:
        right, wrong = (camera.address.replace("://", f"://{login}@") for login in ("user:sesame", "user:sesamo"))
        assert len(read(StreamSource(right), 3)) == 3
        message = refused(wrong, Reconnection(max_retries=1, first_delay=0.01), events.append)
    assert f"{camera.address.replace('://', '://user:***@')} refuses the user's name or password (401)" in message
    assert "max_retries=1" in message
    assert kinds(events) == ["retrying", "failed"]
    assert "sesam" not in message + caplog.text + repr(events)


@pytest.mark.parametrize("kind", CAMERAS)
def test_an_address_that_does_not_exist_is_told_of(kind):
    with kind() as camera:
        assert "does not exist on its server (404)" in refused(f"{camera.address[:-6]}other")


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp", "tcp"])
def test_a_host_that_refuses_is_told_of(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "cannot be reached: its host refuses the connection" in refused(f"{scheme}://127.0.0.1:{port}/x/y")


def test_a_host_that_is_unknown_is_told_of():
    assert "source=rtsp://u:***@nohost.invalid/x cannot be opened" in refused("rtsp://u:p@nohost.invalid/x")


def test_an_unknown_protocol_is_told_of():
    assert "has a protocol that this FFmpeg does not know" in refused("carrier-pigeon://host/x")


@pytest.mark.parametrize("scheme", ["http", "rtsp", "udp"])
def test_a_host_that_does_not_answer_is_given_up_in_time(scheme):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert "does not answer within 1 s" in refused(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")


def test_retries_are_counted_in_a_row_and_begin_anew_with_a_frame(events):
    with Camera(2, faults=3, kinds=("refuse",), gap=(10, 10)) as camera:
        again = Reconnection(max_retries=200, stall_timeout=1.0, first_delay=0.01, longest_delay=0.01)
        source = StreamSource(camera.address, reconnection=again, on_event=events.append)
        assert len(read(source, 50)) == 50
    attempts = [event.details["attempt"] for event in events if event.kind == "retrying"]
    assert attempts.count(1) == 3
    assert max(attempts) > 1
    assert all(now in (1, before + 1) for before, now in pairwise(attempts))


def test_the_end_of_a_stream_is_a_loss_and_retries_end(events):
    with TransportStreamCamera(limit=20, rate=0) as camera:
        again = Reconnection(max_retries=2, stall_timeout=1.0, first_delay=0.01)
        source, frames = StreamSource(camera.address, reconnection=again, on_event=events.append), []
        with pytest.raises(DataError, match=r"Given up after 2 retries \(max_retries=2\)"):
            collect(source, frames)
    assert [read_number(frame.image) for frame in frames] == list(range(20))
    assert kinds(events) == ["opened", "lost", "retrying", "retrying", "failed"]


class _SilentEncoder(TransportStreamEncoder):
    """Sends sound, and after 60 frames no more video."""

    options = {"max_interleave_delta": "1"}  # noqa: RUF012 (microseconds: sound does not wait for video)
    frames = 0

    def _open(self, image):
        super()._open(image)
        self._sound = self._container.add_stream("mp2", rate=48_000)

    def encode(self, image, seconds):
        self.frames += 1
        data = super().encode(image, seconds) if self.frames <= 60 else b""
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo")
        sound.sample_rate, sound.pts = 48_000, self.frames * 1152
        for packet in self._sound.encode(sound):
            self._container.mux(packet)
        data += b"".join(self._written)
        self._written.clear()
        return data


def test_sound_is_no_sign_of_life(events):
    class SilentCamera(Camera):
        encoder = _SilentEncoder

    with SilentCamera(rate=50) as camera:
        source = StreamSource(camera.address, reconnection=QUICK, on_event=events.append)
        frames = read(source, 70)
    assert len(frames) == 70
    assert "has sent no frame for 1 s" in next(event for event in events if event.kind == "stalled").message


def closes(source, after=0.5, patience=10.0):
    """Read a source in a thread, close it after a while, and return whether the thread ends."""
    thread = threading.Thread(target=lambda: list(source.frames()), daemon=True)
    thread.start()
    time.sleep(after)
    source.close()
    thread.join(patience)
    return not thread.is_alive()


def test_a_source_that_waits_for_its_next_attempt_is_closed():
    again = Reconnection(first_delay=1e6, longest_delay=1e6)
    assert closes(StreamSource("tcp://127.0.0.1:9", reconnection=again))


def test_a_source_that_hangs_in_the_network_is_closed_within_its_timeout():
    with Camera(1, faults=1, kinds=("stall",), gap=(10, 10)) as camera:
        assert closes(StreamSource(camera.address, reconnection=QUICK))


def test_a_source_that_gives_frames_is_closed():
    with Camera(1) as camera:
        assert closes(StreamSource(camera.address))


def test_what_a_callback_raises_ends_the_source():
    def complain(event):
        raise KeyError(event.kind)

    with Camera(1) as camera, pytest.raises(KeyError, match="opened"):
        next(StreamSource(camera.address, on_event=complain).frames())


@pytest.mark.parametrize("name", ["clip.mkv", "clip"])
def test_a_file_that_comes_by_http_ends_at_its_end(name, tmp_path, events):
    video(tmp_path / "clip.mkv", times=range(25)).rename(tmp_path / name)
    handler = functools.partial(_QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = StreamSource(f"http://127.0.0.1:{server.server_address[1]}/{name}", on_event=events.append)
        frames = list(source.frames())
        server.shutdown()
    assert [read_number(frame.image) for frame in frames] == list(range(25))
    np.testing.assert_allclose([frame.pts for frame in frames], np.arange(25) / 10, atol=2e-3)
    assert kinds(events) == ["opened", "ended"]
    assert (source.live, source.length) == (False, 25)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *given):
        pass
