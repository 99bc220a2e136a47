"""Rounds, and the mode from the command line and from Python."""

import itertools
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.runtime.networks import write_network
from uavdet.benchmark import measure
from uavdet.benchmark.settings import PassTimes
from uavdet.cli import main
from uavdet.errors import DataError, UsageError


@pytest.fixture
def picture(tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((40, 60, 3), np.uint8))
    return tmp_path / "picture.png"


@pytest.mark.parametrize(("models", "runs"), [(1, 1), (2, 4), (3, 5)])
def test_a_round_is_one_run_of_every_model_in_turning_order(models, runs):
    log = []

    def model(number):
        def run():
            log.append(number)
            return PassTimes(0, 0, 0, len(log), 0)

        return SimpleNamespace(run=run)

    passes = measure._run_rounds([model(number) for number in range(models)], runs)
    rounds = [log[start : start + models] for start in range(0, len(log), models)]
    assert len(rounds) == measure.WARM_UP + runs
    assert all(sorted(order) == list(range(models)) for order in rounds)
    assert all(first == second[::-1] for first, second in itertools.pairwise(rounds))
    assert [len(times) for times in passes] == [runs] * models
    for number, times in enumerate(passes):
        expected = [index + 1 for index, ran in enumerate(log) if ran == number][measure.WARM_UP :]
        assert [each.whole for each in times] == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [({"models": []}, UsageError, "No model was given"), ({"source": "gone.png"}, DataError, "gone.png")],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        measure.measure_models(**{"models": ["x.onnx"], **options})


def test_the_default_picture_is_a_scene_of_full_hd(tmp_path, monkeypatch):
    assert measure._SCENE_SIZE == (1920, 1080)
    monkeypatch.setattr(measure, "_SCENE_SIZE", (192, 108))  # drawn in a hundredth of the time
    image = np.load(measure._write_picture(None, tmp_path / "x.npy"))
    assert (image.shape, image.dtype) == ((108, 192, 3), np.uint8)
    assert image.std() > 5


def test_the_command_prints_json_alone_with_json_true(tmp_path, picture, capfd):
    first = write_network(tmp_path / "a.onnx")
    second = write_network(tmp_path / "b.onnx", batch=2, ours={"gflops": 3.0})
    words = ["benchmark", f"model={first},{second}", "runs=2", "threads=1", f"source={picture}", "json=True"]
    assert main(words) == 0
    report = json.loads(capfd.readouterr().out)
    assert [entry["model"] for entry in report["models"]] == [str(first), str(second)]
    assert [entry["batch"] for entry in report["models"]] == [1, 2]
    assert [entry["gflops"] for entry in report["models"]] == [None, 3.0]
    assert report["models"][0]["ratio"] == 1
    assert (report["runs"], report["image"], report["machine"]["threads"]) == (2, [40, 60], 1)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["model=gone.onnx"], 4, "error: 'gone.onnx' does not exist"),
        (["runs=0"], 2, "error: runs=0 is not allowed"),
        (["modle=x"], 2, "Did you mean 'model'"),
        (["model=x.onnx", "source=gone.png"], 3, "gone.png"),
        (["model=x.onnx", "conf=0.5"], 2, "'conf' is no argument of 'uavdet benchmark'"),
    ],
)
def test_errors_take_one_line_and_their_exit_code(capfd, picture, words, code, message):
    given = words if any(word.startswith("source") for word in words) else [*words, f"source={picture}"]
    assert main(["benchmark", *given]) == code
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imgsz=32,64"], "imgsz=32,64 is not possible: '{second}' takes 64,64"),
        (["device=cuda"], "device=cuda needs CUDAExecutionProvider"),
        (["device=tpu"], "device=tpu is not allowed"),
        (["batch=2"], "batch=2 is not possible: '{first}' takes 1 images a run"),
        (["half=True"], "half=True has no effect"),
    ],
)
def test_what_one_model_does_not_take_ends_the_benchmark(tmp_path, picture, capfd, words, message):
    names = {"first": write_network(tmp_path / "a.onnx"), "second": write_network(tmp_path / "b.onnx", imgsz=(64, 64))}
    given = [f"model={names['first']},{names['second']}", f"source={picture}", "threads=1", "runs=1"]
    assert main(["benchmark", *given, *words]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    errors = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message.format(**names) in errors[0]


def test_a_model_is_measured_beside_others_from_python(tmp_path, picture, capfd):
    from uavdet import UAVDet

    path = write_network(tmp_path / "a.onnx")
    report = UAVDet(path).benchmark(path, runs=2, threads=1, source=str(picture))
    assert [figures.model for figures in report.models] == [str(path), str(path)]
    with pytest.raises(UsageError, match="Unknown key 'rounds'"):
        UAVDet(path).benchmark(rounds=2)
