"""The pipeline: order, drops and their counts, errors, and threads that end."""

import gc
import threading
import time

import pytest

from tests.video.stand_ins import FakeDetector, FakeSource, ListSink
from uavdet.errors import DataError, UsageError
from uavdet.video import stages
from uavdet.video.pipeline import Stream


def left_over():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("uavdet-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert left_over() == []


class Tracker:
    """Counts the frames of each source, after a while."""

    def __init__(self, seconds=0.0, error_at=None, gate=None):
        self._seconds, self._error_at, self._gate, self.seen = seconds, error_at, gate, []

    def track(self, frame):
        if self._error_at is not None and frame.index >= self._error_at:
            raise ValueError("the tracker broke")
        if self._gate is not None:
            assert self._gate.wait(60)
        time.sleep(self._seconds)
        self.seen.append((frame.slot, frame.index))
        return frame.detections


def wait_until(is_true):
    for _ in range(60_000):
        if is_true():
            return
        time.sleep(0.001)


def adds_up(report):
    return all(row["frames_in"] == row["processed"] + row["dropped"] for row in report.as_dict()["sources"])


def test_a_source_without_frames_gives_none():
    stream = Stream([FakeSource(0)], FakeDetector())
    assert list(stream) == []
    assert stream.report.as_dict()["frames_in"] == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_files_give_every_frame_in_order_in_whole_batches(batch):
    detector, sink = FakeDetector(batch=batch), ListSink()
    stream = Stream([FakeSource(20)], detector, tracker=Tracker(), sinks=[sink])
    assert [frame.index for frame in stream] == list(range(20))
    assert detector.calls == [batch] * (20 // batch) + [20 % batch] * (20 % batch > 0)
    assert [frame.index for frame in sink.frames] == list(range(20))
    assert sink.closed == 1
    report = stream.report
    assert (report.processed, report.dropped) == (20, 0)
    assert report.as_dict()["milliseconds"].keys() == {
        "preprocess", "inference", "postprocess", "track", "age", "write",
    }  # fmt: skip


def test_the_detector_gets_the_newest_frame_at_the_moment_that_it_is_free():
    gate = threading.Event()
    detector = FakeDetector(gate=gate)
    source = FakeSource(100, live=True, before=lambda index: index != 1 or detector.entered.wait(60))
    stream = Stream([source], detector)
    frames = iter(stream)
    threading.Thread(target=lambda: source.given.wait(60) and gate.set()).start()
    assert [frame.index for frame in frames] == [0, 99]
    assert stream.report.sources[0].dropped == {"detecting": 98, "publishing": 0}
    assert stream.report.processed == 2
    assert adds_up(stream.report)


def test_latency_complete_drops_nothing_of_a_live_source():
    stream = Stream([FakeSource(30, live=True, seconds=0.001)], FakeDetector(seconds=0.003), latency="complete")
    assert [frame.index for frame in stream] == list(range(30))
    assert stream.report.dropped == 0


@pytest.mark.parametrize("late", ["tracking", "writing", "publishing"])
def test_a_slow_step_behind_the_detector_loses_frames_that_are_counted(late):
    """The step waits with frame 0 until the last of 40 frames was given; the step before it takes each of them."""
    source = FakeSource(40, live=True, before=lambda index: wait_until(lambda: len(before()) >= index))
    gates = {late: source.given}
    detector, sink = FakeDetector(), ListSink(gate=gates.get("writing"))
    tracker = Tracker(gate=gates.get("tracking"))
    taken = {
        "tracking": lambda: detector.calls,
        "writing": lambda: tracker.seen,
        "publishing": lambda: sink.frames,
    }
    before = taken[late]
    stream = Stream([source], detector, tracker=tracker, sinks=[sink])
    indices = []
    for frame in stream:
        indices.append(frame.index)
        if late == "publishing":
            source.given.wait(60)
    assert indices == sorted(set(indices))
    assert indices[-1] == 39
    assert stream.report.sources[0].dropped[late] >= 30
    assert adds_up(stream.report)


def test_a_slow_consumer_holds_files_back():
    detector = FakeDetector()
    stream = Stream([FakeSource(1000)], detector)
    frames = iter(stream)
    next(frames)
    time.sleep(0.2)
    assert sum(detector.calls) < 20
    frames.close()
    assert adds_up(stream.report)


def test_live_sources_go_round_in_one_batch():
    gate = threading.Event()
    detector = FakeDetector(batch=None, gate=gate)
    sources = [
        FakeSource(2, slot=slot, live=True, before=lambda index: index == 0 or detector.entered.wait(60))
        for slot in range(3)
    ]
    threading.Thread(target=lambda: all(source.given.wait(60) for source in sources) and gate.set()).start()
    seen = [(frame.slot, frame.index) for frame in Stream(sources, detector)]
    assert detector.calls[1] == 3
    assert sorted(seen[-3:]) == [(0, 1), (1, 1), (2, 1)]


def test_one_dead_source_leaves_the_others_alone():
    sources = [FakeSource(2, error=DataError("source 0 is gone.")), FakeSource(30, slot=1), FakeSource(5, slot=2)]
    stream = Stream(sources, FakeDetector())
    seen = [(frame.slot, frame.index) for frame in stream]
    assert [[index for place, index in seen if place == slot] for slot in range(3)] == [
        [0, 1],
        list(range(30)),
        list(range(5)),
    ]
    assert [row.error for row in stream.report.sources] == ["source 0 is gone.", None, None]


def test_when_every_source_fails_the_first_error_is_raised_after_the_frames():
    sources = [FakeSource(2, slot=slot, error=DataError(f"source {slot} is gone.")) for slot in range(2)]
    seen = []
    with pytest.raises(DataError, match="source 0 is gone"):
        seen.extend(iter(Stream(sources, FakeDetector())))
    assert len(seen) == 4


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({"source": {"error": RuntimeError("a bug")}}, "a bug"),
        ({"detector": {"error_after": 3}}, "the network broke"),
        ({"tracker": {"error_at": 3}}, "the tracker broke"),
        ({"sink": {"error_at": 3}}, "the disk is full"),
        ({"callback": 3}, "the callback broke"),
    ],
)
def test_errors_of_every_step_reach_who_iterates(parts, error, live):
    def callback(frame):
        if frame.index >= parts.get("callback", 1000):
            raise ValueError("the callback broke")

    sink = ListSink(**parts.get("sink", {}))
    source = FakeSource(4 if "source" in parts else 1000, live=live, seconds=0.005, **parts.get("source", {}))
    stream = Stream(
        [source],
        FakeDetector(**parts.get("detector", {})),
        tracker=Tracker(**parts.get("tracker", {})),
        sinks=[sink],
        callback=callback,
    )
    seen = []
    with pytest.raises((ValueError, OSError, RuntimeError), match=error):
        seen.extend(iter(stream))
    indices = [frame.index for frame in seen]
    assert indices[:3] == [0, 1, 2] or live, "what was through is published first"
    assert indices == sorted(set(indices))
    assert sink.closed == 1
    assert source.closed.is_set()
    assert adds_up(stream.report)


