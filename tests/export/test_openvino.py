"""Folders for OpenVINO: what they hold, that they agree with ONNX, and that nothing is sent anywhere."""

import importlib.util
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from tests.export.networks import assert_same_detections, detect, make_model, run_onnx
from uavdet import UAVDet
from uavdet.cli import main
from uavdet.errors import ExportError, MissingDependencyError, UsageError
from uavdet.export import flow, parity
from uavdet.export.backends import open_backend
from uavdet.export.flow import read_report
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.openvino import write_folder
from uavdet.runtime import Session

# not importorskip: to import OpenVINO by itself is what starts its telemetry
pytestmark = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    return make_model("so-detr-n", nc=4, queries=30)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("openvino") / "x_openvino_model"
    write_folder(model, out, NetworkOptions(imgsz=SIZE), {}, stem="x")
    return out


def images(count=1, size=SIZE):
    return np.random.default_rng(0).random((count, 3, *size), dtype=np.float32)


def test_a_folder_holds_what_ultralytics_reads(folder, model):
    from ultralytics.nn.backends.base import BaseBackend

    assert sorted(path.name for path in folder.iterdir()) == ["metadata.yaml", "x.bin", "x.xml"]
    told = BaseBackend.read_metadata(folder / "x.xml")
    assert told["names"] == model.names
    assert told["imgsz"] == list(SIZE)
    assert told["task"] == "detect"
    assert told["head"] == "RTDETRDecoder"


def test_ultralytics_runs_a_folder(folder, model):
    from ultralytics.nn.autobackend import AutoBackend

    from uavdet.runtime.openvino_package import import_openvino

    import_openvino()  # first, without its telemetry
    import torch

    backend = AutoBackend(str(folder), device=torch.device("cpu"))
    x = images()
    found = np.asarray(backend(torch.from_numpy(x)))
    assert backend.names == model.names
    assert_same_detections(found, detect(model, x), tolerance=0.03, share=0.5)  # in bf16 where the CPU can


