"""Runs `uavdet` with every road to a pickled program closed; started by tests as a process of its own."""

import sys

import torch

_load = torch.load


def load_without_programs(*args, weights_only=None, **kwargs):
    if weights_only is not True:
        raise AssertionError("torch.load was called without weights_only=True")
    return _load(*args, weights_only=True, **kwargs)


def refuse(*args, **kwargs):
    raise AssertionError("Ultralytics' load_checkpoint was called")


torch.load = load_without_programs

import uavdet.environment  # noqa: E402, F401, I001
from ultralytics.engine import model, trainer  # noqa: E402
from ultralytics.nn import tasks  # noqa: E402

for module in (model, trainer, tasks):
    module.load_checkpoint = refuse
torch.load = load_without_programs

from uavdet.cli import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
