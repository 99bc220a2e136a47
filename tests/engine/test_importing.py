"""Importing checkpoints of Ultralytics: what comes through, and what is refused."""

import pytest
import torch
from torch import nn

from uavdet.assets import DEMO_WEIGHTS
from uavdet.engine.importing import import_checkpoint
from uavdet.engine.loading import load_model
from uavdet.errors import CheckpointError


@pytest.mark.parametrize("name", ["yolo11n.yaml", "rtdetr-resnet50.yaml"])
def test_ultralytics_checkpoints_are_imported_on_trust(name, tmp_path):
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

    torch.manual_seed(0)
    source = (DetectionModel if name.startswith("yolo") else RTDETRDetectionModel)(name, nc=2, verbose=False)
    source.names = {0: "a", 1: "b"}
    torch.save({"model": source.half(), "ema": None, "train_args": {"imgsz": 128}}, tmp_path / "x.pt")
    out = import_checkpoint(tmp_path / "x.pt", trust=True)
    assert out == tmp_path / "x.uavdet.pt"
    loaded, checkpoint = load_model(out)
    assert loaded.names == {0: "a", 1: "b"}
    assert checkpoint.meta["imgsz"] == 128
    x = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        given, expected = loaded.eval()(x)[0], source.float().eval()(x)[0]
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(
    ("trained", "kept"), [(50, 64), (128, 128), (1, 32), ([50, 100], [64, 128]), (None, 640), (640.0, 640)]
)
def test_channels_and_a_usable_size_are_imported(trained, kept, tmp_path):
    from ultralytics.nn.tasks import DetectionModel

    source = DetectionModel("yolo11n.yaml", ch=1, nc=2, verbose=False)
    torch.save({"model": source, "train_args": {"imgsz": trained}}, tmp_path / "x.pt")
    loaded, checkpoint = load_model(import_checkpoint(tmp_path / "x.pt", trust=True))
    assert checkpoint.meta["imgsz"] == kept
    assert checkpoint.meta["yaml"]["channels"] == 1
    assert loaded.eval()(torch.rand(1, 1, 64, 64))[0].shape[0] == 1


def test_a_changed_network_is_not_imported(tmp_path):
    from ultralytics.nn.tasks import DetectionModel

    source = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    source.model[0].conv = nn.Conv2d(3, 8, 3)
    torch.save({"model": source}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"its own YAML describes: \d+/\d+ tensors") as caught:
        import_checkpoint(tmp_path / "x.pt", trust=True)
    assert "partial" not in str(caught.value)


def test_files_without_a_detector_are_not_imported(tmp_path):
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no Ultralytics model"):
        import_checkpoint(tmp_path / "x.pt", trust=True)
    with pytest.raises(CheckpointError, match="does not exist"):
        import_checkpoint(tmp_path / "missing.pt", trust=True)


def test_a_checkpoint_of_ours_needs_no_import():
    with pytest.raises(CheckpointError, match=r"is a checkpoint of uavdet already\. Give it as it is: model="):
        import_checkpoint(DEMO_WEIGHTS)