@pytest.mark.parametrize(
    "settings",
    [{"output": "raw"}, {"output": "deepstream", "dynamic": True}, {"input": "uint8", "batch": 2}],
    ids=lambda settings: "-".join(settings),
)
def test_float32_agrees_with_onnx_runtime(settings, tmp_path):
    model = make_model("rtdetr-n", nc=4, queries=30)
    options = NetworkOptions(imgsz=SIZE, simplify=False, **settings)
    write_onnx(model, tmp_path / "x.onnx", options, {})
    write_folder(model, tmp_path / "x_openvino_model", options, {})
    count = 3 if options.dynamic else options.batch
    x = images(count)
    if options.input == "uint8":
        x = (x.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    backend = open_backend(tmp_path / "x_openvino_model")
    assert backend.size == SIZE
    assert backend.batch == (None if options.dynamic else count)
    assert backend.pictures == (options.input == "uint8")
    found, expected = backend(x), run_onnx(tmp_path / "x.onnx", x)
    assert [part.shape for part in found] == [part.shape for part in expected]
    scores = -1 if options.output == "raw" else 0
    column = slice(None) if options.output == "raw" else slice(4, 5)
    for given, wanted in zip(found[scores][..., column], expected[scores][..., column], strict=True):
        np.testing.assert_allclose(np.sort(given.ravel()), np.sort(wanted.ravel()), atol=1e-4)


def test_what_rounding_would_spoil_is_marked_precise(folder):
    layers = ElementTree.parse(folder / "x.xml").findall("layers/layer")
    marked = {layer.get("name") for layer in layers if layer.find("rt_info/attribute[@name='precise']") is not None}
    for part in ("/grids/", "/refinements.2/", "/score_head/", "/selection/", "/outputs/"):
        assert [name for name in marked if part in name], part
    assert not [name for name in marked if name.startswith(("/detector/stage", "/detector/p3", "/detector/encoder"))]
    assert not [layer for layer in layers if layer.get("type") == "Const" and layer.get("name") in marked]


def test_the_mark_keeps_float32(model, folder):
    """OpenVINO tells the precision of what it runs; a mark that it did not read would change nothing."""
    from uavdet.runtime.openvino_package import import_openvino
    from uavdet.runtime.openvino_session import computes_bf16

    core = import_openvino().Core()
    if not computes_bf16(core):
        pytest.skip("this CPU does not compute in bf16")
    compiled = core.compile_model(str(folder / "x.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    precisions = {
        node.get_friendly_name(): str(node.get_rt_info()["runtimePrecision"].astype(str))
        for node in compiled.get_runtime_model().get_ops()
    }
    heads = {kind for name, kind in precisions.items() if "/score_head/" in name and "MatMul" in name}
    stages = {kind for name, kind in precisions.items() if "/detector/stage3" in name and "Conv" in name}
    assert heads == {"f32"}
    assert stages == {"bf16"}


@pytest.mark.parametrize("half", [False, True])
def test_the_command_writes_a_proven_folder(half, tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "_IMAGES", {})  # as few as for others
    out = tmp_path / "demo_openvino_model"
    words = ["export", "format=openvino", "imgsz=128", f"half={half}", f"out={out}", "parity=True"]
    assert main(words) == 0
    report = read_report(out)
    assert report["passed"]
    assert report["precision"] == ("bf16" if half else "fp32")
    assert report["file"] == str(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.parity.json"]
    own = yaml.safe_load((out / "metadata.yaml").read_text())["uavdet"]
    assert f'"precision": "{report["precision"]}"' in own
    if half:
        weights = (out / "demo.bin").stat().st_size
        assert weights < 0.6 * 4 * sum(parameter.numel() for parameter in UAVDet().module.parameters())


def test_an_earlier_folder_is_replaced_and_a_stranger_kept(model, not_slimmed, tmp_path):
    out = tmp_path / "x_openvino_model"
    small = UAVDet("rtdetr-n.yaml", queries=20)
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"exists, and is no folder of an earlier export"):
        small.export(format="openvino", imgsz=64, parity=False, out=str(out))
    assert (out / "thesis.tex").is_file()
    (out / "thesis.tex").rename(out / "metadata.yaml")
    small.export(format="openvino", imgsz=64, parity=False, out=str(out))
    assert Session(out).imgsz == (64, 64)


def test_a_folder_that_differs_is_rejected(not_slimmed, tmp_path, monkeypatch):
    real = parity.check_parity
    earlier = tmp_path / "x_openvino_model.rejected"
    earlier.mkdir()
    (earlier / "old.xml").touch()
    small = UAVDet("rtdetr-n.yaml", queries=20)
    other = make_model("rtdetr-n", seed=1, nc=80, queries=20)
    monkeypatch.setattr(flow, "_FEW_IMAGES", 2)
    monkeypatch.setattr(parity, "check_parity", lambda module, file, **given: real(other, file, **given))
    with pytest.raises(ExportError, match=r"was named x_openvino_model.rejected"):
        small.export(format="openvino", imgsz=64, out=str(tmp_path / "x_openvino_model"))
    assert not (earlier / "old.xml").exists(), "of an earlier export"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["x_openvino_model.rejected", "x_openvino_model.rejected.parity.json"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["out=x.onnx"], 2, "does not end in _openvino_model, but format=openvino"),
        (["opset=17"], 2, "'opset' has no effect on format=openvino"),
        (["workspace=2"], 2, "'workspace' has no effect on format=openvino"),
        (["int8=True"], 2, "int8=True needs images"),
    ],
)
def test_wrong_commands_get_one_line(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "format=openvino", "model=rtdetr-n.yaml", "queries=20", "imgsz=64", *words]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.iterdir())


def test_without_openvino_the_extra_is_named(model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"openvino is not installed.*pip install 'uavdet\[openvino\]'"):
        write_folder(model, tmp_path / "x_openvino_model", NetworkOptions(imgsz=SIZE), {})
    assert not list(tmp_path.iterdir())


_WATCHED = """
import multiprocessing, os, socket, subprocess, sys, threading, urllib.request
calls = []
for owner, name in ((socket, "create_connection"), (socket, "getaddrinfo"), (urllib.request, "urlopen"),
                    (multiprocessing, "Process"), (subprocess, "Popen"), (os, "fork")):
    def refuse(*args, _name=name, **kwargs):
        calls.append(_name)
        raise OSError("no network in this test")
    setattr(owner, name, refuse)
from uavdet.runtime import Session
session = Session(sys.argv[1])
session.warm_up(1)
import numpy
from openvino.tools.ovc import telemetry_utils
print([calls, [thread.name for thread in threading.enumerate()], "openvino_telemetry" in sys.modules,
       telemetry_utils.tm.__name__])
"""


def test_openvino_sends_nothing_and_leaves_nothing(folder, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "", "PYTHONPATH": str(__file__).rpartition("/tests/")[0]}
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(folder)], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.strip() == "[[], ['MainThread'], False, 'openvino.tools.ovc.telemetry_stub']", done.stderr
    assert not list(home.iterdir()), "no consent file, no identifier"
