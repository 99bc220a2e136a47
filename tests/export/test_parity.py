"""The parity gate: good exports pass, planted faults do not."""

import copy
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.realdata import REAL_DATA
from uavdet import UAVDet
from uavdet.assets import list_assets
from uavdet.errors import DataError, UsageError
from uavdet.export import parity
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.operators import REFUSED_OPERATORS, operators
from uavdet.export.parity import check_parity
from uavdet.export.parity_report import Precisions
from uavdet.export.torchscript import write_torchscript

from .networks import assert_same_detections, detect, run_onnx
from .planting import faults

SIZE = 160
SLIMMED = {"so-detr-n.yaml", "so-detr-ev2.yaml", "rtdetr-n.yaml"}
"""Models that hold the parts of all; slimming is more than half of the time of a test."""


@pytest.fixture(scope="module")
def demo():
    return UAVDet().module


@pytest.fixture(scope="module")
def good(demo, tmp_path_factory):
    file = tmp_path_factory.mktemp("exports") / "good.onnx"
    write_onnx(demo, file, NetworkOptions(imgsz=(SIZE, SIZE)), {})
    return file


@pytest.fixture
def no_search(monkeypatch):
    """Skip the search for the first wrong node, which has tests of its own."""
    monkeypatch.setattr(parity, "find_divergence", lambda *_: None)


def check(module, file, precision="fp32", images=2, **options):
    return check_parity(module, file, precision=precision, images=images, **options)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "does not exist"), (b"", "is empty"), (b"no network", "cannot be parsed")],
)
def test_a_file_that_cannot_be_opened_fails(demo, content, reason, tmp_path):
    if content is not None:
        (tmp_path / "x.onnx").write_bytes(content)
    report = check(demo, tmp_path / "x.onnx")
    assert not report.passed
    assert reason in report.reason
    assert "\n" not in report.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp23"}, "precision=fp23 is not known. Did you mean 'fp32'"),
        ({"output": "boxes"}, "output=boxes is not known"),
    ],
)
def test_unknown_settings_are_refused(demo, good, options, message):
    with pytest.raises(UsageError, match=message):
        check(demo, good, **options)


def test_no_image_is_refused(demo, good):
    with pytest.raises(DataError, match="images=0"):
        check(demo, good, images=0)


def test_a_dataset_of_other_classes_is_refused(demo, good, tiny_data):
    with pytest.raises(UsageError, match="The model has 4 classes"):
        check(demo, good, data=str(tiny_data))


@pytest.mark.parametrize("name", [*sorted(list_assets("cfg/models")), "rtdetr-resnet50.yaml"])
def test_good_exports_of_every_model_pass(name, tmp_path):
    module = faults.random_model(name)
    stride = int(module.stride.max())
    size = (2 * stride, 3 * stride)
    write_onnx(module, tmp_path / "x.onnx", NetworkOptions(imgsz=size, simplify=name in SLIMMED), {})
    graph = onnx.load(str(tmp_path / "x.onnx"), load_external_data=False)
    assert not operators(graph) & set(REFUSED_OPERATORS)
    assert graph.opset_import[0].version == 17
    image = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    assert_same_detections(run_onnx(tmp_path / "x.onnx", image)[0], detect(module, image), share=0.9)
    report = check(module, tmp_path / "x.onnx", images=1)
    assert report.passed, report.reason
    assert report.figures.rows > 0
    assert 1 - report.figures.worst_iou < 5e-4  # half of the tolerance
    assert report.figures.median_logit_difference < 1.5e-5


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"output": "raw"}, (1,)),
        ({"output": "deepstream", "batch": 2}, (2,)),
        ({"input": "uint8"}, (1,)),
        ({"dynamic": True}, (1, 3)),
    ],
)
def test_every_layout_input_and_batch(demo, options, batches, tmp_path):
    write_onnx(demo, tmp_path / "x.onnx", NetworkOptions(imgsz=(SIZE, SIZE + 32), simplify=False, **options), {})
    report = check(demo, tmp_path / "x.onnx", images=4, output=options.get("output", "detections"))
    assert report.passed, report.reason
    assert (report.images, report.batches) == (4, batches)


def test_torchscript(demo, tmp_path):
    write_torchscript(demo, tmp_path / "x.torchscript", NetworkOptions(imgsz=(SIZE, SIZE)), {})
    assert check(demo, tmp_path / "x.torchscript").passed


@pytest.mark.parametrize("half", [True, False])
def test_half_precision_is_judged_by_ap(demo, half, good, tmp_path):
    if half:
        write_onnx(demo, tmp_path / "x.onnx", NetworkOptions(imgsz=(SIZE, SIZE), half=True), {})
    report = check(demo, tmp_path / "x.onnx" if half else good, precision="fp16", images=4)
    assert report.passed, report.reason
    assert abs(report.ap.lost) < 0.3
    assert (report.figures.worst_iou < 0.999) == half  # single boxes move, which is why they do not decide


