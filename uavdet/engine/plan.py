"""Decides what a training will do, before anything expensive starts: arguments, model, data and folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from uavdet.arguments import check_family, defaults_of, foreign_arguments, parse_options, read_recipe
from uavdet.assets import DEFAULT_RECIPE, find_weights, find_yaml
from uavdet.data.config import DataConfig, check_class_ids, load_data_config
from uavdet.engine.checkpoint import Checkpoint, read_checkpoint
from uavdet.engine.device import check_device
from uavdet.engine.exported import is_exported
from uavdet.engine.families import Family, family_of, load_model_config, with_thumbnail
from uavdet.engine.loading import refuse_amplifier
from uavdet.errors import CheckpointError, UsageError
from uavdet.methods.base import TrainingMethod, build_methods, check_schedules
from uavdet.methods.teacher import TeacherPool
from uavdet.nn.registry import registered_layers
from uavdet.nn.rows import ModelConfig, read_rows
from uavdet.nn.thumbnail import input_stride
from uavdet.run_folders import run_folder

_WEIGHT_SUFFIXES = {".pt", ".safetensors"}
_NEEDED = {"imgsz", "batch"}
"""Arguments whose None means the recipe's value."""
_CHANGEABLE_ON_RESUME = {
    "data",
    "device",
    "workers",
    "cache",
    "save_period",
    "patience",
    "plots",
    "val",
    "loggers",
    "json",
    "verbose",
}


_NOT_OF_THE_RUN = {"resume", "model", "project", "recipe"}
"""Arguments that find a run to resume, or that were resolved when it started."""


@dataclass
class TrainingPlan:
    """A resolved training run.

    Attributes:
        options: Every training argument with its value.
        config: The model YAML.
        family: Its family.
        data: The dataset.
        methods: The training methods.
        save_dir: The run's folder.
        precision: 'bf16', 'fp16' or 'fp32', for what `amp` asks and the device has.
        start: The checkpoint that the weights come from, if any.
        resume: The checkpoint to continue, if any.
        method_settings: The dotted settings of the methods that were given, in `recipe=`, by the user, or to the run
            that is resumed; not yet parsed, but for files of weights, which have absolute paths.
        teachers: The teachers of the methods.
    """

    options: dict[str, Any]
    config: ModelConfig
    family: Family
    data: DataConfig
    methods: list[TrainingMethod]
    save_dir: Path
    precision: str
    start: Checkpoint | None = None
    resume: Checkpoint | None = None
    method_settings: dict[str, Any] = field(default_factory=dict)
    teachers: TeacherPool = field(default_factory=lambda: TeacherPool({}))

    def recipe(self) -> dict[str, Any]:
        """Return the options as plain data, for args.yaml and for checkpoints; `recipe=` reads it back."""
        left_out = {"json", "recipe", "resume", *foreign_arguments(self.family.arguments)}
        plain = {key: value for key, value in self.options.items() if key not in left_out}
        return {**plain, **self.method_settings, "model": self.options["model"], "data": str(self.data.yaml_file)}


def plan_training(user: Mapping[str, Any]) -> TrainingPlan:
    """Resolve the arguments of a training run.

    Values come, in rising order, from the table of arguments, the family's recipe (cfg/recipes/rt-detr.yaml for our
    models and none for stock ones), the file of `recipe=`, and the user.

    Raises:
        UAVDetError: Anything that would make the run fail later and can be known now.
    """
    options = parse_options(user, "train")
    if options.get("resume"):
        return _plan_resume(options)
    recipe = read_recipe(find_yaml(options["recipe"], "cfg/recipes")) if options.get("recipe") else {}
    given = {key: value for key, value in {**recipe, **options}.items() if value is not None or key not in _NEEDED}
    if not given.get("model"):
        raise UsageError("No model was given. Give a model YAML or weights: model=so-detr-n.yaml.")
    for key in ("model", "pretrained"):
        if isinstance(given.get(key), str):
            given[key] = find_weights(given[key])
    config, start = _read_model(given["model"])
    family = family_of(config)
    merged = {**defaults_of("train"), **_family_defaults(family), **given}
    config = with_thumbnail(config, merged)
    return _assemble(merged, set(given), config, family, start)


