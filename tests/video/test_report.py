"""Reports: percentiles against NumPy's, and counts worked by hand."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from uavdet.video.report import Durations, SourceReport, StreamReport


def test_no_durations_have_no_percentiles():
    summary = Durations().summary()
    assert all(math.isnan(value) for value in summary.values())


@pytest.mark.parametrize("shares", [(0, 1, 50, 95, 99, 100)])
@pytest.mark.parametrize(
    "values",
    [
        [7.0],
        [1.0, 2.0],
        np.random.default_rng(0).lognormal(3, 1, 5000),
        np.random.default_rng(1).uniform(0.002, 9000, 1000),
    ],
    ids=["one", "two", "skewed", "flat"],
)
def test_percentiles_are_within_half_a_percent(values, shares):
    durations = Durations()
    for value in values:
        durations.add(value)
    for share in shares:
        expected = np.percentile(values, share, method="inverted_cdf")
        assert durations.percentile(share) == pytest.approx(expected, rel=0.0051), share
    assert durations.mean == pytest.approx(np.mean(values))
    assert durations.count == len(values)


def test_memory_does_not_grow_with_the_number_of_durations():
    durations = Durations()
    for value in np.geomspace(1e-9, 86.4e6, 20_000):
        durations.add(value)
    assert len(durations._bins) <= 2600
    assert durations.percentile(0) == pytest.approx(1e-3, rel=0.0051)


def hand_made():
    first = SourceReport("a.mp4", received=5, dropped=Counter(detecting=1, tracking=1), corrupt=2)
    second = SourceReport("rtsp://host/b", received=4, dropped=Counter(detecting=2), reconnects=3, stalls=1)
    report = StreamReport([first, second], seconds=2.5)
    for slot, inference in [(0, 10.0), (0, 20.0), (0, 30.0), (1, 40.0), (1, 50.0)]:
        report.count(slot, {"inference": inference, "decode": 1.0, "age": 2 * inference})
    return report


def test_a_report_adds_up():
    written = json.loads(json.dumps(hand_made().as_dict()))
    sums = {key: written[key] for key in ("frames_in", "processed", "dropped", "corrupt", "reconnects", "stalls")}
    assert sums == {"frames_in": 9, "processed": 5, "dropped": 4, "corrupt": 2, "reconnects": 3, "stalls": 1}
    assert written["frames_per_second"] == 2.0
    assert list(written["milliseconds"]) == ["decode", "inference", "age"]
    inference = written["milliseconds"]["inference"]
    assert inference["p50"] == pytest.approx(30, rel=0.006)
    assert (inference["p95"], inference["p99"], inference["mean"]) == (50, 50, 30)
    assert written["sources"][0]["dropped_before"] == {"detecting": 1, "tracking": 1}
    assert all(row["frames_in"] == row["processed"] + row["dropped"] for row in written["sources"])


def test_the_table_has_a_row_a_source_and_a_row_a_step():
    lines = hand_made().table().splitlines()
    assert lines[0].split() == ["frames", "in", "processed", "dropped", "corrupt", "reconnects"]
    assert [line.split() for line in lines[1:4]] == [
        ["a.mp4", "5", "3", "2", "2", "0"],
        ["rtsp://host/b", "4", "2", "2", "0", "3"],
        ["all", "9", "5", "4", "2", "3"],
    ]
    assert lines[5].split() == ["milliseconds", "p50", "p95", "p99"]
    assert lines[7].split()[2:] == ["50.0", "50.0"]
    assert lines[-1] == "2.0 frames a second over 2.5 s"


def test_a_report_of_nothing_is_a_table_too():
    table = StreamReport([SourceReport("gone", error="'gone' does not exist.")]).table()
    assert "'gone' does not exist." in table
    assert "milliseconds" not in table
