"""Ignored regions from the dataset YAML to the weights: they change a training, and their absence changes nothing."""

import json
import shutil

import pytest
import torch
import yaml

from tests.conftest import TINY
from uavdet.engine.checkpoint import read_checkpoint
from uavdet.engine.train import train


def variant(tiny_data, folder, regions):
    """Return a copy of the dataset whose training annotations have other ignore regions; None names no annotations."""
    root = folder / f"data-{regions}"
    shutil.copytree(tiny_data.parent, root)
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["ignore_regions"] = []
    if regions:
        content["ignore_regions"] = [{"image_id": i["id"], "bbox": [0, 0, 160, 128]} for i in content["images"]]
    file.write_text(json.dumps(content))
    if regions is None:
        config = yaml.safe_load((root / "data.yaml").read_text())
        del config["annotations"]["train"]
        (root / "data.yaml").write_text(yaml.safe_dump(config))
    return root / "data.yaml"


@pytest.fixture(scope="module")
def weights(tiny_data, tmp_path_factory):
    """Return the weights after one epoch, by the kind of regions."""
    folder, found = tmp_path_factory.mktemp("ignored"), {}
    for name, regions, fill in (("none", None, None), ("empty", 0, None), ("whole", 1, None), ("filled", 1, "mean")):
        options = {**TINY, "epochs": 1, "val": False, "deterministic": True, "project": str(folder / "runs")}
        data = str(variant(tiny_data, folder / name, regions))
        run = train({**options, "data": data, "name": name, "ignore_fill": fill, "lr0": 0.01, "warmup_iterations": 0})
        found[name] = read_checkpoint(run.last).weights
    return found


def differ(first, second):
    return any(not torch.equal(first[key], second[key]) for key in first)


def test_annotations_without_regions_change_nothing(weights):
    assert not differ(weights["none"], weights["empty"])


def test_regions_change_a_training(weights):
    assert differ(weights["none"], weights["whole"])


def test_painted_regions_change_it_in_another_way(weights):
    assert differ(weights["filled"], weights["none"])
    assert differ(weights["filled"], weights["whole"])
