"""The process of a model: its answers, its errors, and its end."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.runtime.networks import write_network
from uavdet import errors
from uavdet.benchmark import worker
from uavdet.benchmark.process import ModelProcess
from uavdet.benchmark.settings import SubjectSettings


@pytest.fixture
def settings(tmp_path):
    np.save(tmp_path / "picture.npy", np.zeros((40, 60, 3), np.uint8))

    def make(model="x.onnx", **more):
        return SubjectSettings(str(tmp_path / model), str(tmp_path / "picture.npy"), **more)

    return make


def test_a_process_runs_its_model_and_tells_its_memory(tmp_path, settings):
    write_network(tmp_path / "x.onnx", ours={"gflops": 1.5})
    process = ModelProcess(settings())
    try:
        assert process.description.imgsz == [32, 64]
        assert process.run().whole > 0
        finish = process.finish()
    finally:
        process.close()
    assert finish["gflops"] == 1.5
    assert finish["peak_mb"] is None or 20 < finish["peak_mb"] < 1000


def test_errors_keep_their_kind(settings):
    with pytest.raises(errors.CheckpointError, match=r"gone\.onnx' does not exist"):
        ModelProcess(settings("gone.onnx"))


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_the_end_of_a_process_is_told_in_one_line(tmp_path, settings):
    write_network(tmp_path / "x.onnx")
    process = ModelProcess(settings())
    try:
        process._process.send_signal(signal.SIGKILL)
        process._process.wait()
        with pytest.raises(errors.UAVDetError, match=r"x\.onnx' was ended by signal 9\. All models") as caught:
            process.run()
    finally:
        process.close()
    assert "\n" not in str(caught.value)


def test_pytorch_is_not_loaded_for_an_exported_file(tmp_path, settings, monkeypatch):
    write_network(tmp_path / "x.onnx")
    for name in ("torch", "ultralytics", "timm"):
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text(f"raise ImportError('{name} is absent')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "absent"))
    process = ModelProcess(settings())
    try:
        assert process.run().whole > 0
    finally:
        process.close()


def test_a_process_ends_with_the_one_that_asks():
    done = subprocess.run(
        [sys.executable, "-m", "uavdet.benchmark.worker"], input="", capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


def test_memory_is_the_high_water_mark_of_this_process():
    before = worker.peak_memory()
    held = np.ones(30_000_000)  # 240 MB
    after = worker.peak_memory()
    del held
    assert before is not None
    assert after >= before
    assert after >= 240


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the file is Linux's")
@pytest.mark.parametrize(("text", "expected"), [("Name: x\nVmHWM:\t  2000 kB\n", 2.048), (None, None)])
def test_memory_is_what_the_kernel_tells(tmp_path, monkeypatch, text, expected):
    if text is not None:
        (tmp_path / "status").write_text(text)
    monkeypatch.setattr(worker, "_STATUS", tmp_path / "status")
    found = worker.peak_memory()
    assert found == expected if expected else found > 20  # else that of getrusage
