"""What PyTorch's side reads of exported files, and which of them it leaves to the runtime."""

import pytest
from onnx import TensorProto

from tests.runtime.networks import ROWS, write_network
from uavdet.engine.exported import is_exported, read_exported
from uavdet.errors import CheckpointError, UsageError

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("batch", "fixed"), [(2, 2), ("batch", None)])
def test_it_reads_what_a_file_says(batch, fixed, tmp_path):
    exported = read_exported(write_network(tmp_path / "x.onnx", batch=batch))
    assert (exported.names, exported.imgsz) == ({0: "person", 1: "car"}, (32, 64))
    assert (exported.batch, exported.rows) == (fixed, len(ROWS))
    assert is_exported(exported.path)


def test_a_file_that_says_nothing_leaves_it_open(tmp_path):
    path = write_network(tmp_path / "x.onnx", ours=False, metadata={"names": None, "imgsz": None})
    assert read_exported(path).names == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 5}, "queries=5 has no effect on the exported file"),
        ({"half": True}, "half=True has no effect on the exported file"),
        ({"imgsz": 640}, r"imgsz=640 is not possible: .* takes 32,64"),
        ({"imgsz": [64, 32]}, "imgsz=64,32 is not possible"),
    ],
)
def test_options_that_the_file_has_settled_are_refused(options, message, tmp_path):
    exported = read_exported(write_network(tmp_path / "x.onnx"))
    exported.check({"queries": None, "half": False, "imgsz": [32, 64]})
    with pytest.raises(UsageError, match=message):
        exported.check(options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": "deepstream"}, "was exported with output=deepstream, which val and track do not read"),
        ({"output": "raw", "rows": ([ROWS[0][:4]], [[0.1, 0.2]])}, "was exported with output=raw"),
        ({"input_type": TensorProto.UINT8}, "was exported with input=uint8"),
    ],
)
def test_forms_that_ultralytics_does_not_read_are_refused(settings, message, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        read_exported(write_network(tmp_path / "x.onnx", **settings))
