"""From the command to a file in int8."""

import copy
import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export.networks import make_model
from uavdet import UAVDet
from uavdet.cli import main
from uavdet.data.labels import list_images
from uavdet.data.scenes import SceneConfig, write_dataset
from uavdet.errors import ConfigError, DataError, ExportError, UsageError
from uavdet.export import int8, parity
from uavdet.export.flow import export_proven, read_report
from uavdet.export.int8 import plan_quantization
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.registry import find_format
from uavdet.runtime import Session

pytest.importorskip("onnxruntime")
NAMES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the data.yaml of scenes with the demo weights' classes, large enough for them to see."""
    config = SceneConfig(seed=3, size=(160, 128), objects=6, min_size=12, max_size=60)
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 6, "val": 4}, config, NAMES, ("thermal",))


@pytest.fixture(autouse=True, scope="module")
def shared_graphs():
    """Export a model in float once for all plans with the same options, and measure rows on one image."""
    graphs, make = {}, int8._float_graph

    def cached(model, options):
        key = (id(model), repr(replace(options, quantization=None)))
        if key not in graphs:
            graphs[key] = model, make(model, options)  # the model is kept, so that its id stays its own
        return copy.deepcopy(graphs[key][1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "_float_graph", cached)
        patch.setattr(int8, "_SENSITIVITY_IMAGES", 1)
        yield


@pytest.fixture
def lenient(monkeypatch):
    """Let the gate pass every file, and return the files that it saw."""
    seen = []
    monkeypatch.setattr(parity, "check_parity", lambda module, file, **options: seen.append(file) or Verdict(True))
    return seen


@dataclass(frozen=True)
class Verdict:
    """A report that says what a test wants it to."""

    passed: bool
    file: str = ""

    def write(self, path):
        Path(path).write_text(json.dumps({"passed": self.passed}))

    def summary(self):
        return "parity: failed."


@pytest.fixture(scope="module")
def model(shared_graphs):
    """Return a small detector, untrained, of four classes."""
    small = UAVDet("rtdetr-n.yaml", queries=20)
    small.module = make_model("rtdetr-n", nc=4, queries=20)
    return small


@pytest.fixture(scope="module")
def plan(model, data):
    """Return what is quantized in the small detector at 64x64."""
    return plan_quantization(model.module, NetworkOptions(imgsz=(64, 64)), str(data), "cpu")


def own_metadata(path):
    properties = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    return json.loads(properties["uavdet"])


def quantized_rows(path):
    nodes = onnx.load(str(path)).graph.node
    outputs = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.name.split("/")[2] for node in nodes if node.op_type == "Conv" and node.input[1] in outputs}


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_a_folder_in_int8_passes_the_gate_and_runs(model, data, tmp_path):
    out = model.export(format="openvino", int8=True, data=str(data), imgsz=64, out=str(tmp_path / "x_openvino_model"))
    report = read_report(out)
    assert report["passed"]
    assert report["precision"] == "int8"
    assert report["images"] == 6, "all of the validation images, and two colour scenes"
    session = Session(out, device="cpu")
    own = session.metadata["uavdet"]
    assert own["precision"] == "int8"
    assert own["quantization"]["target"] == "cpu"
    assert own["quantization"]["calibration"] == "6 images of data.yaml (train)"
    assert session.run(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 20, 6)


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_tensorrt_builds_what_is_for_it_and_not_what_is_for_a_cpu(model, plan, target, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    from uavdet.export.tensorrt_check import check_graph

    options = NetworkOptions(imgsz=(64, 64), quantization=replace(plan, target=target))
    write_onnx(model.module, tmp_path / "x.onnx", options, {})
    check = check_graph(tmp_path / "x.onnx")
    assert check.passed == (target == "tensorrt"), check.problems


def test_rows_that_are_named_stay_float(model, plan, data, lenient, tmp_path):
    given = {"int8": True, "data": str(data), "imgsz": 64, "out": str(tmp_path / "x.onnx")}
    out = model.export(**given, int8_exclude=["stem1", "p3"])
    assert set(plan.rows) - quantized_rows(out) == {"stem1", "p3"}
    assert own_metadata(out)["quantization"]["target"] == "tensorrt", "unless told"
    assert lenient, "compared"
    with pytest.raises(UsageError, match=r"int8_exclude=fuse is no row .* Did you mean 'fuse4'"):
        model.export(**given, int8_exclude=["fuse"])


def test_rows_that_cost_most_stay_float_until_the_gate_passes(model, plan, monkeypatch, tmp_path):
    verdicts, rows = [False, False, True], []

    def check(module, file, **options):
        rows.append(quantized_rows(file))
        return Verdict(verdicts[len(rows) - 1])

    monkeypatch.setattr(parity, "check_parity", check)
    options = NetworkOptions(imgsz=(64, 64), quantization=plan)
    out = export_proven(model.module, find_format("onnx"), tmp_path / "x.onnx", options, {})
    assert rows[0] > rows[1] > rows[2]
    table = own_metadata(out)["quantization"]["rows"]
    floats = [row["row"] for row in table if not row["int8"]]
    assert floats == [row["row"] for row in table[: len(floats)]], "the costliest"
    assert {row["row"] for row in table} - set(floats) == quantized_rows(out)


def test_a_file_that_never_passes_is_rejected(model, plan, monkeypatch, tmp_path):
    monkeypatch.setattr(parity, "check_parity", lambda module, file, **options: Verdict(False))
    options = NetworkOptions(imgsz=(64, 64), quantization=replace(plan, automatic=False))
    with pytest.raises(ExportError, match=r"was named x\.onnx\.rejected"):
        export_proven(model.module, find_format("onnx"), tmp_path / "x.onnx", options, {})
    assert not (tmp_path / "x.onnx").exists()


def test_uint8_pictures_and_an_open_batch(model, plan, data, tmp_path):
    given = {"int8": True, "target": "cpu", "data": str(data), "imgsz": 64, "parity": False}
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    out = model.export(**given, input="uint8", dynamic=True, out=str(tmp_path / "u.onnx"))
    found = Session(out, device="cpu").run(pictures)
    write_onnx(model.module, out, NetworkOptions(imgsz=(64, 64), quantization=plan), {})
    images = (pictures[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    np.testing.assert_allclose(found[..., 4], Session(out, device="cpu").run(images)[..., 4], atol=1e-5)


def test_images_lose_nothing_before_the_first_convolution_of_a_cpu(plan):
    assert (plan.statistics["images"].low, plan.statistics["images"].high) == (0, 1)
    assert plan.automatic
    assert not plan.kept


def test_calibration_images_are_spread_over_the_training_images(data, monkeypatch):
    monkeypatch.setattr(int8, "_CALIBRATION_IMAGES", 3)
    files, source = int8._calibration_files(str(data))
    every = list_images([data.parent / "images" / "train"])
    assert files == [every[0], every[2], every[5]]
    assert source == "3 images of data.yaml (train)"


def test_images_without_labels_calibrate(data, tmp_path):
    bare = tmp_path / "bare.yaml"
    bare.write_text(f"train: {data.parent / 'images' / 'val'}\nval: {data.parent / 'images' / 'val'}\nnames: [a]\n")
    assert len(int8._calibration_files(str(bare))[0]) == 4


def test_a_broken_image_is_told_by_name(model, tmp_path):
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    (folder / "broken.jpg").write_bytes(b"no picture")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("train: images/train\nval: images/train\nnames: [a]\n")
    with pytest.raises(DataError, match=r"broken.jpg"):
        plan_quantization(model.module, NetworkOptions(imgsz=(64, 64)), str(yaml), "cpu")
    with pytest.raises(ConfigError, match=r"gone.yaml"):
        plan_quantization(model.module, NetworkOptions(imgsz=(64, 64)), str(tmp_path / "gone.yaml"), "cpu")


def test_other_channels_are_refused():
    model = UAVDet("rtdetr-n.yaml", queries=20).module
    model.yaml["channels"] = 4
    with pytest.raises(UsageError, match="this model takes 4 channels"):
        plan_quantization(model, NetworkOptions(imgsz=(64, 64)), "any.yaml", "cpu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["int8=True"], "int8=True needs images to calibrate on"),
        (["int8=True", "data=x.yaml", "half=True"], "half=True and int8=True do not go together"),
        (["target=cpu"], "'target' has no effect without int8=True"),
        (["int8_exclude=p3"], "'int8_exclude' has no effect without int8=True"),
        (["int8=True", "data=x.yaml", "target=gpu"], "target=gpu is not allowed"),
        (["int8=True", "data=x.yaml", "target=cpu", "format=engine"], "target=cpu does not go with format=engine"),
        (["int8=True", "data=x.yaml", "target=tensorrt", "format=openvino"], "does not go with format=openvino"),
        (["int8=True", "data=x.yaml", "format=torchscript"], "'int8' has no effect on format=torchscript"),
        (["int8=True", "data=x.yaml", "format=jetson"], "'int8' has no effect on format=jetson"),
        (["int8=True", "data=x.yaml", "format=safetensors"], "has no effect on format=safetensors"),
    ],
)
def test_wrong_commands_get_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "model=rtdetr-n.yaml", "queries=20", "imgsz=64", *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.iterdir())
