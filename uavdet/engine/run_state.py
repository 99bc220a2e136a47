"""The state of a running training: what its checkpoints hold, and how a run goes on from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from uavdet.engine.checkpoint import Checkpoint, describe_model
from uavdet.engine.random_state import (
    capture_random_state,
    mosaic_pool,
    refill_mosaic_pool,
    restore_random_state,
)
from uavdet.errors import UsageError


def checkpoint_of(trainer: Any) -> Checkpoint:
    """Return the checkpoint of a trainer at the end of an epoch."""
    return Checkpoint(trainer.ema.ema.state_dict(), _meta(trainer), _training_state(trainer))


def _meta(trainer: Any) -> dict[str, Any]:
    metrics = {key: float(value) for key, value in (trainer.metrics or {}).items()}
    return {
        **describe_model(trainer.ema.ema),
        "imgsz": trainer.args.imgsz,
        "recipe": trainer.plan.recipe(),
        "statistics": trainer.statistics,
        "metrics": {**metrics, "fitness": _number(trainer.fitness)},
        "epoch": trainer.epoch,
        "license": "AGPL-3.0-or-later",
    }


def _training_state(trainer: Any) -> dict[str, Any]:
    return {
        "model": unwrap_model(trainer.model).state_dict(),
        "updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "epoch": trainer.epoch,
        "best_fitness": _number(trainer.best_fitness),
        "stopper": [float(trainer.stopper.best_fitness), int(trainer.stopper.best_epoch)],
        "random": capture_random_state(),
        "pretrained_backbone": trainer.pretrained_backbone,
        "mosaic_pool": mosaic_pool(trainer.train_loader),
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def restore_run(trainer: Any, checkpoint: Checkpoint) -> None:
    """Set a trainer, set up for its first epoch, to where a checkpoint stopped.

    Raises:
        UsageError: The run has no epoch left.
    """
    state = checkpoint.training or {}
    unwrap_model(trainer.model).load_state_dict(state["model"])
    trainer.ema = trainer.new_average()
    trainer.ema.ema.load_state_dict(checkpoint.weights)
    trainer.ema.updates = state["updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.best_fitness = state["best_fitness"]
    trainer.stopper.best_fitness, trainer.stopper.best_epoch = state["stopper"]
    trainer.start_epoch = state["epoch"] + 1
    if trainer.start_epoch >= trainer.epochs:
        raise UsageError(f"The run has finished its {trainer.epochs} epochs: there is nothing to resume.")
    _restore_criterion(unwrap_model(trainer.model), trainer.start_epoch)
    cut_results(trainer.csv, trainer.start_epoch)
    if trainer.start_epoch > trainer.epochs - trainer.args.close_mosaic:
        trainer._close_dataloader_mosaic()
    restore_random_state(state["random"])
    refill_mosaic_pool(trainer.train_loader, state["mosaic_pool"])
    LOGGER.info(f"Resuming {trainer.save_dir} at epoch {trainer.start_epoch + 1} of {trainer.epochs}")


def _restore_criterion(model: Any, epochs: int) -> None:
    """Set the weights of the two heads of an end-to-end YOLO, which shift from epoch to epoch, to `epochs` done."""
    criterion = model.init_criterion()
    if hasattr(criterion, "update"):
        criterion.updates = epochs - 1
        criterion.update()
        model.criterion = criterion


def cut_results(file: Path, epochs: int) -> None:
    """Remove the rows of results.csv that a killed run wrote after its last checkpoint."""
    if file.exists():
        header, *rows = file.read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if row and int(float(row.split(",", 1)[0])) <= epochs]
        file.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
