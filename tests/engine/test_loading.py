"""Loading weights: what fits, what moves by class name, and what is refused."""

import pytest
import torch

from uavdet.engine.checkpoint import Checkpoint, describe_model, save_checkpoint
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.loading import load_model, load_weights
from uavdet.errors import CheckpointError


def test_partial_loads_are_refused_unless_asked_for(model):
    weights = {key: value for key, value in model.state_dict().items() if "decoder" not in key}
    fresh = build_model(load_model_config("rtdetr-n"), nc=2)
    with pytest.raises(CheckpointError, match=r"\d+/\d+ tensors loaded, the first missing is 'model\.decoder"):
        load_weights(fresh, weights)
    report = load_weights(fresh, weights, partial=True)
    assert report.loaded == len(weights)
    assert not report.complete


def test_weights_of_another_model_are_refused(model):
    with pytest.raises(CheckpointError, match="do not fit"):
        load_weights(build_model(load_model_config("so-detr-n"), nc=2), model.state_dict())
    with pytest.raises(CheckpointError, match="not one tensor"):
        load_weights(model, {"x": torch.zeros(1)}, partial=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(model, value):
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    broken = next(key for key in weights if key.endswith(".weight"))
    weights[broken].view(-1)[3] = value
    with pytest.raises(CheckpointError, match=f"not finite, first {broken}, in 1 of {len(weights)} tensors"):
        load_weights(model, weights)


def test_class_rows_move_by_name(model):
    fresh = build_model(load_model_config("rtdetr-n"), nc=3)
    fresh.names = {0: "boat", 1: "Car", 2: "person"}
    before = fresh.state_dict()["model.decoder.enc_score_head.weight"].clone()
    assert load_weights(fresh, model.state_dict(), {0: "person", 1: "car"}).complete
    for key in ("enc_score_head.weight", "dec_score_head.0.bias", "denoising_class_embed.weight"):
        old, new = model.state_dict()[f"model.decoder.{key}"], fresh.state_dict()[f"model.decoder.{key}"]
        torch.testing.assert_close(new[[2, 1]], old[[0, 1]])
    torch.testing.assert_close(fresh.state_dict()["model.decoder.enc_score_head.weight"][0], before[0])


def test_an_older_file_with_ids_in_words_starts_a_model(checkpoint, model, tmp_path):
    meta = {**checkpoint.meta, "names": {"0": "person", "1": "car"}, "metrics": None}
    torch.save({"format": "uavdet", "meta": meta, "weights": checkpoint.weights}, tmp_path / "x.pt")
    loaded, read = load_model(tmp_path / "x.pt")
    assert loaded.names == {0: "person", 1: "car"}
    fresh = build_model(load_model_config("rtdetr-n"), nc=2)
    fresh.names = {0: "car", 1: "person"}
    assert load_weights(fresh, read.weights, read.meta["names"]).complete


@pytest.mark.parametrize("queries", [10, 50])
def test_a_checkpoint_with_other_queries_loads(queries, tmp_path):
    config = load_model_config("rtdetr-n")
    config["head"][-1][3].append({"learnt_init_query": True})
    model = build_model(config, nc=2, queries=20)
    path = save_checkpoint(Checkpoint(model.state_dict(), describe_model(model)), tmp_path / "x.pt")
    loaded, _ = load_model(path, queries)
    assert loaded.eval()(torch.rand(1, 3, 96, 96))[0].shape[1] == queries


def test_weights_that_do_not_fit_their_own_yaml_are_refused(checkpoint, tmp_path):
    weights = {key: value for key, value in checkpoint.weights.items() if "decoder" not in key}
    path = save_checkpoint(Checkpoint(weights, checkpoint.meta), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="its own YAML describes"):
        load_model(path)
