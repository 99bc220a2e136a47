"""Twenty-one faults on three streams at once, through the whole pipeline: every frame is accounted for."""

import threading
import time

import pytest

from tests.video.fault_server import Camera, TransportStreamCamera, settle
from tests.video.painted import read_number
from tests.video.rtsp_camera import RtspCamera
from tests.video.stand_ins import FakeDetector
from uavdet.video.pipeline import Stream
from uavdet.video.sources import Reconnection, StreamSource

_FAULTS = 7
_CALM = 30  # frames after the last fault


class Watched(StreamSource):
    """Keeps the numbers of the frames that it gives, in their order."""

    def frames(self):
        self.numbers = []
        for frame in super().frames():
            self.numbers.append(read_number(frame.image))
            yield frame


@pytest.mark.parametrize("latency", ["live", "complete"])
def test_of_frames_sent_whole_none_is_lost_and_none_made_up(latency):
    cameras = [kind(seed, _FAULTS) for seed, kind in enumerate((Camera, TransportStreamCamera, RtspCamera), 11)]
    again = Reconnection(stall_timeout=1.0, first_delay=0.1)
    sources = [Watched(camera.address, slot, reconnection=again) for slot, camera in enumerate(cameras)]
    for camera in cameras:
        camera.__enter__()
    processed = {slot: [] for slot in range(3)}
    deadline = time.monotonic() + 300
    with Stream(sources, FakeDetector(0.004), latency=latency) as stream:
        for frame in stream:
            processed[frame.slot].append((frame.index, read_number(frame.image)))
            calm = all(is_calm(camera, processed[slot]) for slot, camera in enumerate(cameras))
            if calm or time.monotonic() > deadline:
                break
    for camera in cameras:
        camera.stop()
    report = stream.report
    for slot, (camera, source) in enumerate(zip(cameras, sources, strict=True)):
        settled, faults = settle(camera.record, source.numbers), [kind for kind, *_ in camera.record.faults]
        assert len(faults) == _FAULTS
        assert settled["repeated"] == settled["unknown"] == 0
        if source.statistics.stalls == faults.count("stall"):  # else this machine itself stood still for a while
            assert settled["missing"] == []
        told = report.sources[slot]
        assert told.received == source.statistics.frames == len(source.numbers)
        assert told.received == told.processed + sum(told.dropped.values())
        indices = [index for index, _ in processed[slot]]
        assert indices == sorted(set(indices))
        assert all(source.numbers[index] == number for index, number in processed[slot])
        assert source.statistics.reconnects >= sum(kind in ("kill", "reset", "refuse", "stall") for kind in faults)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("uavdet")]


def is_calm(camera, processed):
    """Return whether frames were processed that came well after the camera's last fault."""
    last = max((number or 0 for _, number in processed), default=0)
    return not camera.faults_left and camera.record.faults[-1][1] + _CALM < last


def test_a_dead_source_stops_none_of_the_others():
    dead = Watched("tcp://127.0.0.1:9", 0, reconnection=Reconnection(max_retries=1, first_delay=0.01))
    with Camera() as camera:
        alive = Watched(camera.address, 1)
        with Stream([dead, alive], FakeDetector()) as stream:
            frames = [frame for frame, _ in zip(stream, range(80), strict=False)]
    assert {frame.slot for frame in frames} == {1}
    assert "cannot be reached" in stream.report.sources[0].error
