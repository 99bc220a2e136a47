"""TorchScript files."""

import json

import numpy as np
import pytest
import torch

from tests.export.networks import assert_same_detections, detect, make_model
from uavdet.errors import UsageError
from uavdet.export.network import NetworkOptions
from uavdet.export.torchscript import METADATA_FILE, write_torchscript


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("batch", [1, 3])
def test_a_program_takes_an_open_batch_and_agrees(tmp_path, batch):
    model, file = make_model("so-detr-n"), tmp_path / "x.torchscript"
    write_torchscript(model, file, NetworkOptions(imgsz=(64, 96), dynamic=True), {"metrics": {"coco/AP": 0.5}})
    extra = {METADATA_FILE: ""}
    program, x = torch.jit.load(str(file), _extra_files=extra), torch.rand(batch, 3, 64, 96)
    assert_same_detections(program(x).numpy(), detect(model, x))
    assert json.loads(extra[METADATA_FILE])["imgsz"] == [64, 96]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ultralytics_runs_it(tmp_path):
    from ultralytics import RTDETR

    model, file = make_model("rtdetr-n"), tmp_path / "x.torchscript"
    write_torchscript(model, file, NetworkOptions(imgsz=(64, 64)), {})
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    result = RTDETR(str(file)).predict(image, conf=0.0, imgsz=64, verbose=False, project=str(tmp_path))[0]
    rows = detect(model, (image[None, ..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32))[0]
    np.testing.assert_allclose(np.sort(result.boxes.conf.numpy()), np.sort(rows[:, 4]), atol=1e-4)


def test_a_yolo_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Export a YOLO with Ultralytics"):
        write_torchscript(make_model("yolo11n.yaml", queries=None), tmp_path / "x", NetworkOptions(), {})
