"""Exported files that no mode but benchmark runs say so, whichever way they are given."""

import cv2
import numpy as np
import pytest

from uavdet import UAVDet
from uavdet.cli import main
from uavdet.errors import UsageError
from uavdet.runtime import Detector

MESSAGES = [
    ("x.engine", r"x\.engine' is a TensorRT engine, which uavdet benchmark alone runs\. Give the \.onnx"),
    ("x.torchscript", r"is a TorchScript file, which uavdet benchmark alone runs"),
    ("x.jetson", r"is a folder for a Jetson: its README\.txt"),
    ("x.onnx.rejected", r"did not agree with its weights: the \.parity\.json beside it"),
]


@pytest.mark.parametrize("open_file", [UAVDet, Detector])
@pytest.mark.parametrize(("name", "message"), MESSAGES)
def test_they_are_refused_by_name(name, message, open_file, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=message) as caught:
        open_file(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["predict", "val", "track", "train", "export", "info"])
def test_every_mode_says_so(mode, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((32, 64, 3), np.uint8))
    source = [f"source={tmp_path / 'x.png'}"] if mode in {"predict", "track"} else []
    assert main([mode, "model=x.engine", *source]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "is a TensorRT engine, which uavdet benchmark alone runs" in errors[0]
