"""Engines: how they are asked for, what they are bound to, and that they are proven, on a device that is a stand-in."""

import ctypes
import json
import sys

import numpy as np
import onnx
import pytest

from uavdet import UAVDet
from uavdet.errors import CheckpointError, ExportError, MissingDependencyError, UsageError
from uavdet.export.backends import open_backend
from uavdet.export.cuda_memory import CudaRuntime, load_cuda
from uavdet.export.engine_file import hash_file, read_engine_file, sidecar_of, write_engine_file
from uavdet.export.flow import export_proven, read_report
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.registry import FORMATS
from uavdet.export.samples import read_samples
from uavdet.export.tensorrt import write_engine
from uavdet.export.tensorrt_build import BuildSettings, build_engine, import_tensorrt
from uavdet.export.tensorrt_engine import Engine
from uavdet.export.tensorrt_precision import keep_float32

from . import device
from .networks import make_model, run_onnx

SIZE = (64, 96)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return device.build_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def model():
    return make_model("so-detr-n")


@pytest.fixture(scope="module")
def graph(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("graph") / "x.onnx"
    write_onnx(model, file, NetworkOptions(imgsz=SIZE, dynamic=True, simplify=False), {})
    return file


def build(trt, graph, **settings):
    """Build, and return what TensorRT was asked for."""
    build_engine(trt, graph, BuildSettings(**settings))
    return trt.BUILDS[-1]


def flags(asked):
    return {flag.name for flag in asked.config.flags}


@pytest.mark.parametrize(
    ("version", "precision", "strong", "expected", "network_flags"),
    [
        ("8.6.2", "fp32", None, set(), 1),
        ("8.6.2", "fp16", None, {"FP16", "OBEY_PRECISION_CONSTRAINTS"}, 1),
        ("10.3.0", "fp32", None, set(), 0),
        ("10.3.0", "fp16", None, {"FP16", "OBEY_PRECISION_CONSTRAINTS"}, 0),
        ("10.16.0", "fp16", True, set(), 2),
        ("11.4.1", "fp16", None, set(), 2),
    ],
)
def test_precision_is_asked_for_as_each_version_wants_it(
    version, precision, strong, expected, network_flags, graph, library, monkeypatch
):
    trt = device.install(monkeypatch, library, version)
    scopes = frozenset({"dual_domain", "score_head"})
    asked = build(trt, graph, precision=precision, strongly_typed=strong, float32_scopes=scopes)
    assert flags(asked) == expected  # without TF32, always
    assert asked.network.flags == network_flags
    constrained = [layer for layer in asked.network.layers if hasattr(layer, "precision")]
    assert bool(constrained) == ("FP16" in expected)


def test_tensorrt_8_has_no_strong_typing(graph, library, monkeypatch):
    trt = device.install(monkeypatch, library, "8.6.2")
    with pytest.raises(UsageError, match=r"TensorRT 8\.6\.2 has no strong typing"):
        build(trt, graph, precision="fp16", strongly_typed=True)


def test_what_stays_in_float32(graph, library, monkeypatch):
    trt = device.install(monkeypatch, library)
    asked = build(trt, graph, precision="fp16", float32_scopes=frozenset({"dual_domain", "score_head"}))
    kept = {layer.name for layer in asked.network.layers if getattr(layer, "precision", None) == trt.float32}
    assert all(0 in layer.output_types for layer in asked.network.layers if layer.name in kept)
    nodes = [(node.name, node.op_type) for node in onnx.load(str(graph)).graph.node]
    for name, operator in nodes:
        if operator in {"LayerNormalization", "Softmax", "GridSample"} or (
            operator == "MatMul" and "/dual_domain/" in name
        ):
            assert name in kept, name
        if operator == "Conv" and "/stem" in name:
            assert name not in kept, name
    assert {name for name, operator in nodes if "/score_head/" in name and operator == "MatMul"} <= kept
    assert not {name for name, operator in nodes if operator in {"Shape", "Constant"}} & kept


def test_a_parser_that_keeps_no_names_is_refused(graph, library, monkeypatch):
    trt = device.install(monkeypatch, library)
    network = trt.Builder(None).create_network(0)
    trt.OnnxParser(network, None).parse_from_file(str(graph))
    assert keep_float32(trt, network, ())
    for layer in network.layers:
        layer.name = "unnamed"
    with pytest.raises(UsageError, match="kept no name of the network's modules"):
        keep_float32(trt, network, {"score_head"})
    network.layers[0].metadata = "[ONNX Layer: /detector/decoder/score_head/head/MatMul]"
    keep_float32(trt, network, {"score_head"})


def test_open_batches_get_a_range(graph, library, monkeypatch):
    trt = device.install(monkeypatch, library)
    for batch, largest in ((1, 8), (4, 8), (12, 12)):
        (profile,) = build(trt, graph, batch=batch).config.profiles
        assert profile.shapes == {"images": ((1, 3, *SIZE), (batch, 3, *SIZE), (largest, 3, *SIZE))}


def test_workspace_and_timing_cache(graph, library, monkeypatch, tmp_path):
    trt = device.install(monkeypatch, library)
    cache = tmp_path / "a" / "timing.cache"
    first = build(trt, graph, workspace=1.5, timing_cache=cache)
    assert list(first.config.pools.values()) == [3 << 29]
    assert first.config.cache.content == b""
    assert cache.read_bytes() == b"measured"
    second = build(trt, graph, timing_cache=cache)
    assert second.config.cache.content == b"measured"
    assert not second.config.pools
    cache.write_bytes(b"of another version")
    assert build(trt, graph, timing_cache=cache).config.cache.content == b""


def test_int8_needs_quantizers(graph, library, monkeypatch, tmp_path):
    trt = device.install(monkeypatch, library)
    with pytest.raises(UsageError, match="precision int8 needs a graph with QuantizeLinear"):
        build(trt, graph, precision="int8")
    content = onnx.load(str(graph))
    content.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"], name="q"))
    quantized = tmp_path / "q.onnx"
    onnx.save(content, str(quantized))
    assert flags(build(trt, quantized, precision="int8")) == {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}
    trt = device.install(monkeypatch, library, "11.4.1")
    assert flags(build(trt, quantized, precision="int8")) == set()


def test_a_graph_that_tensorrt_does_not_read(graph, library, monkeypatch, tmp_path):
    trt = device.install(monkeypatch, library)
    content = onnx.load(str(graph))
    content.graph.node.append(onnx.helper.make_node("DFT", ["images"], ["d"], name="the_transform"))
    onnx.save(content, str(tmp_path / "d.onnx"))
    with pytest.raises(
        ExportError, match=r"TensorRT 10.3.0.30 cannot read 'd.onnx': DFT \('the_transform'\): no importer"
    ):
        build(trt, tmp_path / "d.onnx")


def test_a_build_that_fails_says_why(graph, library, monkeypatch):
    trt = device.install(monkeypatch, library)
    monkeypatch.setattr(trt.Network, "strong", True)
    with pytest.raises(ExportError, match=r"cannot build 'x\.onnx': precision flags in a strongly typed network"):
        build(trt, graph, precision="fp16")


# The whole way, with the parity gate


@pytest.fixture(scope="module")
def content(model, library, tmp_path_factory):
    """Return an engine file's content."""
    folder = tmp_path_factory.mktemp("engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UAVDET_CACHE", str(folder))
        device.install(patch, library)
        write_engine(model, folder / "x.engine", NetworkOptions(imgsz=SIZE, simplify=False), {})
    return (folder / "x.engine").read_bytes()


@pytest.fixture
def few_images(monkeypatch):
    """Let the gate compare on three images."""
    monkeypatch.setattr(
        "uavdet.export.parity.read_samples", lambda names, size, data, _: read_samples(names, size, data, 3)
    )


@pytest.fixture
def engine(content, library, monkeypatch, tmp_path):
    """Return an engine file that was built for the stand-in, and a function that installs another device."""
    device.install(monkeypatch, library)
    file = tmp_path / "best.engine"
    file.write_bytes(content)
    return file, lambda **settings: device.install(monkeypatch, library, **settings)


@pytest.mark.parametrize(
    ("version", "options"), [("10.3.0", {"half": True}), ("11.4.1", {"half": True, "dynamic": True})]
)
def test_engines_are_built_and_proven(version, options, library, few_images, monkeypatch, tmp_path):
    model = UAVDet().module  # of weights that know something: half precision moves the queries of random ones
    monkeypatch.setenv("UAVDET_CACHE", str(tmp_path / "cache"))
    trt = device.install(monkeypatch, library, version, machine="x86_64")
    file = export_proven(
        model,
        FORMATS["engine"],
        tmp_path / "best.engine",
        NetworkOptions(imgsz=(96, 128), simplify=False, **options),
        {},
    )
    report = read_report(file)
    assert report["passed"]
    assert report["images"] == 3
    network = trt.BUILDS[-1].network
    assert any(layer.get_output(0).dtype == trt.float16 for layer in network.layers) == (version == "11.4.1")
    _, metadata = read_engine_file(file)
    assert metadata["uavdet"]["precision"] == ("fp16" if "half" in options else "fp32")
    assert metadata["uavdet"]["engine"]["tensorrt"] == version
    assert list((tmp_path / "cache" / "tensorrt").glob("timing-*-sm8.7.cache"))


def test_an_engine_that_computes_wrongly_is_rejected(model, library, few_images, monkeypatch, tmp_path):
    monkeypatch.setenv("UAVDET_CACHE", str(tmp_path / "cache"))
    trt = device.install(monkeypatch, library)
    run = trt.Context.execute_async_v3

    def swapped(self, stream):
        address = self.addresses["images"]
        size = int(np.prod(self.shape))
        values = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (size,)).reshape(
            self.shape
        )
        values[:] = values[:, :, ::-1].copy()
        return run(self, stream)

    monkeypatch.setattr(trt.Context, "execute_async_v3", swapped)
    with pytest.raises(ExportError, match=r"does not agree with its weights and was named best.engine.rejected"):
        export_proven(
            model, FORMATS["engine"], tmp_path / "best.engine", NetworkOptions(imgsz=SIZE, simplify=False), {}
        )
    assert not (tmp_path / "best.engine").exists()
    assert (tmp_path / "best.engine.rejected").is_file()


