"""Trainers: Ultralytics' training loop with our recipe, checkpoints, guards and training methods.

`TrainerHooks` is mixed in before a trainer of Ultralytics, so that methods mount on our models and on stock RT-DETR
and YOLO alike.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from uavdet.data.dataset import LetterboxDataset
from uavdet.engine import distributed
from uavdet.engine.checkpoint import describe_model, read_checkpoint, save_checkpoint, strip_checkpoint
from uavdet.engine.families import Family
from uavdet.engine.guards import divergence_report, is_out_of_memory, memory_advice
from uavdet.engine.loading import load_all
from uavdet.engine.plan import TrainingPlan
from uavdet.engine.random_state import seed_epoch
from uavdet.engine.run_state import checkpoint_of, restore_run
from uavdet.engine.trainer_setup import TrainerSetup
from uavdet.engine.validator import LetterboxValidator
from uavdet.errors import TrainingError
from uavdet.methods.extras import StudentExtras
from uavdet.methods.features import FeatureRecorder


class TrainerHooks(TrainerSetup):
    """What our runs add to a trainer of Ultralytics; mixed in before it."""

    def train(self) -> None:
        """Run the training: here, or in one process for each GPU of `device=0,1`."""
        if self.ddp:
            devices = str(self.args.device).split(",")
            distributed.launch_workers(len(devices), self.save_dir / "args.yaml")
            return
        super().train()

    def set_model_attributes(self) -> None:
        """Get the model ready, then mount the methods on it."""
        super().set_model_attributes()
        self.teachers, self.student_extras = self.plan.teachers, StudentExtras()
        self._features: FeatureRecorder | None = None
        for method in self.plan.methods:
            method.prepare(self)
            self.model.auxiliary_losses.functions.append(method.losses)
        if len(self.student_extras):
            self.model.student_extras = self.student_extras.to(self.device)

    def student_features(self) -> FeatureRecorder:
        """Return the student's feature maps of the last forward pass, for the methods that ask."""
        if self._features is None:
            self._features = FeatureRecorder(self.model)
        return self._features

    def label_loss_items(self, loss_items: Any = None, prefix: str = "train") -> Any:
        """Return losses by column, to five digits; Ultralytics rounds to five decimals, where small ones vanish.

        Losses of training methods act in training alone, and have no column of validation.
        """
        if loss_items is None:
            return super().label_loss_items(None, prefix)
        if prefix == "val":
            own = unwrap_model(self.model).item_names
            loss_items = {name: value for name, value in loss_items.items() if name in own}
        return {f"{prefix}/{name}": float(f"{float(value):.5g}") for name, value in loss_items.items()}

    # Training --------------------------------------------------------------------------------------------------------

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, scale images to [0, 1] and give them the model's memory layout."""
        batch = super().preprocess_batch(batch)
        if self.channels_last:
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def _model_train(self) -> None:
        """Begin an epoch: training mode, the methods informed, and no silent halving of the batch on lack of memory."""
        super()._model_train()
        self._oom_retries = 3
        seed_epoch(self.train_loader, self.args.seed, self.epoch)
        for method in self.plan.methods:
            method.epoch_start(self.epoch, self.epochs)

    @property
    def _preliminary(self) -> bool:
        return any(method.preliminary for method in self.plan.methods)

    def validate(self) -> tuple[Any, Any]:
        """Validate; an epoch that a method calls preliminary has no fitness: it is not the best, and stops nothing."""
        best = self.best_fitness
        metrics, fitness = super().validate()
        if self._preliminary:
            self.best_fitness, fitness = best, None
        return metrics, fitness

    def _do_train(self) -> None:
        try:
            super()._do_train()
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise TrainingError(memory_advice(self)) from error
            raise

    def optimizer_step(self) -> None:
        """Take a step with our clipping; stop where the loss or the gradients are not finite."""
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=self.own["clip"] or math.inf)
        if not torch.isfinite(self.loss) or (not self.scaler.is_enabled() and not torch.isfinite(norm)):
            raise TrainingError(divergence_report(self))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Never recover in silence: `optimizer_step` has stopped the run already."""
        return False

    def progress_string(self) -> str:
        """Return the head of the progress table; long names of losses stand apart."""
        columns = ("Epoch", "GPU_mem", *self.loss_names, "Instances", "Size")
        return "\n" + "".join(f"{name:>11}" if len(name) < 11 else f" {name}" for name in columns)

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def save_model(self) -> bool:
        """Write last.pt, best.pt where this epoch is the best, and a numbered one where asked for.

        The best is written first: a run that is killed between the two repeats the epoch and writes the best again.
        """
        checkpoint = checkpoint_of(self)
        if self.best_fitness == self.fitness and not self._preliminary:
            save_checkpoint(checkpoint, self.best)
        save_checkpoint(checkpoint, self.last)
        if self.save_period > 0 and self.epoch % self.save_period == 0:
            save_checkpoint(checkpoint, self.wdir / f"epoch{self.epoch}.pt")
        return True

    def resume_training(self, ckpt: Any) -> None:
        """Continue the run of the plan's checkpoint, exactly where it stopped."""
        if self.plan.resume is not None:
            restore_run(self, self.plan.resume)

    def final_eval(self) -> None:
        """Remove the training state from the checkpoints, describe the model as it flies, and validate the best one."""
        if RANK in {-1, 0}:
            for method in self.plan.methods:
                method.strip(self.ema.ema)
            for file in (self.last, self.best):
                if file.exists():
                    strip_checkpoint(file, describe_model(self.ema.ema))
        if self.best.exists() and RANK == -1 and self.args.plots:
            self._validate_best()

    def _validate_best(self) -> None:
        """Validate the best checkpoint once more, for its plots; its metrics are those of its own epoch, unrounded.

        A copy of the moving average takes the weights: it has what a method put on the model.
        """
        LOGGER.info(f"\nValidating {self.best}...")
        model, checkpoint = copy.deepcopy(self.ema.ema), read_checkpoint(self.best)
        load_all(self.best, model, checkpoint.weights)
        self.validator.args.plots = True
        self.metrics = self.validator(model=model.to(self.device))
        fitness = self.metrics.pop("fitness", None)
        metrics = {**checkpoint.meta["metrics"], **_plain(self.metrics), "fitness": fitness}
        strip_checkpoint(self.best, {"metrics": metrics})


def _plain(metrics: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def log_remaining_time(trainer: Any) -> None:
    """Log the time that the run still needs, from the epochs done in this process; an `on_fit_epoch_end` callback."""
    done = trainer.epoch - trainer.start_epoch + 1
    left = trainer.epochs - trainer.epoch - 1
    if RANK in {-1, 0} and left > 0 and trainer.epoch_time is not None:
        mean = (time.time() - trainer.train_time_start) / done
        LOGGER.info(f"epoch {trainer.epoch + 1}/{trainer.epochs}: {mean:.1f} s an epoch, {_clock(mean * left)} left")


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


class DETRTrainer(TrainerHooks, RTDETRTrainer):
    """Trains our models and stock RT-DETR."""


class YOLOTrainer(TrainerHooks, DetectionTrainer):
    """Trains stock YOLO models."""

    dataset_class = LetterboxDataset
    validator_class = LetterboxValidator


def build_trainer(plan: TrainingPlan, callbacks: dict[str, list[Callable[..., None]]] | None = None) -> TrainerHooks:
    """Return the trainer of a plan's family."""
    trainer_class = YOLOTrainer if plan.family is Family.STOCK_YOLO else DETRTrainer
    trainer = trainer_class(plan, callbacks)
    trainer.add_callback("on_fit_epoch_end", log_remaining_time)
    return trainer
