"""Short trainings: what they leave, how they go on, and how they stop."""

import csv
import json
import math
import shutil
from types import SimpleNamespace
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch
import yaml

from tests.conftest import TINY
from tests.interruption import Interrupted, interrupt_at
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.families import Family
from uavdet.engine.loading import load_model
from uavdet.engine.plan import plan_training
from uavdet.engine.train import train
from uavdet.engine.trainer import TrainerHooks, build_trainer
from uavdet.engine.trainer_setup import TrainerSetup
from uavdet.errors import CheckpointError, ConfigError, DataError, TrainingError, UsageError
from uavdet.methods import base
from uavdet.methods.base import MethodArgs, TrainingMethod


def test_a_run_leaves_what_ultralytics_users_expect(tiny_run):
    folder = tiny_run.save_dir
    assert {"args.yaml", "results.csv", "weights"} <= {path.name for path in folder.iterdir()}
    assert {path.name for path in (folder / "weights").iterdir()} == {"best.pt", "last.pt"}
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    columns = {
        "train/giou_loss",
        "train/cls_loss",
        "train/l1_loss",
        "metrics/mAP50(B)",
        "coco/AP",
        "coco/AP_small",
        "lr/pg0",
    }
    assert columns <= rows[0].keys()
    recorded = yaml.safe_load((folder / "args.yaml").read_text())
    assert recorded["epochs"] == 2
    assert recorded["lr0"] == 1e-4


def test_the_checkpoint_describes_itself(tiny_run):
    checkpoint = read_checkpoint(tiny_run.best)
    assert checkpoint.training is None
    assert checkpoint.meta["names"] == {0: "person", 1: "car"}
    assert checkpoint.meta["imgsz"] == 64
    assert checkpoint.meta["recipe"]["optimizer"] == "AdamW"
    statistics = checkpoint.meta["statistics"]
    assert statistics["images"] == 8
    assert statistics["size_network"]["p50"] < statistics["size_original"]["p50"]
    assert statistics["objects_per_image"]["p100"] >= 1


def test_weights_move_and_the_backbone_too(tiny_run, tiny_data):
    fresh = train({**TINY, "data": str(tiny_data), "epochs": 1, "project": str(tiny_run.save_dir.parent), "lr0": 0.0})
    moved, still = read_checkpoint(tiny_run.last).weights, read_checkpoint(fresh.last).weights
    for key in ("model.stem1.conv.weight", "model.p3.cv1.conv.weight", "model.decoder.dec_bbox_head.0.layers.2.weight"):
        assert not torch.equal(moved[key], still[key]), key


def test_a_resumed_run_ends_as_if_it_had_never_stopped(tiny_data, tmp_path):
    # Without `deterministic`, two threads add gradients up in an order that changes the last bits from run to run.
    changed = {"epochs": 3, "mosaic": 0.5, "deterministic": True}
    options = {**TINY, **changed, "data": str(tiny_data), "project": str(tmp_path)}
    whole = train({**options, "name": "whole"})
    with pytest.raises(Interrupted):
        train({**options, "name": "cut"}, interrupt_at(1))
    with (tmp_path / "cut" / "results.csv").open("a") as file:
        file.write("2,9,9\n")  # a row written after the last checkpoint
    resumed = train({"resume": True, "project": str(tmp_path)})
    assert resumed.save_dir == tmp_path / "cut"
    expected, given = read_checkpoint(whole.last).weights, read_checkpoint(resumed.last).weights
    for key in expected:
        assert torch.equal(expected[key], given[key]), key
    rows = [
        [r for k, r in row.items() if k != "time"] for row in csv.DictReader((resumed.save_dir / "results.csv").open())
    ]
    assert rows == [
        [r for k, r in row.items() if k != "time"] for row in csv.DictReader((whole.save_dir / "results.csv").open())
    ]


def test_a_resumed_fine_tuning_keeps_its_parameter_groups(tiny_run, tiny_data, tmp_path):
    options = {**TINY, "model": str(tiny_run.best), "data": str(tiny_data), "epochs": 2, "project": str(tmp_path)}
    with pytest.raises(Interrupted):
        train(options, interrupt_at(1))
    assert train({"resume": str(tmp_path / "train" / "weights" / "last.pt")}).best.exists()


@pytest.mark.parametrize(("given", "expected"), [({}, 4), ({"warmup_iterations": 9}, 9), ({"warmup_epochs": 2}, 4)])
def test_warm_up_is_a_tenth_of_a_short_run_unless_given(tiny_data, tmp_path, given, expected):
    trainer = build_trainer(
        plan_training({**TINY, "data": str(tiny_data), "epochs": 20, "project": str(tmp_path), **given})
    )
    assert trainer._get_warmup_iterations(2) == expected
    trainer.epochs = 10_000
    assert trainer._get_warmup_iterations(10) == given.get("warmup_iterations", 20 if given else 2000)


