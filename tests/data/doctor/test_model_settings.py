"""Queries and input size: the user's, else the model's, else the defaults."""

import pytest

from uavdet.assets import DEMO_WEIGHTS
from uavdet.data.doctor.model_settings import ModelSettings, queries_of, settle
from uavdet.errors import CheckpointError, ConfigError, UsageError


def decoder(*arguments, **more):
    return {"head": [[[1], 1, "RTDETRDecoder", ["nc", *arguments]]], **more}


def test_defaults_without_a_model():
    assert settle(None, None, None) == ModelSettings(300, (640, 640), "the defaults")
    assert settle(None, 500, 800) == ModelSettings(500, (800, 800), "the defaults")
    assert settle(None, None, [512, 640]).imgsz == (512, 640)


@pytest.mark.parametrize(
    ("config", "queries"),
    [
        (decoder(), 300),
        (decoder(256, 500, 4), 500),
        (decoder(256, {"nq": 400}), 400),
        (decoder(256, 500, queries=900), 900),
        ({"head": [[-1, 1, "Detect", ["nc"]]]}, None),
    ],
)
def test_queries_stand_in_the_decoder_row(config, queries):
    assert queries_of(config) == queries


@pytest.mark.parametrize(
    "config", [{}, {"head": ["x"]}, {"head": [[1, 1, "RTDETRDecoder", "nc"]]}, decoder(256, "many")]
)
def test_malformed_yamls_are_refused(config):
    with pytest.raises(ConfigError):
        queries_of(config)


def test_models_by_name_and_by_file(tmp_path):
    assert settle("so-detr-n.yaml", None, None).queries == 300
    own = tmp_path / "own.yaml"
    own.write_text("head:\n- [[1], 1, RTDETRDecoder, [nc, 64, 77]]\n")
    assert settle(str(own), None, None) == ModelSettings(77, (640, 640), str(own))
    assert settle("yolo11n.yaml", None, None).queries is None
    with pytest.raises(ConfigError, match="was not found"):
        settle("so-detr-x9.yaml", None, None)


def test_weights_bring_their_queries_and_size():
    from uavdet.engine.checkpoint import read_checkpoint

    known = settle(str(DEMO_WEIGHTS), None, None)
    assert known.queries == 300
    assert known.imgsz[0] == read_checkpoint(DEMO_WEIGHTS).meta["imgsz"]
    assert settle("so-detr-n-demo", 50, 320) == ModelSettings(50, (320, 320), "so-detr-n-demo")
    with pytest.raises(CheckpointError, match="does not exist"):
        settle("gone.pt", None, None)


def test_queries_for_a_model_without_any_are_refused():
    with pytest.raises(UsageError, match="'queries' has no effect"):
        settle("yolo11n.yaml", 100, None)
