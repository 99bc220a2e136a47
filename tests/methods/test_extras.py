"""Extras of a student: they train, resume, and are gone from what remains."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from tests.conftest import TINY
from tests.interruption import Interrupted, interrupt_at
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.loading import load_model
from uavdet.engine.train import train
from uavdet.methods import base
from uavdet.methods.base import MethodArgs, TrainingMethod


@pytest.fixture
def projecting(monkeypatch):
    """Register a method with a projector of its own for one test."""
    monkeypatch.setattr(base, "_METHODS", base.available_methods())

    class Projecting(TrainingMethod):
        name = "projecting"
        Args = MethodArgs
        projectors: ClassVar[list] = []
        starts: ClassVar[list] = []

        def prepare(self, trainer):
            torch.manual_seed(0)
            self.features = trainer.student_features()
            self.projector = trainer.student_extras["projector"] = nn.Conv2d(96, 1, 1, bias=False)
            self.projectors.append(self.projector)
            self.starts.append(self.projector.weight.detach().clone())

        def losses(self, model, batch, outputs):
            return {"projecting_loss": (self.projector(self.features.memory[0].float()) - 1).square().mean()}

    return Projecting


def test_extras_train_resume_and_are_gone(tiny_data, tmp_path, projecting):
    changed = {"epochs": 3, "methods": "projecting", "deterministic": True, "lr0": 0.01, "mosaic": 0.0}
    options = {**TINY, **changed, "data": str(tiny_data), "project": str(tmp_path)}
    whole = train({**options, "name": "whole"})
    projector = projecting.projectors[-1]
    finished = projector.weight.detach().clone()
    assert (finished - projecting.starts[-1]).abs().max() > 1e-3

    with pytest.raises(Interrupted):
        train({**options, "name": "cut"}, interrupt_at(1))
    state = read_checkpoint(tmp_path / "cut" / "weights" / "last.pt")
    assert not any("student_extras" in key for key in state.weights)
    assert any("student_extras.projector" in key for key in state.training["model"])
    resumed = train({"resume": True, "project": str(tmp_path)})
    torch.testing.assert_close(projecting.projectors[-1].weight.detach(), finished)
    for run in (whole, resumed):
        plain, _ = load_model(run.best)
        assert read_checkpoint(run.best).weights.keys() == plain.state_dict().keys()
        header = (run.save_dir / "results.csv").read_text().splitlines()[0]
        assert "train/projecting_loss" in header
    expected, given = read_checkpoint(whole.last).weights, read_checkpoint(resumed.last).weights
    for key in expected:
        assert torch.equal(expected[key], given[key]), key


@pytest.mark.parametrize("model", ["rtdetr-n.yaml", "yolo11n.yaml"])
def test_the_detection_loss_can_be_switched_off(tiny_data, tmp_path, monkeypatch, model):
    monkeypatch.setattr(base, "_METHODS", base.available_methods())
    seen = []

    class Staged(TrainingMethod):
        name = "staged"
        Args = MethodArgs

        def prepare(self, trainer):
            self.model = trainer.model

        def epoch_start(self, epoch, epochs):
            self.model.auxiliary_losses.detection = epoch > 0

        def losses(self, model, batch, outputs):
            seen.append(outputs is None)
            weight = next(model.parameters())
            return {"staged_loss": weight.square().mean()}

    options = {**TINY, "model": model, "epochs": 2, "methods": "staged", "data": str(tiny_data)}
    if model.startswith("yolo"):
        del options["queries"]
    run = train({**options, "project": str(tmp_path)})
    assert seen[0] is True
    assert seen[-1] is False
    rows = [line.split(",") for line in (run.save_dir / "results.csv").read_text().splitlines()]
    column = rows[0].index("train/cls_loss")
    assert float(rows[1][column]) == 0
    assert float(rows[2][column]) > 0
