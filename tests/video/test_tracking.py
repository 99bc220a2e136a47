"""Tracking: identities on true tracks, thresholds, settings."""

import numpy as np
import pytest

from tests.video.frames import found
from tests.video.frames import frame as stream_frame
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.errors import ConfigError, UsageError
from uavdet.video.tracking import FrameTracker, SourceTracker, TrackerConfig, read_tracker

pytest.importorskip("trackers")


def switches(name, moving, scores=0.5, frames=25, **settings):
    """Return how often a true object changes its identity, and the share of objects that are tracked."""
    scene = Scene(
        SceneConfig(seed=4, size=(480, 384), modality="thermal", objects=15, moving_camera=moving, min_size=8)
    )
    tracker, owner, changes, tracked, total = FrameTracker(TrackerConfig(name, settings), 10), {}, 0, 0, 0
    for index, frame in enumerate(scene.frames(frames)):
        rows, ids = tracker.update(frame.boxes, np.full(len(frame.boxes), scores), frame.classes, frame.image)
        for row, identity in zip(rows, ids, strict=True):
            true = int(frame.track_ids[row])
            changes += owner.get(true, identity) != identity
            owner[true] = identity
        if index > 3:
            tracked, total = tracked + len(rows), total + len(frame.boxes)
    return changes, tracked / max(total, 1)


@pytest.mark.parametrize("name", ["sort", "bytetrack", "ocsort", "botsort"])
def test_still_cameras_keep_identities_at_scores_of_small_objects(name):
    changes, share = switches(name, moving=False)
    assert changes <= 2
    assert share > 0.85


def test_camera_motion_is_compensated_by_default():
    compensated, share = switches("botsort", moving=True)
    assert share > 0.7
    assert compensated <= switches("botsort", moving=True, enable_cmc=False)[0]


@pytest.mark.parametrize("name", ["sort", "bytetrack", "ocsort", "botsort"])
def test_frames_without_detections_are_taken(name):
    tracker, empty = FrameTracker(TrackerConfig(name, {}), 10), np.zeros((0, 4))
    for _ in range(3):
        rows, ids = tracker.update(empty, np.zeros(0), np.zeros(0), np.zeros((64, 64, 3), np.uint8))
        assert rows.shape == ids.shape == (0,)


def test_identities_start_at_one():
    tracker = FrameTracker(TrackerConfig("botsort", {}), 10)
    _, ids = tracker.update(
        np.array([[5.0, 5, 30, 30]]), np.array([0.9]), np.array([0]), np.zeros((64, 64, 3), np.uint8)
    )
    assert ids.tolist() == [1]


def test_trackers_are_read_by_name_and_from_files(tmp_path):
    assert read_tracker("botsort") == read_tracker("botsort.yaml")
    file = tmp_path / "mine.yaml"
    file.write_text("tracker: bytetrack\nlost_track_buffer: 60\n")
    config = read_tracker(str(file))
    assert (config.name, dict(config.settings)) == ("bytetrack", {"lost_track_buffer": 60})


