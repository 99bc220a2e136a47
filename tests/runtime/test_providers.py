"""Which device is taken, and what is said of those that do not work: with a stand-in for ONNX Runtime.

No GPU takes part in these tests. They show what is asked of ONNX Runtime, not that a GPU computes rightly.
"""

import logging
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.fake_onnxruntime import CPU, CUDA, OPENVINO, TENSORRT, FakeRuntime, FakeValue
from tests.runtime.networks import write_network
from uavdet.errors import CheckpointError, MissingDependencyError, UsageError
from uavdet.runtime import Detector, Session, providers
from uavdet.runtime.binding import BoundBuffers
from uavdet.runtime.files import open_on_cpu
from uavdet.runtime.providers import Device, read_device

TOLD = {"names": "{0: 'person', 1: 'car'}", "imgsz": "[32, 64]"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"a graph")
    return path


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Return a function that puts a stand-in in the place of ONNX Runtime."""
    monkeypatch.setenv("UAVDET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(providers, "_JETSON_RELEASE", tmp_path / "no_jetson")
    FakeValue.made = []

    def put(metadata=TOLD, shape=(1, 3, 32, 64), **behaviour):
        runtime = FakeRuntime(metadata, shape, **behaviour)
        monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
        return runtime

    return put


@pytest.mark.parametrize(
    ("given", "device"),
    [
        (None, Device(None)),
        ("", Device(None)),
        ("auto", Device(None)),
        ("CPU", Device("cpu")),
        (0, Device("cuda", "0")),
        ("1", Device("cuda", "1")),
        ("cuda", Device("cuda")),
        ("cuda:1", Device("cuda", "1")),
        ("TensorRT:0", Device("tensorrt", "0")),
        ("openvino", Device("openvino")),
        ("openvino:gpu", Device("openvino", "GPU")),
    ],
)
def test_devices_are_read(given, device):
    assert read_device(given) == device


@pytest.mark.parametrize("given", ["mps", "cuda:x", "cpu:1", "gpu", (0, 1), "0,1", True, -1, "openvino:tpu"])
def test_other_devices_are_refused(given):
    with pytest.raises(UsageError, match=r"is not allowed\. Exported files run on cpu, cuda"):
        read_device(given)


ALL = {TENSORRT: "works", CUDA: "works", OPENVINO: "works"}


@pytest.mark.parametrize(
    ("device", "behaviour", "taken", "skipped"),
    [
        (None, {}, "cpu", 0),
        (None, ALL, "tensorrt", 0),
        (None, {CUDA: "works"}, "cuda", 0),
        (None, {OPENVINO: "works"}, "openvino", 0),
        (None, {**ALL, TENSORRT: "falls back"}, "cuda", 1),
        (None, {**ALL, TENSORRT: "raises", CUDA: "fails"}, "openvino", 2),
        (None, {TENSORRT: "raises", CUDA: "falls back"}, "cpu", 2),
        (None, {TENSORRT: "gives NaN", CUDA: "works"}, "cuda", 1),
        (None, {CUDA: "falls back later"}, "cpu", 1),
        ("cpu", ALL, "cpu", 0),
        ("cuda", ALL, "cuda", 0),
        (1, ALL, "cuda:1", 0),
        ("tensorrt", ALL, "tensorrt", 0),
        ("openvino:gpu", ALL, "openvino:GPU", 0),
    ],
)
def test_the_fastest_device_that_works_is_taken_and_the_others_are_told(
    device, behaviour, taken, skipped, file, install, caplog
):
    install(**behaviour)
    with caplog.at_level(logging.WARNING):
        session = Session(file, device)
    assert session.device == taken
    assert session.provider == providers.PROVIDERS[taken.partition(":")[0]]
    assert len(session.skipped) == skipped
    assert sum("Going on with" in record.message for record in caplog.records) == skipped
    assert all("\n" not in reason and f"Going on with device={taken}" in caplog.text for reason in session.skipped)


@pytest.mark.parametrize(
    ("device", "behaviour", "message"),
    [
        ("cuda", {}, r"CUDAExecutionProvider, which .* lacks; it has cpu\. .* pip install 'uavdet\[runtime-gpu\]'"),
        ("tensorrt", {}, r"TensorrtExecutionProvider, which .* lacks.*'uavdet\[runtime-gpu\]'"),
        ("openvino", {CUDA: "works"}, r"it has cuda, cpu\. .*'uavdet\[runtime-openvino\]'"),
        ("cuda", {CUDA: "falls back"}, r"device=cuda does not work here: .* fell back to the CPU\. .* NVIDIA driver"),
        ("cuda", {CUDA: "falls back later"}, r"fell back to the CPU in the first run"),
        ("cuda", {CUDA: "fails"}, r"no kernel image is available .* cuDNN 9"),
        ("tensorrt", {TENSORRT: "raises", CUDA: "works"}, r"libnvinfer.so.10: cannot open .* TensorRT 10"),
        ("openvino:npu", {OPENVINO: "falls back"}, r"device=openvino:NPU does not work here"),
    ],
)
def test_a_device_that_was_asked_for_and_does_not_work_is_an_error(device, behaviour, message, file, install):
    install(**behaviour)
    with pytest.raises(UsageError, match=message) as caught:
        Session(file, device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("release", "wheel"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 1", "pypi.jetson-ai-lab.io/jp6/cu126"),
        ("# R39 (release), REVISION: 2.0", "built for the board's GPU"),
        ("# R35 (release), REVISION: 4.1", "Python 3.8"),
        ("nothing", "built for the board's GPU"),
    ],
)
@pytest.mark.parametrize("behaviour", [{}, {CUDA: "fails"}])
def test_on_a_jetson_the_wheel_of_its_jetpack_is_named(release, wheel, behaviour, file, install, monkeypatch, tmp_path):
    install(**behaviour)
    told = tmp_path / "nv_tegra_release"
    told.write_text(release)
    monkeypatch.setattr(providers, "_JETSON_RELEASE", told)
    with pytest.raises(UsageError, match=wheel):
        Session(file, "cuda")


def test_nan_on_a_device_that_was_asked_for_is_an_error_that_names_it(file, install):
    install(**{TENSORRT: "gives NaN"})
    with pytest.raises(
        CheckpointError, match=r"gave NaN on device=tensorrt in half precision: 1 of 6 values.*half=False"
    ):
        Session(file, "tensorrt")


def _options(runtime, provider):
    """Return the options that the last session was given for a provider."""
    return dict(entry for entry in runtime.sessions[-1].asked if not isinstance(entry, str))[provider]


def test_tensorrt_keeps_its_engines_and_timings_for_one_file_and_version(file, install, tmp_path):
    runtime = install(**ALL)
    Session(file, "tensorrt:1")
    asked = _options(runtime, TENSORRT)
    assert [entry if isinstance(entry, str) else entry[0] for entry in runtime.sessions[-1].asked] == [
        TENSORRT,
        CUDA,
        CPU,
    ]
    assert asked["device_id"] == _options(runtime, CUDA)["device_id"] == 1
    assert asked["trt_fp16_enable"] is True
    assert asked["trt_int8_enable"] is False
    assert asked["trt_engine_cache_enable"]
    assert asked["trt_timing_cache_enable"]
    folder = Path(asked["trt_engine_cache_path"])
    assert folder.parent == Path(asked["trt_timing_cache_path"]) == tmp_path / "cache" / "tensorrt"
    assert folder.is_dir()
    assert folder.name.endswith("-ort1.20.1")
    file.write_bytes(b"another graph")
    Session(file, "tensorrt", half=False)
    assert _options(runtime, TENSORRT)["trt_engine_cache_path"] != str(folder)
    assert _options(runtime, TENSORRT)["trt_fp16_enable"] is False


def test_an_engine_that_has_to_be_built_is_announced(file, install, caplog):
    runtime = install(**ALL)
    Session(file, "tensorrt")
    assert "TensorRT builds its engine" in caplog.text
    folder = Path(_options(runtime, TENSORRT)["trt_engine_cache_path"])
    (folder / "graph_sm87.engine").touch()
    caplog.clear()
    Session(file, "tensorrt")
    assert not caplog.records


def test_tensorrt_computes_int8_where_the_file_does(file, install):
    runtime = install({**TOLD, "uavdet": '{"schema": 2, "precision": "int8"}'}, **ALL)
    Session(file, "tensorrt")
    assert _options(runtime, TENSORRT)["trt_int8_enable"] is True


def test_tensorrt_is_built_for_a_range_of_batches_where_the_file_leaves_them_open(file, install):
    runtime = install(shape=("batch", 3, 32, 64), **ALL)
    detector = Detector(file, "tensorrt", conf=0.0)
    shapes = {key[12:15]: value for key, value in _options(runtime, TENSORRT).items() if key.startswith("trt_profile")}
    assert shapes == {"min": "images:1x3x32x64", "opt": "images:1x3x32x64", "max": "images:8x3x32x64"}
    found = detector.detect([np.full((32, 64, 3), level, np.uint8) for level in range(1, 20)])
    np.testing.assert_allclose([each.scores[0] for each in found], np.arange(1, 20) / 255, rtol=1e-5)
    assert set(detector.session._opened.run.__self__._sets) == {1, 8, 3}


def test_cuda_computes_in_single_precision(file, install):
    runtime = install(**ALL)
    Session(file, "cuda")
    assert _options(runtime, CUDA)["use_tf32"] == 0


@pytest.mark.parametrize(
    ("device", "half", "expected"),
    [
        ("openvino", None, {"device_type": "CPU", "precision": "FP32", "num_of_threads": 2}),
        ("openvino:gpu", True, {"device_type": "GPU", "precision": "FP16"}),
        ("openvino:gpu", False, {"device_type": "GPU", "precision": "FP32"}),
    ],
)
def test_openvino_computes_in_single_precision_unless_told(device, half, expected, file, install):
    runtime = install(**ALL)
    assert Session(file, device, threads=2, half=half).half is bool(half)
    assert _options(runtime, OPENVINO) == expected


def test_half_precision_on_a_cpu_is_bf16(file, install):
    runtime = install(**ALL)
    Session(file, "openvino", half=True)
    assert "bf16" in _options(runtime, OPENVINO)["load_config"]
    assert "precision" not in _options(runtime, OPENVINO)


@pytest.mark.parametrize(("device", "behaviour"), [("cpu", ALL), ("cuda", ALL), (None, {}), (None, {CUDA: "works"})])
def test_half_precision_where_there_is_none_is_an_error(device, behaviour, file, install):
    install(**behaviour)
    with pytest.raises(UsageError, match="half=True has no effect"):
        Session(file, device, half=True)


@pytest.mark.parametrize("device", ["cuda:1", "tensorrt:1"])
def test_buffers_on_a_gpu_are_made_once(device, file, install):
    runtime = install(**ALL)
    detector = Detector(file, device, conf=0.0)
    scores = [detector(np.full((50, 70, 3), level, np.uint8)).scores[0] for level in (51, 102, 255)]
    np.testing.assert_allclose(scores, [0.2, 0.4, 1.0], rtol=1e-5)
    (bound,) = runtime.sessions[-1].bound
    assert bound.input.updates == 4  # the first run, then three images
    assert FakeValue.made == [("cuda", 1), ("cuda", 1)]


def test_a_run_that_fails_later_says_so_in_a_line(file, install):
    install(**{CUDA: "fails later"})
    detector = Detector(file, "cuda")
    with pytest.raises(CheckpointError, match="failed on device=cuda with a batch of 1: no kernel image"):
        detector(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("batch", [2, "batch"])
def test_bound_buffers_give_what_a_plain_run_gives(batch, tmp_path):
    """With the real ONNX Runtime, in the memory of the CPU."""
    session = open_on_cpu(write_network(tmp_path / "x.onnx", batch=batch, gain=0.5))
    buffers = BoundBuffers(session, 0, "cpu")
    rng = np.random.default_rng(0)
    for count in (2, 2) if batch == 2 else (1, 3, 1):
        images = rng.random((count, 3, 32, 64), dtype=np.float32)
        (given,), (expected,) = buffers.run(images), session.run(None, {"images": images})
        np.testing.assert_array_equal(given, expected)


def test_threads_of_the_cpu_do_not_spin(file, install, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    runtime = install()
    assert Session(file).batch == 1
    options = runtime.sessions[-1].options
    assert options.entries == {"session.intra_op.allow_spinning": "0"}
    assert options.intra_op_num_threads == 3
    Session(file, threads=1)
    assert runtime.sessions[-1].options.intra_op_num_threads == 1


@pytest.mark.parametrize(("module", "message"), [(None, "is not installed"), ("empty", "is installed in part")])
def test_a_missing_or_broken_onnx_runtime_is_named(module, message, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime") if module else None)
    with pytest.raises(MissingDependencyError, match=rf"{message}.*uavdet\[runtime\]"):
        Session(file)


def test_a_missing_onnx_runtime_on_a_jetson_names_its_wheel(file, monkeypatch, tmp_path):
    (tmp_path / "release").write_text("# R36 (release)")
    monkeypatch.setattr(providers, "_JETSON_RELEASE", tmp_path / "release")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"not installed\. This is a Jetson.*jp6/cu126"):
        Session(file)


@pytest.mark.parametrize(
    ("version", "machine", "cuda", "wrong"),
    [
        ("10.3.0", "aarch64", "12.6", None),
        ("10.13.3", "x86_64", "13.0", None),
        ("10.13.3", "aarch64", "13.0", "TensorRT 10.13.3 gives wrong boxes for RT-DETR on ARM with CUDA 13"),
        ("10.16.0", "aarch64", "13.2", None),
        ("10.2.0", "x86_64", "12.6", "TensorRT 10.2.0 is broken"),
        (None, "aarch64", "13.0", None),  # the provider itself says what is missing
    ],
)
def test_a_tensorrt_that_is_known_to_be_wrong_is_not_taken(
    version, machine, cuda, wrong, file, install, monkeypatch, caplog
):
    runtime = install(**ALL)
    runtime.cuda_version = cuda
    monkeypatch.setattr(providers, "tensorrt_version", lambda: version)
    monkeypatch.setattr(providers.platform, "machine", lambda: machine)
    assert Session(file).device == ("cuda" if wrong else "tensorrt")
    if wrong:
        assert wrong in caplog.text
        assert "Going on with device=cuda" in caplog.text
        with pytest.raises(UsageError, match=wrong) as caught:
            Session(file, "tensorrt")
        assert "\n" not in str(caught.value)
    else:
        Session(file, "tensorrt")


def test_a_tensorrt_that_was_reported_to_be_wrong_is_warned_of(file, install, monkeypatch, caplog):
    install(**ALL).cuda_version = "12.9"
    monkeypatch.setattr(providers, "tensorrt_version", lambda: "10.13.0")
    Session(file, "tensorrt")
    assert "TensorRT 10.13.0 was reported to compute deformable attention wrongly" in caplog.text


@pytest.mark.parametrize("cuda", ["13.0", None])
def test_the_version_of_cuda_comes_from_its_library_where_onnx_runtime_does_not_tell(cuda, file, install, monkeypatch):
    class Cuda:
        version = cuda

        def __init__(self):
            if cuda is None:
                raise MissingDependencyError("no libcudart")

    install(**ALL)
    monkeypatch.setattr(providers, "tensorrt_version", lambda: "10.9.0")
    monkeypatch.setattr(providers.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(providers, "CudaRuntime", Cuda)
    assert Session(file).device == ("cuda" if cuda else "tensorrt")


def test_the_version_of_tensorrt_is_read_from_its_library(monkeypatch):
    class Library:
        def __init__(self, name):
            assert name == "libnvinfer.so.10"

        def getInferLibVersion(self):  # noqa: N802 (TensorRT's name)
            return 100300

    assert providers.tensorrt_version() is None
    monkeypatch.setattr(providers.ctypes, "CDLL", Library)
    assert providers.tensorrt_version() == "10.3.0"