def test_an_opened_engine_gives_what_its_graph_gives(engine, tmp_path):
    file, _ = engine
    backend = open_backend(file)
    assert (backend.size, backend.batch, backend.pictures) == (SIZE, 1, False)
    plan, _ = read_engine_file(file)
    (tmp_path / "x.onnx").write_bytes(plan[6:])
    images = np.random.default_rng(0).random((1, 3, *SIZE), dtype=np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(backend(images)[0], run_onnx(tmp_path / "x.onnx", images)[0])
    with pytest.raises(UsageError, match=r"The engine takes \(1, 3, 64, 96\), not \(2, 3, 64, 96\)"):
        backend(np.concatenate([images, images]))


def test_batches_of_several_sizes(model, library, monkeypatch, tmp_path):
    monkeypatch.setenv("UAVDET_CACHE", str(tmp_path / "cache"))
    device.install(monkeypatch, library)
    file = tmp_path / "x.engine.tmp"
    write_engine(model, file, NetworkOptions(imgsz=SIZE, dynamic=True, output="raw", simplify=False), {})
    backend = open_backend(file)
    assert backend.batch is None
    images = np.random.default_rng(0).random((8, 3, *SIZE), dtype=np.float32)
    boxes, scores = backend(images)
    assert boxes.shape == (8, 30, 4)
    assert scores.shape == (8, 30, 3)
    for count in (1, 3):
        for got, wanted in zip(backend(images[:count]), (boxes, scores), strict=True):
            np.testing.assert_allclose(np.sort(got, 1), np.sort(wanted[:count], 1), atol=1e-5)
    with pytest.raises(UsageError, match="The engine takes"):
        backend(np.concatenate([images, images]))


def test_ultralytics_reads_the_header(engine):
    from ultralytics.nn.backends.base import BaseBackend

    file, _ = engine
    offset, metadata = BaseBackend.engine_header(file)
    assert file.read_bytes()[offset:].startswith(b"ENGINE")
    assert {int(key): name for key, name in metadata["names"].items()} == {0: "0", 1: "1", 2: "2"}
    assert metadata["imgsz"] == list(SIZE)
    assert metadata["task"] == "detect"
    assert metadata["stride"] == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sm": "110"}, "is an engine of another GPU: it was built for compute capability 8.7, and this GPU has 11.0"),
        ({"version": "10.16.0"}, "was built by TensorRT 10.3.0.30, and this is 10.16.0"),
        ({"cuda": "13020"}, "was built with CUDA 12.6, and this is 13.2"),
    ],
)
def test_engines_of_another_device(settings, message, engine):
    file, install = engine
    install(machine="x86_64", **settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_backend(file)
    assert "Build it here: uavdet export model=best.pt format=engine" in str(caught.value)


def test_another_build_of_the_same_version_is_taken(engine):
    file, install = engine
    install(version="10.3.0.26", cuda="12050")
    assert open_backend(file).batch == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: None, "does not exist"),
        (lambda content: b"", "is empty"),
        (lambda content: content[:3], "does not say which TensorRT and GPU"),
        (lambda content: b"ENGINE" + bytes(200), "does not say which TensorRT and GPU"),
        (lambda content: content[:100], "does not say which TensorRT and GPU"),
        (lambda content: content[: 4 + int.from_bytes(content[:4], "little")], "its engine is missing"),
        (lambda content: content[: 50 + int.from_bytes(content[:4], "little")], "is damaged: magic tag"),
        (lambda content: (2).to_bytes(4, "little") + b"{}" + content, "does not say which TensorRT and GPU"),
    ],
)
def test_damaged_engines(damage, message, engine):
    file, _ = engine
    content = damage(file.read_bytes())
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_backend(file)