def _read_model(model: str) -> tuple[ModelConfig, Checkpoint | None]:
    suffix = Path(model).suffix
    if suffix in _WEIGHT_SUFFIXES:
        checkpoint = read_checkpoint(model)
        refuse_amplifier(model, checkpoint)
        return checkpoint.meta["yaml"], checkpoint
    if is_exported(model):
        raise UsageError(f"model='{model}' is an exported file and cannot be trained. Give the .pt it was made from.")
    return load_model_config(model), None


def _family_defaults(family: Family) -> dict[str, Any]:
    if family is Family.OURS:
        return read_recipe(find_yaml(DEFAULT_RECIPE, "cfg/recipes"))
    return {"imgsz": 640, "batch": 16, "warmup_epochs": 3.0}


def _assemble(
    merged: dict[str, Any],
    given: set[str],
    config: ModelConfig,
    family: Family,
    start: Checkpoint | None,
    resume: Checkpoint | None = None,
) -> TrainingPlan:
    settings = {key: _absolute(value) for key, value in merged.items() if "." in key}
    options = {key: value for key, value in merged.items() if "." not in key}
    check_family(given, family.arguments)
    if family is Family.OURS:
        _check_rows(config, options["methods"])
    options["imgsz"] = check_imgsz(options["imgsz"], training=True, stride=input_stride(config))
    options["device"] = check_device(options["device"], several=True)
    data = load_data_config(options.get("data"))
    for split in ("train", "val"):
        data.require(split)
    check_class_ids(options["classes"], data.names, data.yaml_file)
    _follow_queries(options, given, config)
    names = {0: "object"} if options["single_cls"] else data.names
    plan = TrainingPlan(
        options=options,
        config=config,
        family=family,
        data=data,
        methods=build_methods(options["methods"], settings),
        save_dir=resume_folder(options) if resume else run_folder("train", options),
        precision=resolve_precision(options["amp"], options["device"]),
        start=start,
        resume=resume,
        method_settings=settings,
        teachers=TeacherPool(names, None if options["multi_scale"] or options["rect"] else options["imgsz"]),
    )
    for method in plan.methods:
        if not options["time"]:
            check_schedules(method, options["epochs"])
        method.check(plan, plan.teachers)
    return plan


def _check_rows(config: ModelConfig, methods: list[str]) -> None:
    """Refuse a model with rows for a training method that the run does not have.

    Raises:
        UsageError: There is one; the message names the row.
    """
    layers = registered_layers()
    for row in read_rows(config):
        method = getattr(layers.get(row.module), "trained_by", None)
        if method is not None and method not in methods:
            raise UsageError(
                f"{row.describe(config)}: the row is for training with the method {method}, which this run does not "
                f"have. Add methods={','.join([*methods, method])}, or give a model without such rows."
            )


def _absolute(value: Any) -> Any:
    """Return the absolute path where a setting names weights: a run may be resumed from another folder."""
    is_file = isinstance(value, str) and Path(value).suffix in _WEIGHT_SUFFIXES and Path(value).expanduser().is_file()
    return str(Path(value).expanduser().absolute()) if is_file else value


def _follow_queries(options: dict[str, Any], given: set[str], config: ModelConfig) -> None:
    """Let max_det follow a larger number of queries, asked for or of the checkpoint, unless the user set it."""
    if "max_det" not in given:
        options["max_det"] = max(options["max_det"], options.get("queries") or config.get("queries") or 0)


def check_imgsz(imgsz: int | list[int], *, training: bool = False, stride: int = 32) -> int | list[int]:
    """Return a size that the network can take.

    Raises:
        UsageError: A side is no multiple of `stride`, too small, or training was given two sides; the message names
            the nearest sizes that can be taken.
    """
    sides = imgsz if isinstance(imgsz, list) else [imgsz]
    if training and len(sides) > 1:
        raise UsageError(f"imgsz={','.join(map(str, sides))} has two sides. Training takes one: imgsz={max(sides)}.")
    smallest = 2 * stride if training else stride
    for side in sides:
        if side % stride or side < smallest:
            raise UsageError(
                f"imgsz={side} is not allowed: a side is a multiple of {stride}, at least {smallest}. "
                f"{_nearest_sizes(side, stride, smallest)}"
            )
    return imgsz