def test_unknown_trackers_and_settings_are_refused(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'ocsort'"):
        read_tracker("ocsrt")
    (tmp_path / "x.yaml").write_text("lost: 1\n")
    with pytest.raises(UsageError, match="no 'tracker:'"):
        read_tracker(str(tmp_path / "x.yaml"))
    with pytest.raises(UsageError, match="Unknown tracker setting 'lost_track_bufer'"):
        FrameTracker(TrackerConfig("sort", {"lost_track_bufer": 3}), 10)


def source_tracker():
    return SourceTracker(TrackerConfig("botsort", {}))


def see(tracker, shape=(64, 64), **where):
    """Track one still object in a frame and return its identity."""
    boxes = np.array([[5.0, 5, 30, 30]])
    _, ids = tracker.update(
        boxes, np.array([0.9]), np.array([0]), np.zeros((*shape, 3), np.uint8), frame_rate=10, **where
    )
    return ids.tolist()


def test_images_are_one_sequence_and_videos_one_each():
    tracker = source_tracker()
    see(tracker)
    first = tracker._slots[0].tracker
    see(tracker)
    assert tracker._slots[0].tracker is first
    see(tracker, name="a.mp4")
    second = tracker._slots[0].tracker
    assert second is not first
    see(tracker, name="a.mp4")
    assert tracker._slots[0].tracker is second
    see(tracker, name="b.mp4")
    assert tracker._slots[0].tracker is not second


def test_streams_have_a_tracker_each():
    tracker = source_tracker()
    assert see(tracker, slot=0) == see(tracker, slot=1) == [1]
    assert tracker._slots[0].tracker is not tracker._slots[1].tracker


def test_frames_of_another_size_start_a_tracker_with_new_identities():
    tracker = source_tracker()
    assert [see(tracker), see(tracker), see(tracker, (48, 64)), see(tracker, (48, 64))] == [[1], [1], [2], [2]]


def test_what_is_resumed_goes_on_under_another_name():
    tracker = source_tracker()
    see(tracker, name="1.mp4")
    kept = tracker._slots[0].tracker
    tracker.resume()
    see(tracker, name="2.mp4")
    assert tracker._slots[0].tracker is kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"tracker: botsort\ncmc_method: foo\n", "Unknown CMC method"),
        (b"tracker: botsort\ncmc_downscale: 1.5\n", "a whole number"),
        (b"tracker: sort\ntrack_activation_threshold: abc\n", "a number from 0 to 1"),
        (b"tracker: sort\ntrack_activation_threshold: 7\n", "a number from 0 to 1"),
        (b"tracker: sort\nlost_track_buffer: -1\n", "a whole number"),
        (b"tracker: ocsort\ndirection_consistency_weight: .nan\n", "a number"),
        (b"tracker: botsort\nenable_cmc: 3\n", "true or false"),
        (b"tracker: sort\ncamera_motion: true\n", "Set tracker: botsort"),
        (b"tracker: sort\ncamera_motion: 1\n", "true or false"),
        (b"tracker: botsort\ncamera_motion: false\nenable_cmc: true\n", "contradict"),
        (b"tracker: sort\nbuffer_ratio: -1\n", "a number from 0 to 2"),
        (b"tracker: sort\niou: x\n", "Unknown tracker setting 'iou'"),
        (b"tracker: sort\n3: x\n", "Unknown tracker setting '3'"),
    ],
)
def test_trackers_that_cannot_run_are_refused_at_the_start(tmp_path, text, message):
    (tmp_path / "x.yaml").write_bytes(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_tracker(str(tmp_path / "x.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"tracker: [", b"\xff\xfe\x00\x80"])
def test_a_tracker_file_that_is_no_yaml_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"x\.yaml is not readable YAML") as caught:
        read_tracker(str(tmp_path / "x.yaml"))
    assert "\n" not in str(caught.value)


def test_camera_motion_is_a_setting(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("tracker: botsort\ncamera_motion: false\n")
    config = read_tracker(str(file))
    assert not config.sees_frames
    assert TrackerConfig("botsort", {}).sees_frames
    assert not TrackerConfig("botsort", {"enable_cmc": False}).sees_frames
    assert not TrackerConfig("sort", {}).sees_frames


def video_frame(index, boxes, pts="rate", **more):
    return stream_frame(index, found(boxes), pts=pts, size=(200, 300), **more)


def test_frames_without_detections_give_no_tracks():
    tracked = SourceTracker(TrackerConfig("botsort", {})).track(video_frame(0, []))
    assert len(tracked) == 0
    assert tracked.track_ids.shape == (0,)


def test_a_frame_is_left_as_it_is_and_its_tracks_come_best_first():
    tracker, given = source_tracker(), video_frame(0, [[5, 5, 30, 30], [100, 100, 130, 130]])
    given.detections = found([[5, 5, 30, 30], [100, 100, 130, 130]], [0.6, 0.9])
    tracked = tracker.track(given)
    assert tracked.scores.tolist() == pytest.approx([0.9, 0.6])
    assert sorted(tracked.track_ids.tolist()) == [1, 2]
    assert tracked.names == given.detections.names
    assert given.detections.track_ids is None


def test_a_frame_that_was_not_detected_in_is_refused():
    given = video_frame(0, [])
    given.detections = None
    with pytest.raises(ValueError, match="no detections"):
        source_tracker().track(given)


@pytest.mark.parametrize("name", ["sort", "bytetrack", "ocsort", "botsort"])
def test_dropped_frames_do_not_cost_an_identity(name):
    """The object goes 6 pixels a frame; then five frames are dropped, and it is found where it has to be."""
    tracker, settings = {}, {"camera_motion": False} if name == "botsort" else {}
    for timed in (True, False):
        source, seen = SourceTracker(TrackerConfig(name, settings)), []
        for index in [*range(10), *range(15, 25)]:
            x = 10 + 6 * index
            tracked = source.track(video_frame(index, [[x, 50, x + 14, 64]], pts=index / 10 if timed else None))
            seen += tracked.track_ids.tolist()
        tracker[timed] = len(set(seen))
    assert tracker == {True: 1, False: 2}


def test_lost_tracks_end_by_the_clock():
    source = source_tracker()
    box = [[100, 100, 130, 130]]
    ids = [source.track(video_frame(i, box, pts=t)).track_ids.tolist() for i, t in enumerate((0.0, 0.1, 0.2))]
    assert ids == [[1], [1], [1]]
    source.track(video_frame(3, [], pts=0.9))
    assert source.track(video_frame(4, box, pts=1.0)).track_ids.tolist() == [1], "a second has not passed"
    source.track(video_frame(5, [], pts=2.5))
    later = [source.track(video_frame(6 + i, box, pts=2.6 + i / 10)).track_ids.tolist() for i in range(2)]
    assert later == [[], [2]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("second", [0.0, 0.3, float("nan"), None])
def test_time_that_does_not_advance_counts_as_one_frame(second):
    """A stream that begins anew goes on with its tracks; the library leaves out frames whose time goes back."""
    source, box = source_tracker(), [[100, 100, 130, 130]]
    times = [0.0, 0.1, 0.2, 0.3, second]
    ids = [source.track(video_frame(i, box, pts=t)).track_ids.tolist() for i, t in enumerate(times)]
    assert ids == [[1]] * 5


def test_grey_frames_and_odd_rates_are_taken():
    source = source_tracker()
    for index in range(3):
        given = stream_frame(index, found([[5, 5, 30, 30]]), grey=True, size=(48, 64))
        given.rate = [0.0, 1e6, 10.0][index]
        assert source.track(given).track_ids.tolist() == [1]


def test_sources_and_videos_have_tracks_of_their_own(tmp_path):
    source, box = source_tracker(), [[5, 5, 30, 30]]
    for slot in (0, 1):
        assert source.track(video_frame(0, box, slot=slot)).track_ids.tolist() == [1]
    for path in ("a.mp4", "b.mp4"):
        assert source.track(video_frame(0, box, path=tmp_path / path)).track_ids.tolist() == [1]
    pictures = [video_frame(i, box, pts=None, slot=2, path=tmp_path / f"{i}.jpg") for i in range(3)]
    assert [source.track(each).track_ids.tolist() for each in pictures] == [[1], [1], [1]]
