"""The folder for a Jetson: complete, free of PyTorch, and run as far as it can be run without one."""

import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from uavdet import UAVDet
from uavdet.errors import ExportError, UsageError
from uavdet.export import parity as gate
from uavdet.export.jetson import LAYOUTS, write_jetson
from uavdet.export.network import NetworkOptions
from uavdet.export.parity_report import ParityReport
from uavdet.export.tolerances import TOLERANCES

from . import device

OPTIONS = NetworkOptions(imgsz=(96, 128), simplify=False)
STUB = Path(__file__).parent / "deepstream_stub"


@pytest.fixture(scope="module")
def model():
    return UAVDet().module


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    return write_jetson(model, tmp_path_factory.mktemp("out") / "best.jetson", OPTIONS, {}, parity=False, data=None)


@pytest.fixture
def folder(made, tmp_path):
    """Return a copy, as on another computer."""
    return Path(shutil.copytree(made, tmp_path / "copied"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return device.build_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def jetson(tmp_path, library):
    """Return a function that runs a script where neither PyTorch nor uavdet, but TensorRT's stand-in is installed."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("torch", "ultralytics", "uavdet", "cv2"):
        (packages / f"{name}.py").write_text("raise ImportError(f'{__name__} is not for this computer')\n")

    def run(script, *arguments, tensorrt=None, **settings):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
        environment |= {"LD_LIBRARY_PATH": str(library.parent), **settings}
        if tensorrt:
            shutil.copyfile(Path(__file__).with_name("fake_tensorrt.py"), packages / "tensorrt.py")
            environment["FAKE_TENSORRT_VERSION"] = tensorrt
        command = [sys.executable, str(script), *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_the_folder_is_complete(made):
    names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert {f"{layout}{suffix}.onnx" for layout in LAYOUTS for suffix in ("", "_fp16")} <= names
    assert {
        "README.txt",
        "build_engine.py",
        "build_engine.sh",
        "smoke_test.py",
        "smoke_images.npy",
        "export.json",
    } <= names
    assert {"deepstream/uavdet_parser.cpp", "deepstream/Makefile", "deepstream/config_infer.txt", "labels.txt"} <= names
    assert (made / "labels.txt").read_text().splitlines() == list(UAVDet().names.values())
    assert os.access(made / "build_engine.sh", os.X_OK)
    assert not list(made.parent.glob(".*"))


def test_the_layers_of_float32_are_nodes_of_the_graph(made):
    for layout in LAYOUTS:
        names = {node.name for node in onnx.load(str(made / f"{layout}.onnx")).graph.node}
        listed = [entry.rsplit(":", 1) for entry in (made / f"float32_layers_{layout}.txt").read_text().split(",")]
        assert {precision for _, precision in listed} == {"fp32"}
        assert {name for name, _ in listed} <= names
        assert any("score_head" in name for name, _ in listed)
        assert any(name.endswith("LayerNormalization") for name, _ in listed)


def test_nothing_in_it_imports_more_than_numpy(made):
    allowed = {
        "argparse",
        "json",
        "sys",
        "time",
        "pathlib",
        "typing",
        "collections",
        "dataclasses",
        "ctypes",
        "hashlib",
        "os",
        "shutil",
    }
    allowed |= {"platform", "re", "difflib", "__future__", "numpy", "onnxruntime", "tensorrt", "uavdet_engine"}
    for script in made.rglob("*.py"):
        found = re.findall(r"^\s*(?:from|import) (\w+)", script.read_text(), re.MULTILINE)
        assert set(found) <= allowed, script


def test_what_the_readme_says(made):
    text = (made / "README.txt").read_text()
    assert "On a Jetson nothing of this folder was run" in text
    assert "were NOT compared" in text  # this folder was written with parity=False
    for version in ("6.0", "6.2", "7.0", "7.2"):
        assert f"JetPack {version} (" in text
    assert "from memory" in text
    assert "$" not in text.replace("$PATH", "")
    assert "(1, 3, 96, 128)" in text


def test_the_settings_of_deepstream(made):
    parser = configparser.ConfigParser()
    parser.read(made / "deepstream" / "config_infer.txt")
    settings = parser["property"]
    assert settings["infer-dims"] == "3;96;128"
    assert float(settings["net-scale-factor"]) == pytest.approx(1 / 255, rel=1e-9)
    assert settings["num-detected-classes"] == str(len(UAVDet().names))
    assert settings["cluster-mode"] == "2"
    assert settings["maintain-aspect-ratio"] == "0"
    assert "onnx-file" not in settings
    assert settings["parse-bbox-func-name"] in (made / "deepstream" / "uavdet_parser.cpp").read_text()


def test_the_smoke_test_passes_in_onnx_runtime(folder, jetson):
    for name in ("", "detections_fp16.onnx", "deepstream.onnx"):
        done = jetson(folder / "smoke_test.py", *([folder / name] if name else []))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "PASSED" in done.stdout
        assert "CPUExecutionProvider" in done.stdout


@pytest.mark.parametrize(("fault", "code", "message"), [(1.5, 1, "FAILED"), (float("nan"), 1, "gives NaN or infinity")])
def test_the_smoke_test_finds_a_fault(fault, code, message, folder, jetson):
    graph = onnx.load(str(folder / "detections.onnx"))
    tensor = next(one for one in graph.graph.initializer if len(one.dims) == 4)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(fault), tensor.name))
    onnx.save(graph, str(folder / "detections.onnx"))
    done = jetson(folder / "smoke_test.py")
    assert done.returncode == code
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("version", "graph"), [("10.3.0", "detections_fp16.onnx"), ("8.6.2", "detections.onnx")])
def test_engines_are_built_and_tested_on_a_device(version, graph, folder, jetson):
    done = jetson(folder / "build_engine.py", "detections", tensorrt=version)
    assert done.returncode == 0, done.stderr
    assert "Building detections.engine in fp16 for SM 8.7" in done.stdout
    engine = folder / "detections.engine"
    assert onnx.load_from_string(engine.read_bytes()[6:]) == onnx.load(str(folder / graph))  # the stand-in keeps it
    metadata = json.loads((folder / "detections.engine.json").read_text())
    assert metadata["uavdet"]["engine"]["sm"] == "8.7"
    assert metadata["uavdet"]["engine"]["onnx_sha256"] == hashlib.sha256((folder / graph).read_bytes()).hexdigest()
    done = jetson(folder / "smoke_test.py", tensorrt=version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"TensorRT {version} on SM 8.7" in done.stdout
    done = jetson(folder / "smoke_test.py", tensorrt=version, FAKE_SM="110")
    assert done.returncode == 4
    assert "is an engine of another GPU" in done.stderr
    (folder / graph).write_bytes((folder / graph).read_bytes() + b"\x00")
    assert "was built from other ONNX files" in jetson(folder / "smoke_test.py", tensorrt=version).stderr


def test_a_device_on_which_tensorrt_is_wrong(folder, jetson):
    done = jetson(folder / "build_engine.py")
    assert done.returncode == 6
    assert "tensorrt is not installed here" in done.stderr
    done = jetson(folder / "build_engine.py", tensorrt="10.2.0")
    assert done.returncode == 2
    assert "TensorRT 10.2.0 is broken" in done.stderr
    assert jetson(folder / "build_engine.py", "raw").returncode == 2


@pytest.fixture
def trtexec(folder, tmp_path):
    """Return a function that runs build_engine.sh among stand-ins, and returns what trtexec was given as well."""
    tools = tmp_path / "tools"
    tools.mkdir()

    def tool(name, text):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)

    tool("trtexec", f'printf "%s\\n" "$@" >> {tmp_path}/given; echo . >> {tmp_path}/given')
    tool("uname", "echo aarch64")
    tool("python3", "exit 1")

    def run(version, *arguments):
        tool("dpkg-query", f"echo; echo {version}" if version else "exit 1")
        environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
        script = folder / "build_engine.sh"
        done = subprocess.run(["sh", script, *arguments], env=environment, capture_output=True, text=True)
        given = (tmp_path / "given").read_text().split("\n.\n") if (tmp_path / "given").is_file() else []
        return done, [part.split("\n") for part in given if part]

    return run


@pytest.mark.parametrize(
    ("version", "precision", "graph", "present", "absent"),
    [
        ("8.6.2.3-1+cuda12.2", "fp16", "detections.onnx", "--fp16", "--stronglyTyped"),
        ("10.3.0.30-1+cuda12.5", "fp16", "detections_fp16.onnx", "--stronglyTyped", "--fp16"),
        ("10.16.0.72-1+cuda13.2", "fp16", "detections_fp16.onnx", "--stronglyTyped", "--fp16"),
        ("10.3.0.30-1+cuda12.5", "fp32", "detections.onnx", "--noTF32", "--stronglyTyped"),
        ("11.4.1.9-1+cuda13.2", "fp16", "detections_fp16.onnx", "--noTF32", "--fp16"),
    ],
)
def test_what_trtexec_is_asked_for(version, precision, graph, present, absent, trtexec, folder):
    done, (first, second) = trtexec(version, precision)
    assert done.returncode == 0, done.stderr
    assert {f"--onnx={graph}", "--saveEngine=detections.engine", "--skipInference", present} <= set(first)
    assert f"--onnx={graph.replace('detections', 'deepstream')}" in second
    assert not any(argument.startswith((absent, "--minShapes")) for argument in first)
    layers = (folder / "float32_layers_detections.txt").read_text()
    assert (f"--layerPrecisions={layers}" in first) == version.startswith("8.6")


@pytest.mark.parametrize(
    ("version", "arguments", "message"),
    [
        ("10.13.3.9-1+cuda13.0", [], "gives wrong boxes for RT-DETR on ARM with CUDA 13"),
        ("10.9.0.1-1+cuda13.0", [], "gives wrong boxes"),
        ("10.2.0.19-1+cuda12.5", [], "TensorRT 10.2.0 is broken"),
        ("9.1.0", [], "is not supported"),
        ("", [], "version of TensorRT is not known"),
        ("10.3.0", ["int8"], "'int8' is unknown"),
    ],
)
def test_what_the_shell_script_refuses(version, arguments, message, trtexec):
    done, given = trtexec(version, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not given


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
    """Return a program that runs the parser."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    from uavdet.export import jetson_files

    program = tmp_path_factory.mktemp("parser") / "run_parser"
    sources = [Path(jetson_files.__file__).with_name("uavdet_parser.cpp"), STUB / "run_parser.cpp"]
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STUB}", *sources, "-o", program]
    subprocess.run(command, check=True)
    return program


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2 1 6 3 0   10 20 30 50 0.9 2", ["2 10 20 20 30 0.9"]),
        ("3 1 2 6 3 0   0 0 5 5 0.25 0   0 0 5 5 0.249 0", ["0 0 0 5 5 0.25"]),
        ("2 2 6 3 0   -9 -9 700 400 0.5 1   700 10 720 20 0.5 1", ["1 0 0 640 384 0.5"]),  # clipped; outside
        ("2 3 6 3 0   1 1 2 2 0.9 3   1 1 2 2 0.9 -1   nan 1 2 2 0.9 0", []),  # labels and numbers that are none
        ("2 1 6 3 0   5 5 5 9 0.9 0", []),
        ("2 1 5 3 0   1 1 2 2 0.9", ["refused"]),
        ("3 2 1 6 3 0   1 1 2 2 0.9 0 1 1 2 2 0.9 0", ["refused"]),
        ("1 6 3 0   1 1 2 2 0.9 0", ["refused"]),
        ("2 1 6 3 1   1 1 2 2 0.9 0", ["refused"]),  # half precision
    ],
)
def test_the_parser_of_deepstream(given, expected, parser):
    done = subprocess.run([parser], input=given, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == expected
    assert ("Build it from deepstream.onnx" in done.stderr) == (expected == ["refused"])


# The export itself


@pytest.fixture
def quick(monkeypatch):
    """Replace what takes long: graphs are one byte, and the gate passes and counts."""
    seen = []

    def write(model, file, options, meta):
        file.write_bytes(b"x")

    def check(model, file, *, precision, output, **_):
        seen.append((output, precision))
        failures = ("a box has IoU 0",) if quick_fails else ()
        return ParityReport(str(file), precision, output, TOLERANCES[precision], failures=failures)

    quick_fails = []
    monkeypatch.setattr("uavdet.export.onnx.write_onnx", write)
    monkeypatch.setattr("uavdet.export.jetson.float32_nodes", lambda graph, scopes: [])
    monkeypatch.setattr("uavdet.export.jetson.onnx.load", lambda file: None)
    monkeypatch.setattr(gate, "check_parity", check)
    return seen, quick_fails


def test_every_graph_passes_the_gate(quick, model, tmp_path):
    seen, _ = quick
    out = write_jetson(model, tmp_path / "a.jetson", OPTIONS, {}, parity=True, data=None)
    assert set(seen) == {(layout, precision) for layout in LAYOUTS for precision in ("fp32", "fp16")}
    report = json.loads((out / "deepstream_fp16.onnx.parity.json").read_text())
    assert report["file"] == "deepstream_fp16.onnx"
    assert "was compared with the weights" in (out / "README.txt").read_text()


def test_a_rejected_graph_stops_the_export(quick, model, tmp_path):
    quick[1].append(True)
    out = tmp_path / "a.jetson"
    with pytest.raises(ExportError, match=r"a.jetson/detections.onnx' does not agree with its weights") as caught:
        write_jetson(model, out, OPTIONS, {}, parity=True, data=None)
    assert ".tmp" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {
        "detections.onnx.rejected",
        "detections.onnx.rejected.parity.json",
    }


def test_an_open_batch_gives_trtexec_its_range(quick, model, tmp_path):
    out = write_jetson(
        model,
        tmp_path / "a.jetson",
        NetworkOptions(imgsz=(96, 128), dynamic=True, batch=2),
        {},
        parity=False,
        data=None,
    )
    text = (out / "build_engine.sh").read_text()
    assert "--minShapes=images:1x3x96x128 --optShapes=images:2x3x96x128 --maxShapes=images:8x3x96x128" in text


def test_the_command_replaces_its_own_folder_alone(quick, tmp_path):
    out = tmp_path / "a.jetson"
    model = UAVDet()
    assert model.export(format="jetson", imgsz=96, out=str(out)) == out
    (out / "old").write_text("")
    assert model.export(format="jetson", imgsz=96, out=str(out), parity=False) == out
    assert not (out / "old").exists()
    foreign = tmp_path / "b.jetson"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="exists, and is no folder of an earlier export"):
        model.export(format="jetson", imgsz=96, out=str(foreign))
    assert (foreign / "thesis.txt").exists()


@pytest.mark.parametrize(("option", "value"), [("half", True), ("output", "raw"), ("input", "uint8"), ("workspace", 2)])
def test_options_that_the_folder_settles(option, value):
    with pytest.raises(UsageError, match=f"'{option}' has no effect on format=jetson"):
        UAVDet().export(format="jetson", **{option: value})