def _nearest_sizes(side: int, stride: int, smallest: int) -> str:
    below = side // stride * stride
    if below < smallest:
        return f"The nearest is imgsz={smallest}."
    return f"The nearest are imgsz={below} and imgsz={below + stride}."


def resolve_precision(amp: bool | str, device: Any) -> str:
    """Return the training precision 'bf16', 'fp16' or 'fp32' for what `amp` asks and the device has.

    `True` means what it means in Ultralytics: fp16 on a GPU, fp32 elsewhere.

    Raises:
        UsageError: The asked precision does not exist on the device.
    """
    on_gpu = torch.cuda.is_available() and str(device).lower() not in {"cpu", "mps"}
    if amp in {False, "fp32"} or (amp is True and not on_gpu):
        return "fp32"
    if amp in {True, "fp16"}:
        if not on_gpu:
            raise UsageError("amp=fp16 needs a CUDA GPU. Give amp=auto, amp=bf16 or amp=fp32.")
        return "fp16"
    supported = bool(torch.cuda.is_bf16_supported(including_emulation=False)) if on_gpu else cpu_has_bfloat16(device)
    if amp == "bf16" and not supported:
        raise UsageError("amp=bf16 is not supported by this device. Give amp=auto or amp=fp32.")
    return "bf16" if supported else "fp32"


def cpu_has_bfloat16(device: Any = "cpu") -> bool:
    """Return whether the CPU multiplies bfloat16 natively (AVX512-BF16 or AMX); False for other devices."""
    if str(device).lower() == "mps" or not hasattr(torch.ops, "mkldnn"):
        return False
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


def resume_folder(options: Mapping[str, Any]) -> Path:
    """Return the folder of the run that is continued: two levels above its `weights/last.pt`."""
    return Path(options["resume"]).absolute().parent.parent


def _plan_resume(options: dict[str, Any]) -> TrainingPlan:
    """Resolve the continuation of a run: its own arguments, apart from those that do not change the result."""
    file = _last_checkpoint(options)
    checkpoint = read_checkpoint(file)
    if checkpoint.training is None:
        raise CheckpointError(
            f"'{file}' is the end of a finished run and cannot be resumed. Start a new one from it: model={file}."
        )
    recorded = parse_options(checkpoint.meta["recipe"], "train", f"{file}: ")
    recipe = read_recipe(find_yaml(options["recipe"], "cfg/recipes")) if options.get("recipe") else {}
    changed = {key: value for key, value in {**recipe, **options}.items() if key not in _NOT_OF_THE_RUN}
    for key, value in changed.items():
        if key not in _CHANGEABLE_ON_RESUME and value != recorded.get(key):
            allowed = ", ".join(sorted(_CHANGEABLE_ON_RESUME))
            raise UsageError(f"'{key}' cannot change when a run is resumed. These can: {allowed}.")
    merged = {**defaults_of("train"), **recorded, **changed, "resume": str(file)}
    config = checkpoint.meta["yaml"]
    plan = _assemble(merged, set(recorded), config, family_of(config), None, checkpoint)
    names, recorded_names = plan.data.names, checkpoint.meta["names"]
    if not merged["single_cls"] and dict(names) != dict(recorded_names):
        raise UsageError(
            f"{plan.data.yaml_file} has the classes {', '.join(names.values())}; the run that is resumed has "
            f"{', '.join(recorded_names.values())}. Resume it on the same data."
        )
    return plan


def _last_checkpoint(options: Mapping[str, Any]) -> Path:
    """Return the checkpoint that `resume=` means: a path, that of `model=`, or the newest last.pt of the project."""
    if isinstance(options["resume"], str):
        return Path(options["resume"]).expanduser()
    if str(options.get("model")).endswith(".pt"):
        return Path(options["model"]).expanduser()
    project = Path(options.get("project") or Path("runs") / "train").expanduser().absolute()
    found = sorted(project.glob("*/weights/last.pt"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise CheckpointError(f"{project} holds no run with a weights/last.pt. Give one: resume=PATH/weights/last.pt.")
    return found[-1]
