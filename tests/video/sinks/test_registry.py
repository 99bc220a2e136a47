"""Opening sinks by name, several as one, and what they say where they fail."""

import errno

import pytest

from tests.video.frames import NAMES, frame
from uavdet.errors import DataError, UsageError
from uavdet.video.sinks import SINKS, CallbackSink, Sink, SinkOptions, open_sinks


class Broken(Sink):
    name = "broken"
    closed = 0

    def write(self, frame):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x.csv")

    def close(self):
        self.closed += 1
        raise OSError(errno.EIO, "Input/output error")


def test_no_names_open_nothing(tmp_path):
    for given in ("", [], " , "):
        sinks = open_sinks(given, tmp_path, NAMES)
        sinks.write(frame())
        sinks.close()
        assert sinks.sinks == []


def test_every_name_opens_its_sink(tmp_path):
    names = [name for name in SINKS if name != "webhook"]
    sinks = open_sinks(" , ".join(names), tmp_path, NAMES)
    assert [sink.name for sink in sinks.sinks] == names
    sinks.close()
    assert list(tmp_path.iterdir()) == []


def test_functions_are_called_with_every_frame(tmp_path):
    taken = []
    with open_sinks([taken.append, "jsonl"], tmp_path, NAMES) as sinks:
        frames = [frame(0), frame(1)]
        for each in frames:
            sinks.write(each)
    assert taken == frames
    assert isinstance(sinks.sinks[0], CallbackSink)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("jsnl", "Did you mean 'jsonl'"),
        ("video,vidio", "sinks=vidio is unknown"),
        (["csv", "csv"], "given twice"),
        ([3], "sinks=3 is no sink"),
    ],
)
def test_what_is_no_sink_is_refused(given, message, tmp_path):
    with pytest.raises(UsageError, match=message) as caught:
        open_sinks(given, tmp_path, NAMES)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_said_with_its_sink_and_file(tmp_path):
    sinks = open_sinks([Broken(tmp_path, NAMES, SinkOptions())], tmp_path, NAMES)
    with pytest.raises(DataError, match=r"sinks=broken cannot write /data/x.csv: No space left on device\. .*project="):
        sinks.write(frame())


def test_all_are_closed_where_one_fails(tmp_path):
    broken = [Broken(tmp_path, NAMES, SinkOptions()) for _ in range(2)]
    sinks = open_sinks([broken[0], "jsonl", broken[1]], tmp_path, NAMES)
    with pytest.raises(DataError, match="sinks=broken"):
        sinks.close()
    assert [sink.closed for sink in broken] == [1, 1]


@pytest.mark.parametrize("name", ["jsonl", "csv", "coco", "video"])
def test_a_folder_that_is_a_file_is_refused(name, tmp_path):
    (tmp_path / "taken").write_text("a file")
    sinks = open_sinks(name, tmp_path / "taken" / "run", NAMES)
    with pytest.raises(DataError, match=r"cannot (be written|write)") as caught:
        sinks.write(frame())
    assert "\n" not in str(caught.value)
