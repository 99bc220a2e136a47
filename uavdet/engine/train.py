"""Runs a training from arguments to finished checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER, RANK

from uavdet.engine.calls import new_folder
from uavdet.engine.checkpoint import read_checkpoint, versions
from uavdet.engine.logs import quiet
from uavdet.engine.plan import TrainingPlan, plan_training
from uavdet.engine.trainer import build_trainer
from uavdet.environment import enable_loggers
from uavdet.errors import TrainingError, UsageError

Callbacks = Mapping[str, list[Callable[..., None]]]


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves: its folder, its checkpoints, and the metrics of the best epoch."""

    save_dir: Path
    best: Path
    last: Path
    metrics: dict[str, float]


def train(options: Mapping[str, Any], callbacks: Callbacks | None = None) -> TrainResult:
    """Train a detector.

    Args:
        options: The arguments of `uavdet train`.
        callbacks: Functions to call at Ultralytics' events, by event name; each takes the trainer.

    Raises:
        UAVDetError: The arguments, the data or the weights cannot be used, or the training diverged.
    """
    plan = plan_training(options)
    try:
        enable_loggers(plan.options["loggers"])
    except ValueError as error:
        raise UsageError(str(error)) from error
    return run_plan(plan, callbacks)


def run_plan(plan: TrainingPlan, callbacks: Callbacks | None = None) -> TrainResult:
    """Run a resolved training; see `train`."""
    starts = plan.resume is None and RANK in {-1, 0}
    with new_folder(plan.save_dir, scaffold="args.yaml") if starts else contextlib.nullcontext():
        trainer = build_trainer(plan)
        for event, functions in (callbacks or {}).items():
            for function in functions:
                trainer.add_callback(event, function)
        with quiet(not plan.options["verbose"]):
            _log_plan(plan)
            trainer.train()
    best, last = trainer.best, trainer.last
    if not last.exists():
        raise TrainingError(f"Training ended without a checkpoint in {trainer.wdir}. Look at the messages above.")
    checkpoint = read_checkpoint(best if best.exists() else last)
    return TrainResult(trainer.save_dir, best, last, checkpoint.meta.get("metrics", {}))


def _log_plan(plan: TrainingPlan) -> None:
    methods = ", ".join(method.name for method in plan.methods) or "none"
    numbers = ", ".join(f"{name} {version}" for name, version in versions().items())
    LOGGER.info(
        f"{numbers}\nTraining {plan.options['model']} ({plan.family.value}) on {plan.data.yaml_file}, "
        f"{plan.data.nc} classes, {plan.precision}, methods: {methods}"
    )
