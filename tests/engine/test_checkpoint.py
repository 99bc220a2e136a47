"""Checkpoints: round trips, atomic writing, and what is said of foreign and damaged files."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from uavdet.engine.checkpoint import (
    Checkpoint,
    half_weights,
    read_checkpoint,
    read_plain_weights,
    save_checkpoint,
    strip_checkpoint,
)
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.importing import import_checkpoint
from uavdet.engine.loading import load_model
from uavdet.engine.pretrained import load_pretrained
from uavdet.errors import CheckpointError


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_round_trip_keeps_model_and_meta(model, checkpoint, tmp_path, suffix):
    path = save_checkpoint(checkpoint, tmp_path / f"x{suffix}")
    loaded, read = load_model(path)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(x)[0], model(x)[0])
    assert loaded.names == {0: "person", 1: "car"}
    assert read.meta["imgsz"] == 64
    assert read.meta["metrics"]["coco/AP"] == 0.5
    assert set(read.meta["versions"]) == {"uavdet", "torch", "ultralytics"}
    assert read.training is None


def test_checkpoints_load_without_pickle(checkpoint, tmp_path):
    training = {"optimizer": torch.optim.AdamW(nn.Linear(2, 2).parameters()).state_dict(), "best_fitness": None}
    path = save_checkpoint(Checkpoint(checkpoint.weights, checkpoint.meta, training), tmp_path / "x.pt")
    assert torch.load(path, weights_only=True)["format"] == "uavdet"
    assert read_checkpoint(path).training["best_fitness"] is None


def test_stripping_removes_the_training_state(checkpoint, tmp_path):
    path = save_checkpoint(Checkpoint(checkpoint.weights, checkpoint.meta, {"epoch": 3}), tmp_path / "x.pt")
    strip_checkpoint(path, {"note": "kept"})
    assert read_checkpoint(path).training is None
    assert read_checkpoint(path).meta["note"] == "kept"


def test_half_weights_load_as_float32(checkpoint, tmp_path):
    halved = Checkpoint(half_weights(checkpoint.weights), checkpoint.meta)
    loaded, _ = load_model(save_checkpoint(halved, tmp_path / "x.safetensors"))
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert (tmp_path / "x.safetensors").stat().st_size < 0.55 * sum(p.numel() * 4 for p in loaded.parameters())


def test_a_failed_write_leaves_the_old_file(checkpoint, tmp_path, monkeypatch):
    path = save_checkpoint(checkpoint, tmp_path / "x.pt")
    before = path.read_bytes()

    def fail(content, file):
        file.write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(checkpoint, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_checkpoint_are_refused(checkpoint, tmp_path):
    good = save_checkpoint(checkpoint, tmp_path / "good.pt").read_bytes()
    cases = {
        "missing.pt": (None, "does not exist"),
        "empty.pt": (b"", "is empty"),
        "cut.pt": (good[: len(good) // 2], "damaged"),
        "text.pt": (b"no weights at all", "damaged|no checkpoint of ours"),
        "cut.safetensors": (b"\x10\x00", "damaged"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / name)


class Payload:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (print, ("the checkpoint ran",))


def test_pickled_checkpoints_are_refused_and_not_run(tmp_path, capsys):
    torch.save({"model": Payload()}, tmp_path / "evil.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.pt", "old.pt"):
        with pytest.raises(CheckpointError, match=r"uavdet import weights=.* trust=True"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="trust=True"):
        import_checkpoint(tmp_path / "evil.pt")
    assert "ran" not in capsys.readouterr().out


def test_plain_state_dicts_are_refused_with_a_hint_and_usable_as_pretraining(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="pretrained="):
        read_checkpoint(tmp_path / "plain.pth")
    fresh = build_model(load_model_config("rtdetr-n"), nc=2)
    assert load_pretrained(fresh, str(tmp_path / "plain.pth")).complete
    torch.testing.assert_close(
        fresh.state_dict()["model.stem1.conv.weight"], model.state_dict()["model.stem1.conv.weight"]
    )


def test_plain_files_without_tensors_are_refused(tmp_path):
    torch.save({"a": 1}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="no tensors"):
        read_plain_weights(tmp_path / "x.pth")


def test_newer_checkpoints_are_refused(checkpoint, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"format": "uavdet", "meta": {"schema": 99, "versions": {"uavdet": "9.0"}}, "weights": {}}, path)
    with pytest.raises(CheckpointError, match=r"written by uavdet 9\.0"):
        read_checkpoint(path)


GOOD_META = {"yaml": {}, "names": {"0": "a"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "lacks 'meta'"),
        ({"meta": None, "weights": {}}, "'meta' is NoneType"),
        ({"meta": [], "weights": {}}, "'meta' is list"),
        ({"meta": {}, "weights": {}}, r"lacks 'meta\.yaml'"),
        ({"meta": {"yaml": "x", "names": {}}, "weights": {}}, r"'meta\.yaml' is str"),
        ({"meta": {"yaml": {}}, "weights": {}}, r"lacks 'meta\.names'"),
        ({"meta": {"yaml": {}, "names": ["a"]}, "weights": {}}, r"'meta\.names' is list"),
        ({"meta": {"yaml": {}, "names": {"a": "b"}}, "weights": {}}, "no class names by id"),
        ({"meta": {"yaml": {}, "names": {}}, "weights": {}}, "no class names by id"),
        ({"meta": GOOD_META}, "lacks 'weights'"),
        ({"meta": GOOD_META, "weights": {}, "training": 3}, "'training' is int"),
        ({"meta": {"schema": 99, "versions": None}}, "by a newer uavdet"),
    ],
)
def test_incomplete_checkpoints_are_refused(content, message, tmp_path):
    torch.save({"format": "uavdet", **content}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=message):
        read_plain_weights(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "lacks 'meta'"),
        ({"meta": "{}"}, r"lacks 'meta\.yaml'"),
        ({"meta": "[]"}, "'meta' is list"),
        ({"meta": "null"}, "'meta' is NoneType"),
        ({"meta": "{"}, "damaged"),
        ({"meta": '{"yaml": {}}'}, r"lacks 'meta\.names'"),
    ],
)
def test_incomplete_safetensors_are_refused(header, message, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"format": "uavdet", **header})
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "x.safetensors")


def test_safetensors_of_others_may_have_any_header(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"format": "pt", "meta": "no JSON"})
    with pytest.raises(CheckpointError, match="without a uavdet header"):
        read_checkpoint(tmp_path / "x.safetensors")
    assert list(read_plain_weights(tmp_path / "x.safetensors")) == ["x"]


@pytest.mark.parametrize("key", [int, str])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_class_ids_are_integers_however_they_were_written(key, suffix, tmp_path):
    meta = {"yaml": {}, "names": {key(0): "person", key(1): "car"}}
    path = save_checkpoint(Checkpoint({"x": torch.zeros(1)}, meta), tmp_path / f"x{suffix}")
    assert read_checkpoint(path).meta["names"] == {0: "person", 1: "car"}


def test_unknown_suffixes_are_refused(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="suffix"):
        save_checkpoint(checkpoint, tmp_path / "x.bin")
