"""Presentation times: what a container says, and what stands in its place."""

import numpy as np
import pytest

from uavdet.video.sources.timeline import FileTimeline, StreamTimeline


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], []),
        ([None], [0.0]),
        ([5.0, 5.1, 5.4, 9.0], [0.0, 0.1, 0.4, 4.0]),
        ([None, None, None], [0.0, 0.1, 0.2]),
        ([1.0, None, 1.5], [0.0, 0.1, 0.5]),
        ([1.0, 1.0, 1.05, 1.5], [0.0, 0.1, 0.2, 0.5]),
    ],
)
def test_times_of_a_file_are_those_of_its_container_and_go_forward(told, expected):
    timeline = FileTimeline(10.0)
    np.testing.assert_allclose([timeline.place(pts) for pts in told], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([("open", 99.0), (7.0, 100.0)], [0.0]),
        (
            [(7.0, 100.0), (7.04, 100.5), (7.08, 100.5)],
            [0.0, 0.04, 0.08],
        ),  # jitter of the network is none of the camera
        ([("open", 99.0), (None, 100.0), (None, 100.2), (None, 100.5)], [0.0, 0.2, 0.5]),
        ([(None, 100.0), (None, 100.0)], [0.0, 0.001]),
        ([(7.0, 100.0), (None, 100.2), (7.5, 100.5)], [0.0, 0.2, 0.5]),
        ([(7.0, 100.0), (0.0, 100.1), (0.1, 100.2)], [0.0, 0.1, 0.2]),  # the encoder began again
        ([(7.0, 100.0), (95000.0, 100.1), (95000.1, 100.2)], [0.0, 0.1, 0.2]),  # a leap of the stream's clock
        ([(7.0, 100.0), (27.0, 120.0)], [0.0, 20.0]),  # slow, but as slow by the clock
        # Frames of a second that FFmpeg has looked through come at once; the clock runs from when it was asked.
        ([("open", 99.0), (7.0, 100.0), (7.5, 100.0), (8.0, 100.0), (8.5, 100.5)], [0.0, 0.5, 1.0, 1.5]),
        ([("open", 99.0), (7.0, 100.0), ("open", 130.0), (0.0, 130.9), (0.1, 130.9)], [0.0, 31.0, 31.1]),
        ([("open", 99.0), (7.0, 100.0), (9.0, 102.0), ("open", 100.5), (0.0, 100.6)], [0.0, 2.0, 2.001]),
    ],
)
def test_times_of_a_stream_go_on_when_it_begins_again(given, expected):
    timeline, moments = StreamTimeline(), []
    for step in given:
        if step[0] == "open":
            timeline.restart(step[1])
        else:
            moments.append(timeline.place(*step))
    np.testing.assert_allclose(moments, expected, atol=1e-9)