@pytest.mark.parametrize("seconds", [{"detector": 0.02}, {"sink": 0.02}, {"tracker": 0.02}, {}])
@pytest.mark.parametrize("live", [False, True])
def test_stopping_early_ends_every_thread(seconds, live):
    source = FakeSource(10_000, live=live, seconds=0.001)
    sink = ListSink(seconds.get("sink", 0))
    stream = Stream(
        [source, FakeSource(3, slot=1, hangs=True, live=live)],
        FakeDetector(seconds.get("detector", 0)),
        tracker=Tracker(seconds.get("tracker", 0)),
        sinks=[sink],
    )
    for frame in stream:
        if frame.index > 2:
            break
    assert left_over() == []
    assert sink.closed == 1
    assert adds_up(stream.report)


def test_ctrl_c_ends_every_thread():
    stream = Stream([FakeSource(5, hangs=True)], FakeDetector())

    def consume():
        for frame in stream:
            if frame.index == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert left_over() == []


def test_a_forgotten_stream_ends_its_threads():
    frames = iter(Stream([FakeSource(5, hangs=True)], FakeDetector(), sinks=[ListSink()]))
    next(frames)
    assert left_over()
    del frames
    gc.collect()
    assert left_over() == []


def test_a_stream_that_was_never_read_closes_its_sources_and_sinks():
    source, sink = FakeSource(5), ListSink()
    stream = Stream([source], FakeDetector(), sinks=[sink])
    del stream
    gc.collect()
    assert source.closed.is_set()
    assert sink.closed == 1


def test_a_stream_is_read_once():
    with Stream([FakeSource(2)], FakeDetector()) as stream:
        assert len(list(stream)) == 2
        with pytest.raises(UsageError, match="read once"):
            iter(stream)


def test_run_reads_all_for_sinks_and_callback():
    seen = []
    report = Stream([FakeSource(7)], FakeDetector(), callback=lambda frame: seen.append(frame.index)).run()
    assert seen == list(range(7))
    assert report.processed == 7
    assert report.seconds > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"latency": "fast"}, "latency=fast is not allowed"), ({"batch": 0}, "batch=0 is not allowed")],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Stream([FakeSource(1)], FakeDetector(), **options)


def test_a_thread_that_hangs_is_waited_for_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stages, "_JOIN_SECONDS", 0.01)
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="hangs", daemon=True)
    thread.start()
    for _ in range(3):
        stages.join_threads([thread])
    release.set()
    thread.join()
    assert [record.getMessage() for record in caplog.records] == ["hangs does not end; it is left behind."]
