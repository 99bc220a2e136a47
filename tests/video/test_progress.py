"""What a terminal shows of a stream."""

import io
import sys

import pytest

from tests.video.stand_ins import FakeSource, make_frame, nothing
from uavdet.video import progress
from uavdet.video.progress import BarProgress, LineProgress, Progress, describe, open_progress
from uavdet.video.report import SourceReport, StreamReport


class Terminal(io.StringIO):
    def isatty(self):
        return True


def made_report(processed):
    return StreamReport([SourceReport("x", received=processed + 2, processed=processed, reconnects=3)])


def test_nothing_is_shown_where_nobody_looks():
    output = io.StringIO()
    shown = open_progress([FakeSource(5)], output)
    assert type(shown) is Progress
    shown.show(make_frame(), made_report(1))
    shown.close()
    assert output.getvalue() == ""


@pytest.mark.parametrize(
    ("sources", "kind"),
    [
        ([FakeSource(5)], BarProgress),
        ([FakeSource(5, live=True)], LineProgress),
        ([FakeSource(5), FakeSource(None, slot=1)], LineProgress),
    ],
)
def test_files_have_a_bar_and_streams_a_line(sources, kind):
    pytest.importorskip("rich")
    shown = open_progress(sources, Terminal())
    assert type(shown) is kind
    shown.show(make_frame(), made_report(1))
    shown.close()


def test_without_rich_files_have_a_line_with_their_length(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    output = Terminal()
    shown = open_progress([FakeSource(5), FakeSource(6, slot=1)], output)
    shown.show(make_frame(), made_report(4))
    assert "\r4/11 frames, " in output.getvalue()
    shown.close()
    assert output.getvalue().endswith("\r")


def test_the_line_is_written_now_and_then(monkeypatch):
    now, frame = iter([0.0, 0.0, 0.1, 0.25]), make_frame()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    output = Terminal()
    shown = LineProgress(output)
    for processed in (1, 2, 3):
        shown.show(frame, made_report(processed))
    assert [line.split()[0] for line in output.getvalue().split("\r")[1:]] == ["1", "3"]


def test_the_line_says_where_a_stream_is():
    frame = make_frame(detections=nothing(), timings={"age": 61.4})
    assert describe(frame, made_report(50), 2.0) == ("50 frames, 25.0/s, 0 dropped, 3 reconnects, age 61 ms, 0 objects")