@pytest.mark.parametrize(
    ("family", "steps", "averaged"),
    [(Family.OURS, 1000, 100), (Family.OURS, 3, 1), (Family.OURS, 10**6, 10_000), (Family.STOCK_YOLO, 1000, 10_000)],
)
def test_weights_are_averaged_over_a_tenth_of_a_short_run(family, steps, averaged):
    trainer = SimpleNamespace(
        plan=SimpleNamespace(family=family), model=torch.nn.Linear(1, 1), epochs=1, train_loader=range(steps)
    )
    average = TrainerSetup.new_average(trainer)
    assert 1 / (1 - average.decay(10**9)) == pytest.approx(averaged)
    assert average.decay(averaged / 5) == pytest.approx((1 - 1 / averaged) * (1 - math.exp(-1)))


def test_a_resumed_run_keeps_its_arguments(tiny_data, tmp_path):
    options = {**TINY, "data": str(tiny_data), "epochs": 2, "max_det": 7, "project": str(tmp_path)}
    with pytest.raises(Interrupted):
        train(options, interrupt_at(1))
    last = tmp_path / "train" / "weights" / "last.pt"
    with pytest.raises(UsageError, match="'lr0' cannot change"):
        train({"resume": str(last), "lr0": 0.5})
    moved = shutil.copytree(tiny_data.parent, tmp_path / "moved") / tiny_data.name
    other = moved.with_name("other.yaml")
    other.write_text(moved.read_text().replace("person", "boat"))
    with pytest.raises(UsageError, match=r"has the classes boat, car; the run that is resumed has person, car"):
        train({"resume": str(last), "data": str(other)})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("epochs: 3\n")
    with pytest.raises(UsageError, match="'epochs' cannot change"):
        train({"resume": str(last), "recipe": str(recipe)})
    recipe.write_text("epochs: 2\n")
    again = {"resume": True, "model": "rtdetr-n.yaml", "recipe": str(recipe), "project": str(tmp_path)}
    assert train({**again, "data": str(moved)}).last == last
    assert yaml.safe_load((tmp_path / "train" / "args.yaml").read_text())["max_det"] == 7


def test_annotations_that_cannot_be_used_stop_a_run_before_its_first_epoch(tiny_data, tmp_path):
    def begun(trainer):
        raise AssertionError("the first epoch began")

    data = tmp_path / "data.yaml"
    root = {"path": str(tiny_data.parent), **yaml.safe_load(tiny_data.read_text())}
    data.write_text(yaml.safe_dump({**root, "annotations": {"val": "gone.json"}}))
    options = {**TINY, "data": str(data), "epochs": 1, "project": str(tmp_path)}
    with pytest.raises(DataError, match=r"gone\.json' do not exist"):
        train(options, {"on_train_epoch_start": [begun]})
    data.write_text(yaml.safe_dump({**root, "annotations": {"vla": "gone.json"}}))
    with pytest.raises(ConfigError, match="has the split 'vla'"):
        train(options)


@pytest.mark.parametrize("model", ["rtdetr-n.yaml", "yolo11n.yaml"])
def test_all_classes_as_one(tiny_data, tmp_path, model):
    options = {"model": model, "data": str(tiny_data), "imgsz": 64, "batch": 4, "epochs": 1, "project": str(tmp_path)}
    result = train({**options, "single_cls": True, "plots": False})
    assert read_checkpoint(result.best).meta["names"] == {0: "object"}
    assert result.metrics["coco/AP"] >= 0


def test_stock_yolo_trains_without_annotations_in_rectangles(tiny_data, tmp_path):
    data = tmp_path / "data.yaml"
    root = {"path": str(tiny_data.parent), **yaml.safe_load(tiny_data.read_text())}
    root.pop("annotations")
    data.write_text(yaml.safe_dump(root))
    options = {"model": "yolo11n.yaml", "data": str(data), "imgsz": 64, "batch": 4, "epochs": 1}
    result = train({**options, "rect": True, "plots": False, "project": str(tmp_path)})
    assert result.metrics["coco/AP"] >= 0
    assert read_checkpoint(result.best).meta["statistics"]["boxes"] > 0


