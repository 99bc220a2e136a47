"""The first wrong node of a file, found where it was planted."""

import numpy as np
import onnx
import pytest
import torch

from uavdet.export import divergence
from uavdet.export.divergence import find_divergence
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.tolerances import relative_error

from .planting import faults

SIZE = 64
IMAGES = np.random.default_rng(0).random((1, 3, SIZE, SIZE), dtype=np.float32)


@pytest.fixture(scope="module")
def model():
    return faults.random_model("so-detr-n.yaml")


@pytest.fixture(scope="module")
def good(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("exports") / "good.onnx"
    write_onnx(model, file, NetworkOptions(imgsz=(SIZE, SIZE)), {})
    return file


@pytest.fixture
def exported_once(good, monkeypatch):
    """Take the good file for the fresh export that it is equal to, which saves the time of another."""
    monkeypatch.setattr(divergence, "_fresh_export", lambda *_: onnx.load(str(good)))


def search(model, file, precision="fp32"):
    return find_divergence(model, file, IMAGES, IMAGES, precision, "detections")


@pytest.mark.parametrize(
    ("first", "second", "shuffled", "expected"),
    [
        ([], [], False, 0),
        ([3, 4], [3, 4], False, 0),
        ([3, 4], [3, 9], False, 1),  # the norms are 5 and 5
        ([3, 4], [4, 3], False, np.sqrt(2) / 5),
        ([3, 4], [4, 3], True, 0),
        ([3, np.inf], [3, 7], False, 0),  # what is infinite by intention is not compared
        ([3, 4], [3, np.nan], False, np.inf),
        ([3, 4], [3], False, np.inf),
    ],
)
def test_relative_error(first, second, shuffled, expected):
    assert relative_error(np.array(first), np.array(second), shuffled=shuffled) == pytest.approx(expected)


def test_a_good_file_has_none(model, good):
    found = search(model, good)
    assert (found.node, found.foreign) == ("", ())
    assert "no node diverges" in found.line()


@pytest.mark.parametrize("suffix", [".torchscript", ".engine"])
def test_other_formats_are_not_looked_into(model, suffix, tmp_path):
    assert search(model, tmp_path / f"x{suffix}") is None


def test_a_file_that_is_no_export_of_the_module_gives_none(model, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    assert search(model, tmp_path / "x.onnx") is None


@pytest.mark.parametrize("place", [0, 60, 120, -1])
def test_a_changed_weight_is_named(model, good, exported_once, place, tmp_path):
    name = faults.weight_names(onnx.load(str(good)))[place]
    faulty = faults.plant(good, tmp_path / "x.onnx", lambda graph: faults.scale_weight(graph, name))
    found = search(model, faulty)
    assert found.weights == (name,)
    assert found.error_before < 1e-6 < found.error_after
    assert name in found.line()


def test_a_changed_operator_is_found_with_its_scope(model, good, exported_once, tmp_path):
    def change(graph):
        next(node for node in graph.graph.node if node.op_type == "Relu" and "/stage3/" in node.name).op_type = "Abs"

    found = search(model, faults.plant(good, tmp_path / "x.onnx", change))
    assert "/stage3/" in found.node
    assert found.scope.startswith("stage3/")
    assert found.error_before == 0


def test_an_overflow_of_half_precision_is_found_behind_its_casts(model, good, exported_once, tmp_path):
    found = search(model, faults.plant(good, tmp_path / "x.onnx", faults.overflow), "fp16")
    assert not np.isfinite(found.error_after)
    assert found.foreign[0].startswith("/up (Mul)")


def test_nodes_behind_the_network_are_told(model, good, exported_once, tmp_path):
    faulty = faults.plant(good, tmp_path / "x.onnx", lambda graph: faults.swap_columns(graph, [0, 1, 2, 3, 5, 4]))
    found = search(model, faulty)
    assert found.node == ""
    assert found.foreign == ("/planted/Gather (Gather)",)


def test_a_fault_of_the_exporter_itself_is_found_by_the_rows_of_the_module(model, good):
    """A fresh export has the fault as well, so that nodes agree and only the module tells."""
    changed = faults.random_model("so-detr-n.yaml")
    row = changed.model.stage3
    row.register_forward_hook(lambda *_: None if torch.onnx.is_in_onnx_export() else _[2] * 1.5)
    found = search(changed, good)
    assert found.against == "the module"
    assert found.scope.startswith("stage3")
