"""Keeps tests offline and apart from the user's settings, before anything imports Ultralytics."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import pytest

_FOLDER = Path(tempfile.mkdtemp(prefix="uavdet-tests-"))
os.environ["YOLO_CONFIG_DIR"] = str(_FOLDER / "config")
os.environ["UAVDET_CACHE"] = str(_FOLDER / "cache")
os.environ["YOLO_OFFLINE"] = "1"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

# Ultralytics' log handler keeps the stream that it finds when it is imported, which must not be that of one test.
import uavdet.engine.families  # noqa: F401, E402


@pytest.fixture
def logged():
    """Return the lines that are logged during the test, of whatever level is on."""
    from ultralytics.utils import LOGGER

    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    LOGGER.addHandler(handler)
    yield lines
    LOGGER.removeHandler(handler)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Return the data.yaml of a few small synthetic scenes: 8 to train on, 4 to validate."""
    from uavdet.data.scenes import SceneConfig, write_dataset

    folder = tmp_path_factory.mktemp("scenes")
    config = SceneConfig(seed=3, size=(160, 128), objects=6, min_size=6, max_size=60)
    return write_dataset(folder, {"train": 8, "val": 4}, config, {"person": "person", "car": "car"}, ("thermal",))


TINY = {
    "model": "rtdetr-n.yaml",
    "imgsz": 64,
    "batch": 4,
    "queries": 20,
    "plots": False,
    "device": "cpu",
    "verbose": False,
}


@pytest.fixture(scope="session")
def tiny_run(tiny_data, tmp_path_factory):
    """Return the result of a short training on the small scenes."""
    from uavdet.engine.train import train

    return train({**TINY, "data": str(tiny_data), "epochs": 2, "project": str(tmp_path_factory.mktemp("runs"))})