def test_a_share_of_the_batch_and_no_clipping_train(tiny_data, tmp_path):
    """`batch=-1` sizes the batch by the GPU's memory, and on a CPU takes Ultralytics' 16; `clip=0` clips nothing."""
    options = {**TINY, "data": str(tiny_data), "epochs": 1, "project": str(tmp_path), "batch": -1, "clip": 0}
    start = read_checkpoint(train({**options, "lr0": 0.0, "name": "still"}).last).weights
    moved = read_checkpoint(train({**options, "warmup_iterations": 0, "name": "moved"}).last).weights
    assert any(not torch.equal(start[key], moved[key]) for key in start if key.endswith("weight"))


def test_training_starts_from_weights_and_moves_classes_by_name(tiny_run, tiny_data, tmp_path):
    swapped = tmp_path / "data.yaml"
    content = yaml.safe_load(tiny_data.read_text())
    splits = {"path": str(tiny_data.parent), "train": content["train"], "val": content["val"]}
    swapped.write_text(yaml.safe_dump({**splits, "names": ["car", "person", "boat"]}))
    options = {
        **TINY,
        "model": str(tiny_run.best),
        "data": str(swapped),
        "epochs": 1,
        "project": str(tmp_path),
        "lr0": 0.0,
    }
    given = read_checkpoint(train(options).last).weights["model.decoder.enc_score_head.bias"]
    before = read_checkpoint(tiny_run.best).weights["model.decoder.enc_score_head.bias"]
    torch.testing.assert_close(given[:2], before.flip(0))


def test_one_class_and_images_without_boxes(tiny_data, tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for index in range(5):
        cv2.imwrite(str(images / f"{index}.jpg"), np.full((64, 64, 3), 40 * index, np.uint8))
    (labels / "0.txt").write_text("0 .5 .5 .3 .3\n")
    data = tmp_path / "data.yaml"
    data.write_text("train: images\nval: images\nnames: [thing]\n")
    result = train({**TINY, "data": str(data), "epochs": 1, "batch": 2, "project": str(tmp_path / "runs")})
    assert result.best.exists()


@pytest.mark.parametrize(("where", "what"), [("labels", "class 9"), ("images", "truncated")])
def test_damaged_data_stops_a_run_unless_told_to_go_on(tiny_data, tmp_path, where, what):
    root = tmp_path / "d"
    shutil.copytree(tiny_data.parent, root)
    if where == "labels":
        next((root / "labels" / "train").glob("*.txt")).write_text("9 .5 .5 .1 .1\n")
    else:
        image = next((root / "images" / "train").glob("*.jpg"))
        image.write_bytes(image.read_bytes()[:-300])
    options = {**TINY, "data": str(root / "data.yaml"), "epochs": 1, "project": str(tmp_path / "runs")}
    with pytest.raises(DataError, match=rf"1 of 8 images cannot be used: .*{what}.*skip_bad=True") as caught:
        train(options)
    assert not (tmp_path / "runs" / "train").exists()
    assert "\n" not in str(caught.value)
    assert train({**options, "skip_bad": True}).last.exists()


def test_a_dataset_without_any_box_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.jpg"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    with pytest.raises(DataError, match="no image has a box"):
        train({**TINY, "data": str(tmp_path / "data.yaml"), "epochs": 1, "project": str(tmp_path / "runs")})


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_data, tmp_path):
    def poison(trainer):
        if trainer.epoch == 1:
            with torch.no_grad():
                trainer.model.model.stage3[0].conv1.conv.weight[0, 0, 0, 0] = float("nan")

    options = {**TINY, "data": str(tiny_data), "epochs": 3, "project": str(tmp_path)}
    with pytest.raises(TrainingError, match=r"epoch 2: .* is not finite .*The last good checkpoint is .*last\.pt"):
        train(options, {"on_train_epoch_start": [poison]})
    report = json.loads((tmp_path / "train" / "divergence.json").read_text())
    assert any("stage3" in name for name in report["weights_not_finite"])
    model, _ = load_model(tmp_path / "train" / "weights" / "last.pt")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_lack_of_memory_ends_in_advice_and_never_in_another_batch(tiny_data, tmp_path, monkeypatch):
    def fail(self, batch):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(TrainerHooks, "preprocess_batch", fail)
    with pytest.raises(TrainingError, match=r"Out of memory with batch=4, imgsz=64 .* Try batch=2"):
        train({**TINY, "data": str(tiny_data), "epochs": 1, "project": str(tmp_path)})


