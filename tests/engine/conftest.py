"""What several test files of the engine use: a small untrained model and its checkpoint."""

import numpy as np
import pytest
import torch

from uavdet.engine.checkpoint import Checkpoint, describe_model
from uavdet.engine.families import build_model, load_model_config


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = build_model(load_model_config("rtdetr-n"), nc=2, queries=20)
    model.names = {0: "person", 1: "car"}
    return model.eval()


@pytest.fixture
def checkpoint(model):
    return Checkpoint(
        model.state_dict(), {**describe_model(model), "imgsz": 64, "metrics": {"coco/AP": np.float64(0.5)}}
    )