def test_the_module_stays_as_it_is(demo, good):
    before = {key: value.clone() for key, value in demo.state_dict().items()}
    training = demo.training
    check(demo, good)
    assert demo.training == training
    assert all((value == before[key]).all() for key, value in demo.state_dict().items())
    assert not any(module._forward_hooks for module in demo.modules())


def test_nine_of_ten_changed_weights_are_caught(demo, good, no_search, tmp_path):
    names = faults.weight_names(onnx.load(str(good)))
    caught = 0
    for seed in range(10):
        name = names[int(np.random.default_rng(100 + seed).integers(len(names)))]
        faulty = faults.plant(good, tmp_path / "x.onnx", lambda graph, name=name: faults.scale_weight(graph, name))
        caught += not check(demo, faulty).passed
    assert caught >= 9


@pytest.mark.parametrize("name", faults.OTHERS)
def test_other_faults_are_caught(demo, good, name, no_search, tmp_path):
    change, precision = faults.OTHERS[name]
    report = check(demo, faults.plant(good, tmp_path / "x.onnx", change), precision)
    assert not report.passed
    assert report.reason


def test_swapped_raw_outputs_are_caught(demo, no_search, tmp_path):
    def swap(graph):
        outputs = list(graph.graph.output)
        del graph.graph.output[:]
        graph.graph.output.extend(reversed(outputs))

    write_onnx(demo, tmp_path / "x.onnx", NetworkOptions(imgsz=(SIZE, SIZE), output="raw", simplify=False), {})
    assert not check(demo, faults.plant(tmp_path / "x.onnx", tmp_path / "y.onnx", swap), output="raw").passed


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_preparation_by_the_runtime_is_compared_too(demo, good, order, no_search, monkeypatch):
    right = parity.InputBuffer.fill
    monkeypatch.setattr(parity.InputBuffer, "fill", lambda *given: right(*given)[:, list(order)].copy())
    assert check(demo, good).passed == (order == (0, 1, 2))


@pytest.mark.parametrize("rows", [1, 299])
def test_missing_rows_are_caught(demo, rows, no_search, tmp_path):
    write_onnx(demo, tmp_path / "x.onnx", NetworkOptions(imgsz=(64, 64), max_det=rows, simplify=False), {})
    report = check(demo, tmp_path / "x.onnx", max_det=300)
    assert f"gives {rows} detections of " in report.reason
    assert report.reason.endswith("not 300")
    assert check(demo, tmp_path / "x.onnx", max_det=rows).passed


def test_a_checkpoint_that_gives_nan_is_told_from_a_file_that_does(demo, good, no_search):
    broken = copy.deepcopy(demo)
    broken.model[-1].dec_score_head[-1].bias.data[:] = float("nan")
    assert "weights themselves give NaN or infinity" in check(broken, good).reason


def test_other_class_names_in_the_file_are_caught(demo, good, no_search, tmp_path):
    def rename(graph):
        entry = next(entry for entry in graph.metadata_props if entry.key == "names")
        entry.value = entry.value.replace("Person", "Tree")

    report = check(demo, faults.plant(good, tmp_path / "x.onnx", rename))
    assert "names other classes than the checkpoint" in report.reason


@pytest.mark.parametrize(
    ("ap", "told"), [(0.25, ", AP 25.00 after 25.00."), (float("nan"), "worst score difference 0.0e+00.")]
)
def test_ap_is_told_where_there_is_an_object(demo, good, ap, told):
    report = check(demo, good, images=1)
    report = replace(report, figures=replace(report.figures, worst_score_difference=0.0), ap=Precisions(ap, ap))
    assert report.passed
    assert report.summary().endswith(told)
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["ap"]["exported"] == (None if ap != ap else ap)


def test_ap_that_falls_is_told(demo, good, no_search, tmp_path):
    report = check(
        demo, faults.plant(good, tmp_path / "x.onnx", lambda graph: faults.permute_classes(graph, 4)), "int8", 4
    )
    assert report.reason.startswith("AP falls by")


def test_the_report_of_a_failure_names_the_weight_and_is_json(demo, good, tmp_path):
    name = faults.weight_names(onnx.load(str(good)))[20]
    report = check(demo, faults.plant(good, tmp_path / "x.onnx", lambda graph: faults.scale_weight(graph, name)))
    written = json.loads(report.write(tmp_path / "x.json").read_text(encoding="utf-8"))
    assert written["passed"] is False
    assert written["reason"] == report.reason
    assert written["divergence"]["weights"] == [name]
    assert written["tolerance"]["rows"]["overlap"] == 0.999
    assert "\n" not in report.summary()


@pytest.mark.skipif(REAL_DATA is None, reason="no real images at hand")
def test_real_images_with_their_truth(demo, good):
    report = check(demo, good, data=str(REAL_DATA / "hituav" / "data.yaml"), images=6)
    assert report.passed, report.reason
    assert report.images == 8  # two colour scenes join them
    assert report.ap.checkpoint == pytest.approx(report.ap.exported, abs=1e-3)