def test_rows_are_frozen_by_number_and_by_name(tiny_data, tmp_path, logged):
    options = {**TINY, "data": str(tiny_data), "epochs": 1, "project": str(tmp_path)}
    frozen = read_checkpoint(train({**options, "freeze": 2, "name": "number"}).last).weights
    run = train({**options, "freeze": ["stem1", "stem2"], "name": "name", "verbose": True})
    named = read_checkpoint(run.last).weights
    parameters = [name for name, _ in load_model(run.last)[0].named_parameters()]
    held = sum(name.startswith(("model.stem1.", "model.stem2.")) for name in parameters)
    assert [line for line in logged if line.startswith(("Frozen", "Freezing"))] == [
        f"Frozen: {held} of {len(parameters)} parameter tensors."
    ]
    for key in frozen:
        assert torch.equal(frozen[key], named[key]), key
    with pytest.raises(UsageError, match="freeze=stem9 is no row"):
        train({**options, "freeze": "stem9"})
    with pytest.raises(UsageError, match=r"freeze=decoder\.nope is no row"):
        train({**options, "freeze": ["decoder.nope"]})


def test_the_backbone_has_its_own_rate_when_it_is_pretrained(tiny_run, tiny_data, tmp_path):
    rates = {}

    def record(trainer):
        backbone = {id(p) for p in trainer.model.model.stage3.parameters()}
        for group in trainer.optimizer.param_groups:
            for parameter in group["params"]:
                rates.setdefault(id(parameter) in backbone, set()).add(group["initial_lr"])

    options = {**TINY, "data": str(tiny_data), "epochs": 1, "project": str(tmp_path)}
    train({**options, "model": str(tiny_run.best)}, {"on_train_start": [record]})
    assert rates[True] == {5e-5}
    rates.clear()
    train(options, {"on_train_start": [record]})
    assert rates[True] == {1e-4}


def test_a_timm_file_fills_the_backbone_of_a_run(tiny_data, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    file = tmp_path / "resnet18d.pth"
    torch.save(timm.create_model("resnet18d", pretrained=False).state_dict(), file)
    options = {**TINY, "model": "rtdetr-r18.yaml", "data": str(tiny_data), "epochs": 1, "project": str(tmp_path)}
    weights = read_checkpoint(train({**options, "pretrained": str(file), "freeze": 8}).last).weights
    assert torch.equal(weights["model.stem1.conv.weight"], torch.load(file, weights_only=True)["conv1.0.weight"])


@pytest.mark.parametrize("given", ["resnet18d", "no_such_model"])
def test_weights_that_cannot_be_fetched_stop_the_run_before_it_starts(tiny_data, tmp_path, given):
    options = {**TINY, "model": "rtdetr-r18.yaml", "data": str(tiny_data), "epochs": 1, "project": str(tmp_path)}
    with pytest.raises(CheckpointError, match=given):
        train({**options, "pretrained": given})


@pytest.fixture
def counting_method(monkeypatch):
    """Register a method for one test."""
    monkeypatch.setattr(base, "_METHODS", base.available_methods())

    class CountingArgs(MethodArgs):
        weight: float = 1.0

    class Counting(TrainingMethod):
        name = "counting"
        Args = CountingArgs
        seen: ClassVar[list] = []

        def prepare(self, trainer):
            self.seen.append("prepare")

        def epoch_start(self, epoch, epochs):
            self.seen.append((epoch, epochs))

        def losses(self, model, batch, outputs):
            return {"counting_loss": self.args.weight * sum(p.square().sum() for p in model.parameters()) * 1e-6}

        def strip(self, model):
            self.seen.append("strip")

    return Counting


@pytest.mark.parametrize("model", ["rtdetr-n.yaml", "yolo11n.yaml"])
def test_methods_mount_on_our_models_and_on_stock_ones(tiny_data, tmp_path, counting_method, model):
    options = {
        **TINY,
        "model": model,
        "data": str(tiny_data),
        "epochs": 1,
        "project": str(tmp_path),
        "methods": "counting",
    }
    if model.startswith("yolo"):
        options |= {"optimizer": "AdamW", "amp": False}
        options.pop("queries")
    result = train({**options, "counting.weight": 2})
    assert counting_method.seen == ["prepare", (0, 1), "strip"]
    row = next(csv.DictReader((result.save_dir / "results.csv").open()))
    assert float(row["train/counting_loss"]) > 0
    assert yaml.safe_load((result.save_dir / "args.yaml").read_text())["counting.weight"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counting.weihgt": 1}, r"Did you mean 'counting\.weight'"),
        ({"counting.weight": "x"}, "counting.weight=x is not allowed"),
    ],
)
def test_settings_of_methods_are_checked(tiny_data, counting_method, settings, message):
    with pytest.raises(UsageError, match=message):
        train({**TINY, "data": str(tiny_data), "methods": ["counting"], **settings})


def test_methods_need_names_of_their_own(counting_method):
    with pytest.raises(TypeError, match="needs a name"):
        type("Nameless", (TrainingMethod,), {})