def test_bare_engines_have_their_metadata_beside_them(engine):
    file, _ = engine
    plan, metadata = read_engine_file(file)
    bare = file.with_name("bare.engine")
    write_engine_file(bare, plan, metadata, bare=True)
    assert bare.read_bytes() == plan
    assert read_engine_file(bare) == (plan, metadata)
    assert open_backend(bare).size == SIZE
    sidecar_of(bare).write_text("{}")
    with pytest.raises(CheckpointError, match="does not say which TensorRT"):
        read_engine_file(bare)


def test_the_graph_is_known_by_its_hash(engine, model, tmp_path):
    file, _ = engine
    plan, metadata = read_engine_file(file)
    (tmp_path / "x.onnx").write_bytes(plan[6:])
    assert len(hash_file(tmp_path / "x.onnx")) == 64
    assert len(metadata["uavdet"]["engine"]["onnx_sha256"]) == 64
    with pytest.raises(CheckpointError, match="was built from another ONNX file"):
        Engine(file, import_tensorrt(), CudaRuntime(), onnx_sha256="0" * 64)


# Computers that cannot build


def test_without_tensorrt(model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        MissingDependencyError, match=r"tensorrt is not installed here\. Engines are built on the device"
    ):
        write_engine(model, tmp_path / "x.engine", NetworkOptions(imgsz=SIZE, simplify=False), {})


