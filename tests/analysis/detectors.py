"""Small detectors of the classes of the synthetic scenes, as files."""

import torch
from torch import nn

from uavdet.engine.checkpoint import Checkpoint, describe_model, save_checkpoint
from uavdet.engine.families import build_model, load_model_config

NAMES = {0: "person", 1: "car"}


def write_detector(name, file, change=None, block=None):
    """Write an untrained detector as weights, and return the file.

    Args:
        name: A model YAML.
        file: Where to.
        change: Called with the model before it is written.
        block: What stands in the place of the dual-domain fusion of the YAML.
    """
    torch.manual_seed(0)
    config = load_model_config(name)
    for row in config["head"]:
        row[2] = block if block and row[2] == "EquivariantDDF" else row[2]
    model = build_model(config, nc=len(NAMES))
    model.names = dict(NAMES)
    if change is not None:
        change(model)
    return save_checkpoint(Checkpoint(model.state_dict(), {**describe_model(model), "imgsz": 128}), file)


def awaken(model):
    """Give frequency branches scales and gains as training might, and batch norms the scale to pass them on."""
    for module in model.modules():
        if hasattr(module, "alpha") and isinstance(module.alpha, nn.Parameter):
            nn.init.normal_(module.alpha, std=0.5)
        if hasattr(module, "base_gain"):
            nn.init.normal_(module.base_gain)
            nn.init.normal_(module.project_out.weight, std=0.2)
