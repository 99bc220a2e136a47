"""ThumbDet in training: its first stage teaches, its runs resume across the stages, and a run ends in a plain model."""

import csv
import shutil

import cv2
import pytest
import torch

from tests.conftest import TINY
from tests.interruption import Interrupted, interrupt_at
from tests.realdata import REAL_DATA
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.loading import load_model
from uavdet.engine.train import train
from uavdet.methods.thumbdet import ThumbDet
from uavdet.methods.thumbdet.losses import moment_distance
from uavdet.model import UAVDet
from uavdet.nn.thumbnail import AreaThumbnail, Thumbnail, find_thumbnail

THUMB = {**TINY, "thumbnail": 2, "imgsz": 128, "methods": "thumbdet", "thumbdet.stage_epochs": 2}


# The first stage teaches ---------------------------------------------------------------------------------------------


def drone_images(count, side):
    """Return parts of real drone images where they are at hand, else synthetic ones, (count, 3, side, side)."""
    if REAL_DATA is not None:
        files = sorted((REAL_DATA / "hituav" / "images" / "train").glob("*.jpg"))
        frames = [cv2.imread(str(file)) for file in files[:: len(files) // count][:count]]
    else:
        frames = [Scene(SceneConfig(seed=seed, size=(640, 512))).render(0).image for seed in range(count)]
    parts = [torch.from_numpy(frame[128 : 128 + side, 128 : 128 + side]) for frame in frames]
    return torch.stack(parts).permute(0, 3, 1, 2) / 255


def shares(image, thumbnail):
    """Return how far means and variances are from the images', as shares, for the channel that is farthest."""
    means = thumbnail.mean((2, 3)).mean(0) / image.mean((2, 3)).mean(0)
    variances = thumbnail.var((2, 3)).mean(0) / image.var((2, 3)).mean(0)
    return float((means - 1).abs().max()), float((variances - 1).abs().max())


def test_200_steps_bring_the_moments_within_5_percent_and_it_stays_a_picture():
    images, variance = drone_images(6, 256), ThumbDet.Args().variance
    stem = Thumbnail(3, 4)
    with torch.no_grad():
        before = shares(images, stem(images))
    optimizer = torch.optim.AdamW(stem.parameters(), lr=2e-3)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / 200)
        batch = images[step % 3 :: 3]
        optimizer.zero_grad()
        moment_distance(batch, stem(batch), variance).backward()
        optimizer.step()
    with torch.no_grad():
        after = shares(images, stem(images))
        likeness = torch.corrcoef(torch.stack([stem(images).flatten(), AreaThumbnail(4)(images).flatten()]))[0, 1]
    assert max(before) > 0.05
    assert max(after) <= 0.05
    assert likeness > 0.97


# Runs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tiny_run, tiny_data, tmp_path_factory):
    """Return the result of a run of two epochs a stage, from a run of the plain model."""
    project = tmp_path_factory.mktemp("thumbdet")
    options = {**THUMB, "thumbdet.teacher": str(tiny_run.best), "deterministic": True}
    return train({**options, "data": str(tiny_data), "epochs": 4, "project": str(project), "name": "whole"})


def rows_of(folder):
    return list(csv.DictReader((folder / "results.csv").open()))


def test_the_losses_are_columns(run):
    columns = [f"train/thumbdet_{name}_loss" for name in ("moments", "logits", "features")]
    rows = rows_of(run.save_dir)
    assert len(rows) == 4
    for row in rows[:2]:
        assert float(row[columns[0]]) > 0
        assert float(row["train/giou_loss"]) == float(row[columns[2]]) == 0
    for row in rows[2:]:
        assert float(row[columns[0]]) > 0
        assert float(row["train/giou_loss"]) > 0
        assert float(row[columns[2]]) > 0


def test_the_best_epoch_is_one_of_the_second_stage(run):
    assert read_checkpoint(run.best).meta["epoch"] >= 2


def test_the_run_ends_in_a_model_with_nothing_but_a_thumbnail_added(run, tiny_run):
    plain, taught = read_checkpoint(tiny_run.best).weights, read_checkpoint(run.best).weights
    assert set(taught) - set(plain) == {f"model.thumbnail.layers.conv{n}.weight" for n in (1, 2)}
    assert set(plain) <= set(taught)


def test_a_run_resumes_across_the_stages(run, tiny_run, tiny_data, tmp_path):
    options = {**THUMB, "thumbdet.teacher": str(tiny_run.best), "deterministic": True, "data": str(tiny_data)}
    with pytest.raises(Interrupted):
        train({**options, "epochs": 4, "project": str(tmp_path), "name": "cut"}, interrupt_at(1))
    last = tmp_path / "cut" / "weights" / "last.pt"
    with pytest.raises(Interrupted):
        train({"resume": str(last)}, interrupt_at(2))
    cut = read_checkpoint(last)
    assert not last.with_name("best.pt").exists()  # both epochs were of the first stage
    _check_only_the_thumbnail_moved(cut, tiny_run)
    resumed = train({"resume": str(last)})
    expected, given = read_checkpoint(run.last).weights, read_checkpoint(resumed.last).weights
    for key in expected:
        assert torch.equal(expected[key], given[key]), key
    timeless = [
        [{k: v for k, v in row.items() if k != "time"} for row in rows_of(f)] for f in (run.save_dir, last.parents[1])
    ]
    assert timeless[0] == timeless[1]


def _check_only_the_thumbnail_moved(checkpoint, teacher):
    taught = read_checkpoint(teacher.best).weights
    start = Thumbnail(3, 2).state_dict()
    for key, value in checkpoint.training["model"].items():
        if key in taught:
            assert torch.equal(value, taught[key].to(value.dtype)), key
        else:
            assert not torch.equal(value, start[key.removeprefix("model.thumbnail.")]), key


def test_epochs_of_the_first_stage_do_not_count_for_patience(tiny_run, tiny_data, tmp_path):
    options = {**THUMB, "thumbdet.teacher": str(tiny_run.best), "thumbdet.stage_epochs": 3, "patience": 1}
    result = train({**options, "data": str(tiny_data), "epochs": 4, "project": str(tmp_path)})
    assert len(rows_of(result.save_dir)) == 4
    assert read_checkpoint(result.best).meta["epoch"] == 3


def test_a_frozen_thumbnail_keeps_what_the_first_stage_taught(tiny_run, tiny_data, tmp_path):
    options = {**THUMB, "thumbdet.teacher": str(tiny_run.best), "thumbdet.stage_epochs": 1, "thumbdet.frozen": True}
    result = train({**options, "data": str(tiny_data), "epochs": 3, "save_period": 1, "project": str(tmp_path)})
    kept = [read_checkpoint(result.last.with_name(f"epoch{epoch}.pt")).training["model"] for epoch in (0, 2)]
    moved = {key.split(".")[1] for key in kept[0] if not torch.equal(kept[0][key], kept[1][key])}
    assert "thumbnail" not in moved
    assert {"stem1", "decoder"} <= moved


def test_the_model_validates_predicts_tracks_and_exports(run, tiny_data, tmp_path):
    model = UAVDet(run.best)
    assert find_thumbnail(model.module).factor == 2
    assert int(model.module.stride.max()) == 64
    metrics = model.val(data=str(tiny_data), project=str(tmp_path), plots=False, verbose=False)
    recorded = read_checkpoint(run.best).meta["metrics"]
    assert metrics["coco/AP50"] == pytest.approx(recorded["coco/AP50"], abs=1e-4)
    frame = Scene(SceneConfig(seed=1, size=(160, 128), modality="thermal", objects=5)).render(0).image
    results = model.predict(frame, conf=0.0)
    assert len(results[0].boxes)
    assert (results[0].boxes.xyxy[:, 2] <= 160).all()
    model.track([frame, frame], conf=0.0)
    exported = UAVDet(model.export(out=str(tmp_path / "x.onnx")))
    again = exported.predict(frame, conf=0.0)
    assert sorted(again[0].boxes.conf.tolist()) == pytest.approx(sorted(results[0].boxes.conf.tolist()), abs=1e-3)
    for size in (96, 160):
        with pytest.raises(ValueError, match="multiple of 64"):
            model.predict(frame, imgsz=size)


def test_training_goes_on_from_the_result_and_from_plain_weights(run, tiny_run, tiny_data, tmp_path):
    options = {**TINY, "data": str(tiny_data), "imgsz": 128, "epochs": 1, "project": str(tmp_path), "lr0": 0.0}
    again = train({**options, "model": str(run.best), "thumbnail": 2})
    expected = read_checkpoint(run.best).weights
    weights = read_checkpoint(again.last).weights
    assert torch.equal(weights["model.thumbnail.layers.conv1.weight"], expected["model.thumbnail.layers.conv1.weight"])
    for start in ({"model": str(tiny_run.best)}, {"pretrained": str(tiny_run.best)}):
        fresh = train({**options, "thumbnail": 2, **start})
        weights = read_checkpoint(fresh.last).weights
        plain = read_checkpoint(tiny_run.best).weights
        assert torch.equal(weights["model.stem1.conv.weight"], plain["model.stem1.conv.weight"])
        model, _ = load_model(fresh.last)
        image = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(find_thumbnail(model)(image), AreaThumbnail(2)(image), atol=1e-6, rtol=0)


def test_a_recorded_run_with_a_thumbnail_is_a_recipe(run, tmp_path):
    from uavdet.engine.plan import plan_training

    recipe = shutil.copy(run.save_dir / "args.yaml", tmp_path / "again.yaml")
    plan = plan_training({"recipe": str(recipe), "project": str(tmp_path)})
    assert plan.config["backbone"][0] == [-1, 1, "Thumbnail", [2], "thumbnail"]
    assert plan.methods[0].args.stage_epochs == 2
