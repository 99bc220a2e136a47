"""What is timed: the runtime's own way from pictures to detections, and what goes with a model or not."""

import json

import numpy as np
import pytest

from tests.runtime.networks import NEAR, ROWS, write_network
from uavdet.benchmark.settings import SubjectSettings
from uavdet.benchmark.subjects import open_subject
from uavdet.errors import CheckpointError, UsageError
from uavdet.runtime import Detector


@pytest.fixture
def picture(tmp_path):
    np.save(tmp_path / "picture.npy", np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    return tmp_path / "picture.npy"


def opened(path, picture, **settings):
    return open_subject(SubjectSettings(str(path), str(picture), **settings))


@pytest.mark.parametrize(
    ("network", "settings", "batch"),
    [
        ({}, {}, 1),
        ({"batch": 3}, {}, 3),
        ({"batch": 3}, {"batch": 3}, 3),
        ({"batch": "batch"}, {}, 1),
        ({"batch": "batch"}, {"batch": 5}, 5),
        ({}, {"imgsz": [32, 64], "device": "cpu"}, 1),
        ({"channels": 1}, {}, 1),
    ],
)
def test_a_file_runs_with_what_it_settles(tmp_path, picture, network, settings, batch):
    subject = opened(write_network(tmp_path / "x.onnx", **network), picture, **settings)
    found = subject.description
    assert (found.device, found.precision, found.imgsz, found.batch) == ("cpu", "fp32", [32, 64], batch)
    times = subject.run()
    assert min(times.preprocess, times.inference, times.postprocess) > 0
    assert times.whole == pytest.approx(times.preprocess + times.inference + times.postprocess)


def test_what_is_timed_finds_what_the_detector_finds(tmp_path, picture, monkeypatch):
    import uavdet.benchmark.subjects as module

    found = []
    decode = module.decode_rows
    monkeypatch.setattr(module, "decode_rows", lambda *args, **given: found.append(decode(*args, **given)) or found[-1])
    path = write_network(tmp_path / "x.onnx", rows=[ROWS[0], NEAR, ROWS[1]], gain=0.3)
    opened(path, picture).run()
    expected = Detector(path)(np.load(picture))
    assert len(found) == 1
    assert len(expected) < len(Detector(path, iou=1)(np.load(picture)))  # the second box of an object goes
    np.testing.assert_array_equal(found[0].boxes, expected.boxes)
    np.testing.assert_array_equal(found[0].scores, expected.scores)


def test_raw_outputs_give_as_many_rows_as_the_file_says(tmp_path, picture, monkeypatch):
    import uavdet.benchmark.subjects as module

    counts = []
    decode = module.decode_rows
    monkeypatch.setattr(
        module, "decode_rows", lambda rows, *args, **given: counts.append(len(rows)) or decode(rows, *args, **given)
    )
    boxes, scores = [[0.5, 0.5, 0.2, 0.4]] * 3, [[0.9, 0.1], [0.8, 0.7], [0.3, 0.2]]
    path = write_network(tmp_path / "x.onnx", rows=(boxes, scores), output="raw", ours={"rows": 2})
    opened(path, picture).run()
    assert counts == [2]


@pytest.mark.parametrize(
    ("device", "half", "precision", "expected"),
    [
        ("cpu", False, "int8", "int8"),
        ("tensorrt", True, "fp32", "fp16"),
        ("openvino", True, "fp32", "bf16"),
        ("openvino:CPU", True, "bf16", "bf16"),
        ("openvino:GPU", True, "fp32", "fp16"),
        ("openvino:NPU", True, "fp32", "fp16"),
        ("openvino", False, "bf16", "fp32"),  # on a CPU without bf16
    ],
)
def test_the_precision_is_the_one_that_is_computed_in(device, half, precision, expected):
    from uavdet.benchmark.subjects import _computes_in

    assert _computes_in(device, half, precision) == expected


@pytest.mark.parametrize(("ours", "gflops"), [({}, None), ({"gflops": 66.7}, 66.7), ({"gflops": "many"}, None)])
def test_gflops_are_those_that_the_file_says(tmp_path, picture, ours, gflops):
    assert opened(write_network(tmp_path / "x.onnx", ours=ours), picture).gflops() == gflops


@pytest.mark.parametrize(
    ("network", "settings", "error", "message"),
    [
        ({"batch": 2}, {"batch": 3}, UsageError, "takes 2 images a run"),
        ({}, {"imgsz": 64}, UsageError, "takes 32,64"),
        ({}, {"queries": 100}, UsageError, "queries=100 has no effect"),
        ({}, {"device": "cuda"}, UsageError, "CUDAExecutionProvider"),
        ({}, {"half": True}, UsageError, "half=True has no effect"),
        ({"channels": 4, "imgsz": (32, 64)}, {}, CheckpointError, "4 channels"),
        ({"rows": [[0.5, 0.5, 0.1, 0.1, float("nan"), 0]]}, {}, CheckpointError, "NaN"),
    ],
)
def test_what_does_not_go_with_a_file_is_refused_in_one_line(tmp_path, picture, network, settings, error, message):
    path = write_network(tmp_path / "x.onnx", **network)
    with pytest.raises(error, match=message) as caught:
        opened(path, picture, **settings).run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("gone.onnx", {}, CheckpointError, "does not exist"),
        ("gone_openvino_model", {}, CheckpointError, "does not exist"),
        ("x.txt", {}, UsageError, "cannot be run here"),
        ("x.engine", {"device": "cpu"}, UsageError, "runs on cuda"),
        ("x.torchscript", {"device": "cuda"}, UsageError, "runs on cpu"),
        ("x.torchscript", {"half": True}, UsageError, "half=True has no effect"),
        ("x.torchscript", {}, CheckpointError, "is empty"),
    ],
)
def test_files_that_are_none_are_refused_in_one_line(tmp_path, picture, name, settings, error, message):
    if not name.startswith("gone"):
        (tmp_path / name).touch()
    with pytest.raises(error, match=message) as caught:
        opened(tmp_path / name, picture, **settings)
    assert "\n" not in str(caught.value)


def test_weights_run_as_predict_runs_them(picture):
    from uavdet.engine.profile import profile_model
    from uavdet.model import UAVDet

    subject = opened("rtdetr-n.yaml", picture, imgsz=[64, 96], batch=2, device="cpu", queries=20)
    assert subject.description.imgsz == [64, 96]
    assert (subject.description.device, subject.description.batch) == ("cpu", 2)
    times = subject.run()
    assert times.whole > times.preprocess + times.inference + times.postprocess > 0
    assert subject.gflops() == profile_model(UAVDet("rtdetr-n.yaml", 20).module, (64, 96)).gflops_all


def test_torchscript_runs_as_well(tmp_path, picture):
    from tests.export.networks import make_model
    from uavdet.export.network import NetworkOptions
    from uavdet.export.torchscript import write_torchscript

    model = make_model("rtdetr-n")
    write_torchscript(model, tmp_path / "x.torchscript", NetworkOptions(imgsz=(64, 64)), {})
    subject = opened(tmp_path / "x.torchscript", picture)
    assert subject.description.imgsz == [64, 64]
    assert subject.run().inference > 0
    assert json.dumps(subject.gflops())
    assert subject.gflops() > 0
