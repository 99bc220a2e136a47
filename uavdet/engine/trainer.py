"""Trainers: Ultralytics' training loop with our recipe, checkpoints, guards and training methods.

`TrainerHooks` is mixed in before a trainer of Ultralytics, so that methods mount on our models and on stock RT-DETR
and YOLO alike.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import nn
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOGGER, RANK, colorstr
from ultralytics.utils.torch_utils import unwrap_model

from uavdet.data.dataset import LetterboxDataset, StretchDataset
from uavdet.data.statistics import training_statistics
from uavdet.engine import distributed
from uavdet.engine.checkpoint import load_all, load_weights, read_checkpoint, save_checkpoint, strip_checkpoint
from uavdet.engine.families import Family, backbone_rows, build_model, row_names
from uavdet.engine.guards import divergence_report, is_out_of_memory, memory_advice
from uavdet.engine.logs import quiet
from uavdet.engine.plan import TrainingPlan
from uavdet.engine.pretrained import load_pretrained
from uavdet.engine.random_state import seed_epoch
from uavdet.engine.run_state import checkpoint_of, restore_run
from uavdet.engine.validator import LetterboxValidator, StretchValidator
from uavdet.errors import TrainingError, UsageError
from uavdet.methods.extras import StudentExtras
from uavdet.methods.features import FeatureRecorder

if TYPE_CHECKING:
    from ultralytics.models.yolo.detect import DetectionTrainer as _Trainer
else:
    _Trainer = object

_OWN_KEYS = frozenset(
    {
        *("recipe", "methods", "queries", "json", "loggers", "partial", "backbone_lr", "clip"),
        *("warmup_iterations", "warmup_epochs", "skip_bad", "resume", "pretrained", "amp", "ignore_fill"),
        *("thumbnail", "thumbnail_kind", "thumbnail_layers"),
    }
)
"""Arguments that Ultralytics does not have, or that mean something else there."""

_WARMUP_ITERATIONS = 2000
_LARGEST_WARMUP = 0.1  # of the run


class TrainerHooks(_Trainer):
    """What our runs add to a trainer of Ultralytics; mixed in before it.

    Attributes:
        plan: The resolved run.
        pretrained_backbone: Whether the backbone started from pretrained weights.
    """

    ddp: bool
    device: torch.device
    model: Any
    best_fitness: float | None
    save_dir: Path
    dataset_class: type = StretchDataset
    validator_class: type = StretchValidator

    def __init__(self, plan: TrainingPlan, callbacks: dict[str, list[Callable[..., None]]] | None = None) -> None:
        self.plan = plan
        self.own: dict[str, Any] = {key: plan.options.get(key) for key in _OWN_KEYS}
        self.pretrained_backbone = False
        overrides = {key: value for key, value in plan.options.items() if key not in _OWN_KEYS}
        overrides |= {
            "task": "detect",
            "mode": "train",
            "save_dir": str(plan.save_dir),
            "data": str(plan.data.yaml_file),
            "amp": False,  # autocast is entered in the model's loss, see `set_model_attributes`
            "resume": plan.resume is not None,
            "nbs": plan.options["nbs"] or max(int(plan.options["batch"]), 1),  # see `_build_train_pipeline`
        }
        with quiet():  # Ultralytics' list of all its arguments, most of which do not apply
            super().__init__(overrides=overrides, _callbacks=callbacks)
        self.world_size = distributed.world_size()
        self.ddp = self.ddp and self.world_size == 1
        if RANK in {-1, 0}:
            text = yaml.safe_dump(plan.recipe(), sort_keys=False)
            (self.save_dir / "args.yaml").write_text(text, encoding="utf-8")

    # Set-up ----------------------------------------------------------------------------------------------------------

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Note whether the run is a continuation; the plan has read its checkpoint already."""
        self.resume = self.plan.resume is not None

    def get_dataset(self) -> dict[str, Any]:
        """Return the dataset in Ultralytics' form; nothing is downloaded."""
        data = {**self.plan.data.as_ultralytics(), "skip_bad": self.plan.options["skip_bad"]}
        if self.plan.options["single_cls"]:
            data |= {"names": {0: "object"}, "nc": 1}
        return data

    def train(self) -> None:
        """Run the training: here, or in one process for each GPU of `device=0,1`."""
        if self.ddp:
            devices = str(self.args.device).split(",")
            distributed.launch_workers(len(devices), self.save_dir / "args.yaml")
            return
        super().train()

    def _setup_ddp(self) -> None:
        self.device = distributed.start_process_group(self.device, str(self.args.device))
        self.save_dir = Path(distributed.share(str(self.save_dir)))
        self.wdir = self.save_dir / "weights"
        self.last, self.best, self.csv = self.wdir / "last.pt", self.wdir / "best.pt", self.save_dir / "results.csv"

    def setup_model(self) -> None:
        """Build the model and load the weights that it starts from."""
        if isinstance(self.model, nn.Module):
            return
        plan, names = self.plan, self.data["names"]
        model = build_model(plan.config, len(names), self.data["channels"], plan.options["queries"])
        model.names = dict(names)  # type: ignore[assignment]
        if plan.resume is None:
            self._load_start(model)
        else:
            self.pretrained_backbone = bool((plan.resume.training or {})["pretrained_backbone"])
        self.model = model

    def _load_start(self, model: nn.Module) -> None:
        plan, pretrained = self.plan, self.own["pretrained"]
        if isinstance(pretrained, str):
            report = load_pretrained(model, pretrained, partial=bool(self.own["partial"]))
            self.pretrained_backbone = True
            LOGGER.info(f"pretrained={pretrained}: {report}")
        elif plan.start is not None and pretrained:
            partial = bool(self.own["partial"])
            report = load_weights(model, plan.start.weights, plan.start.meta["names"], partial=partial)
            self.pretrained_backbone = True
            old = {name.lower() for name in plan.start.meta["names"].values()}
            known = [name for name in self.data["names"].values() if name.lower() in old]
            LOGGER.info(
                f"{plan.options['model']}: {report}; classes known by name: {', '.join(known) or 'none'} "
                f"({len(known)} of {len(self.data['names'])})"
            )

    def set_model_attributes(self) -> None:
        """Attach classes, arguments, precision and memory layout to the model, and get the methods ready."""
        super().set_model_attributes()
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}
        model: Any = self.model
        model.autocast_dtype = dtypes[self.plan.precision]
        wanted = self.args.channels_last
        self.channels_last = self.device.type == "cpu" if wanted is None else wanted and self.device.type != "cuda"
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.args.freeze is not None:
            self.args.freeze = self._frozen_rows(self.args.freeze)
        self.teachers, self.student_extras = self.plan.teachers, StudentExtras()
        self._features: FeatureRecorder | None = None
        for method in self.plan.methods:
            method.prepare(self)
            model.auxiliary_losses.functions.append(method.losses)
        if len(self.student_extras):
            model.student_extras = self.student_extras.to(self.device)

    def student_features(self) -> FeatureRecorder:
        """Return the student's feature maps of the last forward pass, for the methods that ask."""
        if self._features is None:
            self._features = FeatureRecorder(self.model)
        return self._features

    def _frozen_rows(self, freeze: int | list[int | str]) -> list[str]:
        """Return the names of the rows to freeze.

        Raises:
            UsageError: A row does not exist.
        """
        names = row_names(self.model)
        modules = {name.removeprefix("model.") for name, _ in self.model.named_modules()}
        frozen = []
        for entry in range(freeze) if isinstance(freeze, int) else freeze:
            if isinstance(entry, int) and 0 <= entry < len(names):
                frozen.append(names[entry])
            elif str(entry) in modules:
                frozen.append(str(entry))
            else:
                raise UsageError(f"freeze={entry} is no row of this model. Rows: {', '.join(names)}.")
        return frozen

    def build_dataset(self, img_path: str | list[str], mode: str = "train", batch: int | None = None) -> Any:
        """Return the dataset of a split."""
        stride = max(int(unwrap_model(self.model).stride.max()), 32)
        return self.dataset_class(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            rect=(self.args.rect or mode == "val") and self.dataset_class is LetterboxDataset,
            cache=self.args.cache or None,
            single_cls=self.args.single_cls or False,
            stride=stride,
            prefix=colorstr(f"{mode}: "),
            classes=self.args.classes,
            data={**self.data, "split": mode, "ignore_fill": self.own["ignore_fill"] if mode == "train" else None},
            fraction=self.args.fraction if mode == "train" else 1.0,
        )

    def _setup_train(self) -> None:
        """Set up as Ultralytics does, but for its distributed wrapper, which knows no CPU."""
        processes, self.world_size = self.world_size, 0
        super()._setup_train()
        self.world_size = processes
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.precision == "fp16")
        if self.plan.resume is not None and self.plan.resume.training["scaler"]:  # type: ignore[index]
            self.scaler.load_state_dict(self.plan.resume.training["scaler"])  # type: ignore[index]
        self.statistics = training_statistics(self.train_loader.dataset.labels, self.args.imgsz)
        if RANK in {-1, 0}:
            self.validator.data = self.data
            self.validator.ground_truth()  # annotations that cannot be used are known before the first epoch

    def _build_train_pipeline(self) -> None:
        """Build loaders for this process's share of the batch; without accumulation where nbs is 0.

        The model is wrapped for distributed training here, before the moving average is made: wrapping gives every
        rank the weights of rank 0, and the average starts from them.
        """
        if not self.plan.options["nbs"]:
            self.args.nbs = self.batch_size
        self.world_size = distributed.world_size()
        if self.world_size > 1:
            find_unused = self.plan.family is not Family.OURS or bool(self.plan.methods)
            self.model = distributed.wrap_model(self.model, self.device, find_unused=find_unused)
        super()._build_train_pipeline()
        self.world_size = 0

    def _get_warmup_iterations(self, num_batches: int) -> int:
        """Return the warm-up: as given, else by our recipe RT-DETR's 2,000 iterations, at most a tenth of the run."""
        if self.own["warmup_iterations"] is not None:
            return self.own["warmup_iterations"]
        if self.own["warmup_epochs"] is not None:
            return round(min(self.own["warmup_epochs"], max(self.epochs - 1, 0)) * num_batches)
        return min(_WARMUP_ITERATIONS, round(_LARGEST_WARMUP * self.epochs * num_batches))

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Return the optimizer, with groups of their own for the backbone where its learning rate differs."""
        optimizer = super().build_optimizer(model, *args, **kwargs)
        rate = self._backbone_rate(optimizer.param_groups[0]["lr"])
        backbone = {id(p) for row in backbone_rows(unwrap_model(model)) for p in row.parameters()}
        for group in list(optimizer.param_groups) if rate is not None else []:
            own = [p for p in group["params"] if id(p) in backbone]
            if own:
                group["params"] = [p for p in group["params"] if id(p) not in backbone]
                settings = {key: value for key, value in group.items() if key not in {"params", "initial_lr"}}
                optimizer.add_param_group({**settings, "params": own, "lr": rate})
        return optimizer

    def _backbone_rate(self, rate: float) -> float | None:
        """Return the backbone's learning rate if it differs: as given, or in our recipe half where it is pretrained."""
        given = self.own["backbone_lr"]
        if given is None and self.plan.family is Family.OURS and self.pretrained_backbone:
            given = rate / 2
        return None if given is None or given == rate else given

    def get_validator(self) -> Any:
        """Return the validator of this family."""
        validator = self.validator_class(
            self.test_loader, save_dir=self.save_dir, args=copy.copy(self.args), _callbacks=self.callbacks
        )
        validator.data_config, validator.skip_bad = self.plan.data, self.plan.options["skip_bad"]
        return validator

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
        """Remove the training state from the checkpoints and validate the best one."""
        if RANK in {-1, 0}:
            for method in self.plan.methods:
                method.strip(self.ema.ema)
            for file in (self.last, self.best):
                if file.exists():
                    strip_checkpoint(file)
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
