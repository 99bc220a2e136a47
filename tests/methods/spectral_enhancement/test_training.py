"""Short real runs: columns, a kill and its continuation, accumulation, other methods beside, and what remains."""

import csv
import math
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from tests.interruption import Interrupted, interrupt_at
from tests.methods.detr_pairs import save_teacher, scenes
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.families import load_model_config
from uavdet.engine.loading import load_model
from uavdet.engine.train import train
from uavdet.methods.spectral_enhancement.blocks_file import FILE_NAME, load_blocks
from uavdet.nn.background import marked_levels

COLUMNS = ["set_class_loss", "set_l1_loss", "set_box_loss"]


@pytest.fixture(scope="module")
def options(tiny_data, tmp_path_factory):
    """Return the options of short runs with the method in which its weights move far."""
    changed = {"methods": "set", "deterministic": True, "lr0": 1e-3, "mosaic": 0.0, "warmup_iterations": 0}
    return {**TINY, **changed, "data": str(tiny_data), "project": str(tmp_path_factory.mktemp("set"))}


@pytest.fixture(scope="module")
def whole(options):
    """Return a run of three epochs: smoothing at once, the perturbation from the second."""
    settings = {"model": "so-detr-n-set.yaml", "epochs": 3, "set.start_epoch": 1, "set.gamma": 0.01}
    return train({**options, **settings, "name": "whole"})


def rows_of(folder):
    return list(csv.DictReader((folder / "results.csv").open()))


def test_its_losses_are_columns_of_training_alone(whole):
    rows = rows_of(whole.save_dir)
    assert len(rows) == 3
    for row in rows:
        assert all(float(row[f"train/{name}"]) > 0 for name in [*COLUMNS, "set_norm_loss"])
    assert not any(key.startswith("val/set") for key in rows[0])


def test_what_remains_is_the_plain_model(whole):
    for file in (whole.best, whole.last):
        checkpoint = read_checkpoint(file)
        assert not any("student_extras" in key for key in checkpoint.weights)
        assert marked_levels(checkpoint.meta["yaml"]) is None
        model, _ = load_model(file)
        plain = load_model_config("so-detr-n.yaml")
        assert len(checkpoint.meta["yaml"]["head"]) == len(plain["head"])
        assert model.eval()(torch.rand(1, 3, 64, 64))[0].shape == (1, 20, 6)


def test_the_blocks_are_written_beside_it(whole):
    blocks, mask = load_blocks(whole.best.with_name(FILE_NAME))
    assert list(blocks) == [0, 1, 2]
    assert [block.stride for block in blocks.values()] == [8, 16, 32]
    assert mask == "overlap"


def test_a_killed_run_goes_on_as_if_nothing_had_happened(options, whole):
    settings = {"model": "so-detr-n-set.yaml", "epochs": 3, "set.start_epoch": 1, "set.gamma": 0.01}
    with pytest.raises(Interrupted):
        train({**options, **settings, "name": "cut"}, interrupt_at(1))
    last = whole.save_dir.with_name("cut") / "weights" / "last.pt"
    state = read_checkpoint(last)
    assert not any("student_extras" in key for key in state.weights)
    assert any("student_extras.background_smoothing.0.reduce.weight" in key for key in state.training["model"])
    resumed = train({"resume": str(last)})
    expected, given = read_checkpoint(whole.last).weights, read_checkpoint(resumed.last).weights
    for key in expected:
        assert torch.equal(expected[key], given[key]), key
    blocks = [load_blocks(run.last.with_name(FILE_NAME))[0] for run in (whole, resumed)]
    for place, block in blocks[0].items():
        for key, value in block.state_dict().items():
            assert torch.equal(value, blocks[1][place].state_dict()[key]), key
    timeless = [
        [{k: v for k, v in row.items() if k != "time"} for row in rows_of(r.save_dir)] for r in (whole, resumed)
    ]
    assert timeless[0] == timeless[1]


def test_a_killed_run_of_two_heads_goes_on_with_their_weights(options):
    """The criterion of YOLO26 shifts its weight from one head to the other, from 0.8 to 0.1, epoch by epoch."""
    settings = {**options, "model": "yolo26n.yaml", "epochs": 3, "set.start_epoch": 1, "name": "two_heads"}
    del settings["queries"]
    with pytest.raises(Interrupted):
        train(settings, interrupt_at(1))
    last, seen = Path(options["project"]) / "two_heads" / "weights" / "last.pt", {}
    note = {"on_train_batch_end": [lambda trainer: seen.update({trainer.epoch: trainer.model.criterion.o2m})]}
    train({"resume": str(last)}, note)
    assert seen == pytest.approx({1: 0.45, 2: 0.1})


def test_beside_a_distillation_with_accumulation_in_bfloat16(options, tmp_path):
    """The distillation reads the features and predictions of the main pass, whichever of the two comes first."""
    teacher = str(save_teacher(tmp_path, images=scenes(2, 64), queries=20))
    taught = {"so-detr-kd.teacher": teacher, "ds2d2.teacher": teacher, "epochs": 1, "nbs": 8, "amp": "bf16"}
    taught |= {"set.smoothing": False, "set.start_epoch": 0}  # blocks start at random, and the order decides how
    rows = []
    for names in ("set,so-detr-kd,ds2d2", "ds2d2,so-detr-kd,set"):
        run = train({**options, **taught, "methods": names})
        rows.append(rows_of(run.save_dir)[0])
    for key, value in rows[0].items():
        if key.startswith("train/"):
            assert math.isfinite(float(value))
            assert float(value) == pytest.approx(float(rows[1][key]), rel=1e-3, abs=1e-5), key
    assert all(float(rows[0][f"train/{name}"]) > 0 for name in (*COLUMNS, "so_detr_kd_l1_loss", "ds2d2_low_loss"))


@pytest.mark.parametrize(("name", "third"), [("yolo11n.yaml", "dfl"), ("yolo26n.yaml", "l1")])
def test_a_yolo(options, name, third):
    settings = {**options, "model": name, "epochs": 1, "set.start_epoch": 0}
    del settings["queries"]
    row = rows_of(train(settings).save_dir)[0]
    assert all(float(row[f"train/set_{branch}_loss"]) > 0 for branch in ("box", "cls", third))
