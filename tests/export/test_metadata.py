"""What a file says of itself."""

import json

import pytest
import torch
from torch import nn

import uavdet
from tests.export.networks import make_model
from uavdet.export.metadata import as_text, describe_export, hash_weights
from uavdet.export.network import NetworkOptions


def own_part(model=None, meta=None, **options):
    settled = NetworkOptions(**{"imgsz": (64, 64), **options})
    return json.loads(describe_export(model or make_model("rtdetr-n"), settled, meta or {})["uavdet"])


def test_ultralytics_finds_its_keys():
    model = make_model("rtdetr-n")
    model.names = {0: "a", 1: "b", 2: "it's"}
    values = describe_export(model, NetworkOptions(imgsz=(64, 96), batch=2), {})
    assert (values["imgsz"], values["batch"], values["stride"], values["channels"]) == ([64, 96], 2, 32, 3)
    assert (values["task"], values["head"], values["end2end"]) == ("detect", "RTDETRDecoder", False)
    assert as_text(values)["names"] == str(model.names)


def test_only_rows_of_detections_are_told_to_ultralytics():
    assert "head" not in describe_export(make_model("rtdetr-n"), NetworkOptions((64, 64), output="raw"), {})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"dtype": "float32", "layout": "NCHW", "color": "RGB", "scale": 1 / 255, "resize": "stretch"}),
        ({"input": "uint8"}, {"dtype": "uint8", "layout": "NHWC", "color": "BGR", "scale": 1.0, "resize": "stretch"}),
    ],
)
def test_preprocessing_follows_the_input(options, expected):
    assert own_part(**options)["preprocessing"] == expected


def test_grey_models_take_grey_pictures():
    assert own_part(make_model("rtdetr-n", channels=1), input="uint8")["preprocessing"]["color"] == "grey"


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({}, "boxes", "cxcywh normalised"),
        ({"output": "deepstream"}, "boxes", "xyxy pixels"),
        ({"output": "raw"}, "output", "raw"),
        ({}, "precision", "fp32"),
        ({"half": True}, "precision", "fp16"),
        ({}, "schema", 2),
        ({}, "statistics", None),
    ],
)
def test_our_part_tells_layout_and_precision(options, key, value):
    assert own_part(**options)[key] == value


def test_what_the_checkpoint_knows_is_passed_on():
    meta = {"statistics": {"boxes": 12, "median": torch.tensor(3.5)}, "metrics": {"coco/AP": 0.25}}
    part = own_part(meta=meta)
    assert part["statistics"] == {"boxes": 12, "median": 3.5}
    assert part["metrics"] == {"coco/AP": 0.25}
    assert part["versions"]["uavdet"] == uavdet.__version__


def test_the_hash_is_of_the_values_alone():
    model = nn.Linear(2, 2)
    first = hash_weights(model)
    assert len(first) == 64
    assert hash_weights(model) == first
    with torch.no_grad():
        model.weight[0, 0] += 1e-3
    assert hash_weights(model) != first
