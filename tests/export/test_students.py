"""Checkpoints of every training method export as those of a plain training do: nothing of the method is in them."""

import pytest
import torch

from tests.conftest import TINY
from tests.export.networks import assert_same_detections, detect, run_onnx
from uavdet.engine.loading import load_model
from uavdet.engine.train import train
from uavdet.export.onnx import export_onnx

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def student(tiny_data, tiny_run, tmp_path_factory):
    """Return a function that trains by a method and returns the checkpoint."""
    shared = {**TINY, "data": str(tiny_data), "epochs": 1, "project": str(tmp_path_factory.mktemp("students"))}
    teacher = str(tiny_run.best)

    def start(methods):
        if methods == "thumbdet":
            options = {
                "thumbnail": 2,
                "imgsz": 128,
                "epochs": 2,
                "thumbdet.stage_epochs": 1,
                "thumbdet.teacher": teacher,
            }
        elif methods == "ds2d2":
            amplifier = {"ds2d2.stage": "amplifier", "model": teacher, "methods": methods}
            trained = train({**shared, **amplifier}).best
            options = {"ds2d2.amplifier": str(trained), "ds2d2.teacher": teacher}
        else:
            options = {f"{name}.teacher": teacher for name in methods.split(",")}
        return train({**shared, **options, "methods": methods}).best

    return start


@pytest.mark.parametrize("methods", ["so-detr-kd,kd-detr", "thumbdet", "ds2d2"])
def test_students_export_and_agree(student, methods, tmp_path):
    model, _ = load_model(student(methods))
    size = 2 * int(model.stride.max())
    x = torch.rand(2, 3, size, size)
    found = run_onnx(export_onnx(model, tmp_path / "x.onnx", size, dynamic=True, simplify=False), x)[0]
    assert_same_detections(found, detect(model.eval(), x), share=0.9)
