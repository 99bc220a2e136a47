"""Devices, sources, and how frames are told apart."""

import builtins
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uavdet.engine import device
from uavdet.engine.device import check_device, runs_on_cpu
from uavdet.engine.predictor import OurResults
from uavdet.errors import MissingDependencyError, UsageError


@pytest.fixture
def gpus(monkeypatch):
    def give(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return give


@pytest.mark.parametrize("given", ["banana", 7, "7", "cuda", (0, 1), "0,1", "cpu:0", "mps", "-1", "cpu,0", []])
def test_devices_that_the_machine_lacks_are_refused(gpus, given):
    gpus(0)
    with pytest.raises(UsageError, match=r"is not available. This machine has cpu\."):
        check_device(given, several=True)


@pytest.mark.parametrize(
    ("given", "read"),
    [(None, None), ("", None), ("CPU", "cpu"), (0, "0"), ("cuda:1", "1"), ("cuda", "0"), (torch.device("cpu"), "cpu")],
)
def test_devices_are_read(gpus, given, read):
    gpus(2)
    assert check_device(given) == read


def test_several_gpus_are_for_training(gpus):
    gpus(2)
    for given in ("0,1", [0, 1], (0, 1), "[0, 1]", "cuda:0,cuda:1"):
        assert check_device(given, several=True) == "0,1"
        with pytest.raises(UsageError, match="names several GPUs"):
            check_device(given)
    with pytest.raises(UsageError, match="This machine has cpu, 0, 1"):
        check_device("0,2", several=True)
    assert device.available_devices() == ["cpu", "0", "1"]
    assert runs_on_cpu("cpu")
    assert not runs_on_cpu(None)


def test_sources_that_need_a_package_name_it(monkeypatch):
    class Base:
        def setup_source(self, source):
            builtins.__import__("a_package_that_is_not_there")

    class Predictor(OurResults, Base):
        def __init__(self):
            pass

    with pytest.raises(MissingDependencyError, match="source=screen needs a_package_that_is_not_there"):
        Predictor().setup_source("screen")


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (SimpleNamespace(mode="image"), [("", 0), ("", 0), ("", 0)]),
        (SimpleNamespace(mode="video", fps=25.0), [("a", 0), ("a", 0), ("b", 0)]),
        (SimpleNamespace(mode="stream", fps=[10.0, 20.0, 30.0]), [("", 0), ("", 1), ("", 2)]),
    ],
)
def test_frames_go_to_the_sequence_they_belong_to(dataset, expected):
    from ultralytics.engine.results import Results

    seen = []

    class Tracks:
        def update(self, *args, frame_rate, name, slot):
            seen.append((name, slot))
            return np.zeros(0, int), np.zeros(0, int)

    class Predictor(OurResults):
        def __init__(self):
            self.args, self.dataset = SimpleNamespace(vid_stride=1), dataset

    image = np.zeros((32, 32, 3), np.uint8)
    for index, path in enumerate("aab"):
        result = Results(image, path=path, names={0: "x"}, boxes=torch.zeros(0, 6))
        Predictor()._track(result, Tracks(), index)
    assert seen == expected


@pytest.mark.parametrize(
    ("fps", "rate"), [(None, 15), (0, 15), (float("nan"), 15), (50.0, 25), ([10.0, 60.0], 30), (90000.0, 15)]
)
def test_frame_rates_that_make_no_sense_become_thirty(fps, rate):
    class Predictor(OurResults):
        def __init__(self):
            self.args, self.dataset = SimpleNamespace(vid_stride=2), SimpleNamespace(fps=fps)

    assert Predictor()._frame_rate(1) == rate
