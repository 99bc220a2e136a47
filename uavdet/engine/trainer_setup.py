"""What a training run stands on: its options, model and start weights, data, optimizer and validator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import nn
from ultralytics.utils import LOGGER, RANK, colorstr
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from uavdet.data.dataset import LetterboxDataset, StretchDataset
from uavdet.data.statistics import training_statistics
from uavdet.engine import distributed
from uavdet.engine.families import Family, backbone_rows, build_model, row_names
from uavdet.engine.loading import load_weights
from uavdet.engine.logs import quiet, without
from uavdet.engine.plan import TrainingPlan
from uavdet.engine.pretrained import load_pretrained
from uavdet.engine.validator import StretchValidator
from uavdet.errors import UsageError
from uavdet.nn.contiguous_gradients import make_gradients_contiguous

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
_AVERAGED_STEPS = 10_000
_LARGEST_AVERAGE = 0.1  # of the run


class TrainerSetup(_Trainer):
    """What our runs set up otherwise than a trainer of Ultralytics; the base of `TrainerHooks`.

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

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Note whether the run is a continuation; the plan has read its checkpoint already."""
        self.resume = self.plan.resume is not None

    def get_dataset(self) -> dict[str, Any]:
        """Return the dataset in Ultralytics' form; nothing is downloaded."""
        data = {**self.plan.data.as_ultralytics(), "skip_bad": self.plan.options["skip_bad"]}
        if self.plan.options["single_cls"]:
            data |= {"names": {0: "object"}, "nc": 1}
        return data

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
        """Attach classes, arguments, precision and memory layout to the model, and freeze rows."""
        super().set_model_attributes()
        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}
        model: Any = self.model
        model.autocast_dtype = dtypes[self.plan.precision]
        wanted = self.args.channels_last
        self.channels_last = self.device.type == "cpu" if wanted is None else wanted and self.device.type != "cuda"
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        make_gradients_contiguous(model)
        if self.args.freeze is not None:
            self.args.freeze = self._frozen_rows(self.args.freeze)

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
        with without("Freezing layer") as frozen:  # a line for each tensor
            super()._setup_train()
        if frozen:
            LOGGER.info(f"Frozen: {len(frozen)} of {len(list(self.model.parameters()))} parameter tensors.")
        self.world_size = processes
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.precision == "fp16")
        if self.plan.resume is not None and self.plan.resume.training["scaler"]:  # type: ignore[index]
            self.scaler.load_state_dict(self.plan.resume.training["scaler"])  # type: ignore[index]
        if self.plan.resume is None:  # what is resumed has its average
            self.ema = self.new_average()
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

    def new_average(self) -> ModelEMA:
        """Return a moving average that starts from the weights as they are.

        Ultralytics' averages over 10,000 steps at most, and follows the weights closely before 2,000: in a run of 1,000
        steps it smooths nothing. For our models it averages over a tenth of the run where that is less.
        """
        if self.plan.family is not Family.OURS:
            return ModelEMA(self.model)
        steps = min(_AVERAGED_STEPS, max(1.0, _LARGEST_AVERAGE * self.epochs * len(self.train_loader)))
        return ModelEMA(self.model, decay=1 - 1 / steps, tau=steps / 5)

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
