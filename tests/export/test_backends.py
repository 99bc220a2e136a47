"""Files opened to be run."""

import numpy as np
import pytest
import torch

from uavdet.errors import CheckpointError, UsageError
from uavdet.export.backends import open_backend
from uavdet.export.network import NetworkOptions
from uavdet.export.onnx import write_onnx
from uavdet.export.torchscript import write_torchscript

from .planting import faults


@pytest.fixture(scope="module")
def model():
    return faults.random_model("rtdetr-n.yaml")


@pytest.mark.parametrize("suffix", [".onnx", ".torchscript"])
@pytest.mark.parametrize("content", [None, b"", b"no program"])
def test_files_that_cannot_be_opened(suffix, content, tmp_path):
    file = tmp_path / f"x{suffix}"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"'{file}' (does not exist|is empty|is damaged)"):
        open_backend(file)


@pytest.mark.parametrize("name", ["x", "x.tmp", "x.pb"])
def test_other_formats_are_refused(name):
    with pytest.raises(UsageError, match=r"cannot be run here. Files that can end in \.onnx, "):
        open_backend(name)


@pytest.mark.parametrize(
    ("writer", "suffix"),
    [(write_onnx, ".onnx"), (write_onnx, ".onnx.rejected"), (write_torchscript, ".torchscript.tmp")],
)
@pytest.mark.parametrize("options", [{}, {"dynamic": True}, {"input": "uint8", "batch": 2}])
def test_what_a_file_says_of_its_input(model, writer, suffix, options, tmp_path):
    file = tmp_path / f"x{suffix}"
    writer(model, file, NetworkOptions(imgsz=(64, 96), simplify=False, **options), {})
    backend = open_backend(file)
    pictures = "input" in options
    assert backend.size == (64, 96)
    assert backend.batch == (None if "dynamic" in options else options.get("batch", 1))
    assert backend.pictures == pictures
    count = backend.batch or 3
    batch = np.zeros((count, 64, 96, 3), np.uint8) if pictures else np.zeros((count, 3, 64, 96), np.float32)
    (rows,) = backend(batch)
    with torch.no_grad():
        expected = model(torch.zeros(1, 3, 64, 96))[0][0, : rows.shape[1]]
    np.testing.assert_allclose(rows[0, :, 4], expected[:, 4], atol=1e-5)