def test_without_a_gpu(model, library, monkeypatch, tmp_path):
    device.install(monkeypatch, library)
    monkeypatch.setenv("FAKE_NO_GPU", "1")
    with pytest.raises(UsageError, match=r"No NVIDIA GPU works here \(CUDA error 35\).*format=jetson"):
        write_engine(model, tmp_path / "x.engine", NetworkOptions(imgsz=SIZE, simplify=False), {})


def test_without_cuda(monkeypatch):
    monkeypatch.setattr("uavdet.export.cuda_memory._LIBRARIES", ("libnot_there.so",))
    with pytest.raises(MissingDependencyError, match="CUDA's runtime library"):
        load_cuda()


def test_versions_that_are_known_to_be_wrong_build_nothing(model, library, monkeypatch, tmp_path):
    trt = device.install(monkeypatch, library, "10.13.3", cuda="13000")
    with pytest.raises(UsageError, match="gives wrong boxes for RT-DETR on ARM with CUDA 13"):
        write_engine(model, tmp_path / "x.engine", NetworkOptions(imgsz=SIZE, simplify=False), {})
    assert not trt.BUILDS
    device.install(monkeypatch, library, "8.6.2")
    with pytest.raises(UsageError, match=r"opset=18 is not possible with TensorRT 8\.6\.2"):
        write_engine(model, tmp_path / "x.engine", NetworkOptions(imgsz=SIZE, opset=18), {})


def test_memory_of_the_gpu(library, monkeypatch):
    device.install(monkeypatch, library, sm="89", cuda="13020")
    cuda = CudaRuntime()
    assert (cuda.version, cuda.compute_capability) == ("13.2", "8.9")
    given, back = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    address = cuda.allocate(given.nbytes)
    cuda.copy_to_device(address, given)
    cuda.copy_to_host(back, address)
    np.testing.assert_array_equal(back, given)
    cuda.free(address)
    cuda.synchronize(cuda.create_stream())
    with pytest.raises(UsageError, match="cudaStreamSynchronize gave error 400"):
        cuda.synchronize(0)


def test_the_header_is_plain_json(engine):
    file, _ = engine
    content = file.read_bytes()
    length = int.from_bytes(content[:4], "little")
    ours = json.loads(content[4 : 4 + length])["uavdet"]
    assert ours["output"] == "detections"
    assert ours["preprocessing"]["resize"] == "stretch"
    assert ours["engine"]["cuda"] == "12.6"
