"""`UAVDet`: the same verbs as the command line, for Python."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from ultralytics.utils import LOGGER

from uavdet.arguments import check_family, defaults_of, parse_options
from uavdet.assets import DEMO_WEIGHTS, find_weights
from uavdet.data.config import DataConfig, check_class_ids, load_data_config
from uavdet.engine import calls
from uavdet.engine.checkpoint import Checkpoint, describe_model, read_checkpoint, save_checkpoint
from uavdet.engine.detecting import Detecting
from uavdet.engine.device import check_device
from uavdet.engine.exported import Exported, is_exported, read_exported
from uavdet.engine.families import Family, build_model, load_model_config, model_family, with_thumbnail
from uavdet.engine.loading import load_model
from uavdet.engine.plan import check_imgsz
from uavdet.engine.profile import ModelProfile, profile_model
from uavdet.engine.train import Callbacks, TrainResult, train
from uavdet.engine.validator import LetterboxValidator, StretchValidator
from uavdet.errors import UsageError
from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.scoring import crowding_warning, write_evaluation
from uavdet.export.flow import export_proven
from uavdet.export.int8 import with_quantization
from uavdet.export.network import network_options
from uavdet.export.registry import check_combination, check_quantization, find_format
from uavdet.nn.thumbnail import TRUNK_STRIDE, input_stride
from uavdet.run_folders import output_folder

if TYPE_CHECKING:
    from uavdet.benchmark import BenchmarkReport

_VAL_CONFIDENCE = 0.001
_VAL_BATCH = 16
_NOTED = ["name", "split", "imgsz", "conf", "iou", "max_det", "queries", "half", "single_cls", "classes", "ignore_fill"]
"""Arguments of a validation that its report holds."""


class UAVDet(Detecting):
    """A detector of small objects in aerial images.

    The kind of `model` decides what runs it: `.pt` and `.safetensors` run in PyTorch, `.onnx` in ONNX Runtime. Nothing
    is converted or fetched on its own.

    Args:
        model: Weights, an exported file, or a model YAML (untrained); by default the bundled weights.
        queries: Number of object queries of a DETR, in the place of the model's.

    Attributes:
        module: The PyTorch module, or None for an exported file.
        exported: What an exported file says of itself, or None for a module.
        names: Class id to class name.
        checkpoint: What the weights file says of itself, or None.
    """

    def __init__(self, model: str | Path | None = None, queries: int | None = None) -> None:
        self._open(find_weights(str(model or DEMO_WEIGHTS)), queries)

    def _open(self, source: str, queries: int | None = None) -> None:
        self.source = source
        self.module: nn.Module | None = None
        self.exported: Exported | None = None
        self.checkpoint: Checkpoint | None = None
        self._forget_predictor()
        self._queries = queries
        if is_exported(self.source):
            self.exported = read_exported(self.source)
            self.exported.check({"queries": queries})
        elif Path(self.source).suffix in {".pt", ".safetensors"}:
            self.module, self.checkpoint = load_model(self.source, queries)
        else:
            self.module = build_model(load_model_config(self.source), queries=queries)
        if queries:
            check_family({"queries"}, self.family.arguments)

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name; empty for an exported file that does not say."""
        if self.exported is not None:
            return dict(self.exported.names)
        return dict(self.module.names)  # type: ignore[arg-type,union-attr]

    @property
    def family(self) -> Family:
        """Which parser, recipe and image layout the model has; exported files are DETRs."""
        return model_family(self.module) if self.module is not None else Family.OURS

    def train(self, callbacks: Callbacks | None = None, **options: Any) -> TrainResult:
        """Train from this model and become the best checkpoint of the run, unless that is no detector.

        Args:
            callbacks: Functions to call at Ultralytics' training events, by event name.
            **options: The arguments of `uavdet train`; `data` at least.
        """
        options.setdefault("model", self.source)
        if self._queries is not None:
            options.setdefault("queries", self._queries)
        result = train(options, callbacks)
        best = result.best if result.best.exists() else result.last
        if "amplifier" not in read_checkpoint(best).meta["yaml"]:
            self._open(str(best))
        return result

    def val(self, **options: Any) -> dict[str, Any]:
        """Score the model on a dataset.

        Args:
            **options: The arguments of `uavdet val`; `data` at least.

        Returns:
            Metrics by name: `coco/AP`, `coco/AP50`, ... in original pixels, and Ultralytics' own.
        """
        options = self._resolve("val", options)
        if options["predictions"]:
            raise UsageError(
                "predictions= is scored without a model. Call uavdet.evaluation.offline.score_predictions, or "
                "`uavdet val predictions=FILE data=YAML` without model=."
            )
        protocols = find_protocols(options["protocol"])
        data = self._open_data(options)
        folder = output_folder("val", options)
        with calls.new_folder(folder, scaffold="data.yaml"):
            validator = self._validator(options, data, folder)
            validator.protocols = protocols
            metrics = validator(model=copy.deepcopy(self._model_for(options)))
            table = self._write_evaluation(validator, options, data, folder)
        LOGGER.info(f"\n{table}") if options["verbose"] else None
        self.scores = {score.protocol: score for score in validator.scores}
        return {
            **(metrics or {}),
            "save_dir": str(folder),
            "speed_ms": {k: round(v, 2) for k, v in validator.speed.items()},
        }

    def make_validator(self, folder: Path, extension: type, **options: Any) -> Any:
        """Return a validator as `val` runs it, to be called with a copy of the model; it writes no report.

        Args:
            folder: Where it keeps what it has to write.
            extension: A class mixed in before the validator's own, which looks on or does more with each batch.
            **options: The arguments of `uavdet val`; `data` at least.

        Raises:
            UsageError: An argument cannot be used, or the data has other classes than the model.
            ConfigError: The dataset YAML or the split cannot be used.
        """
        options = self._resolve("val", options)
        protocols = find_protocols(options["protocol"])
        validator = self._validator(options, self._open_data(options), folder, extension)
        validator.protocols = protocols
        return validator

    def _open_data(self, options: dict[str, Any]) -> DataConfig:
        """Return the dataset of a validation, checked against the options and the model."""
        data = load_data_config(options["data"])
        data.require(options["split"])
        check_class_ids(options["classes"], data.names, data.yaml_file)
        if self.names and not options["single_cls"]:
            calls.check_class_names(self.names, data.names, data.yaml_file)
        if self.module is not None:
            calls.check_channels(self.module, data)
        return data

    def _validator(self, options: dict[str, Any], data: DataConfig, folder: Path, extension: type | None = None) -> Any:
        """Return a validator with resolved options, by COCO's protocol; see `make_validator`."""
        conf = _VAL_CONFIDENCE if options["conf"] is None else options["conf"]
        overrides = calls.ultralytics_overrides(options, "val", folder, conf)
        overrides |= {"batch": options["batch"] or _VAL_BATCH, "data": str(data.yaml_file), "model": self.source}
        overrides["imgsz"] = max(options["imgsz"]) if isinstance(options["imgsz"], list) else options["imgsz"]
        stretches = self.family is not Family.STOCK_YOLO
        validator_class: type = StretchValidator if stretches else LetterboxValidator
        if extension is not None:
            validator_class = type(extension.__name__, (extension, validator_class), {})
        validator = validator_class(args=overrides, save_dir=folder)
        validator.data_config, validator.skip_bad = data, options["skip_bad"]
        validator.ignore_fill = options["ignore_fill"]
        if stretches:
            validator.nms = options["iou"]
            validator.args.imgsz = options["imgsz"]  # two sides as well, which its constructor would make one
        return validator

    def _write_evaluation(self, validator: Any, options: dict[str, Any], data: DataConfig, folder: Path) -> str:
        """Write the report of a validation, and warn where images hold more objects than the model gives detections."""
        limit = min(options["max_det"], options["queries"] or self._own_queries() or options["max_det"])
        setting = "queries" if self.family is not Family.STOCK_YOLO else "max_det"
        if warning := crowding_warning(validator.scored, limit, setting):
            LOGGER.warning(warning)
        settings = {key: options[key] for key in _NOTED} | {"model": self.source, "data": str(data.yaml_file)}
        settings |= {"max_det": limit, "run": str(folder), "network": self._network()}
        if self.checkpoint is not None:
            settings["seed"] = (self.checkpoint.meta.get("recipe") or {}).get("seed")
        return write_evaluation(
            folder,
            validator.scored,
            validator.found,
            validator.scores,
            validator.files,
            settings=settings,
            plots=options["plots"],
        )

    def _network(self) -> str | None:
        """Return the name of the model YAML; None for an exported file."""
        config = getattr(self.module, "yaml", {}) or {}
        return Path(str(config.get("yaml_file"))).name if config.get("yaml_file") else None

    def _model_for(self, options: dict[str, Any]) -> nn.Module | str:
        """Return what a call runs: the module, with other queries where it asks for them, or the exported file."""
        return calls.with_queries(self.module, options.get("queries")) if self.module is not None else self.source

    def export(self, **options: Any) -> Path:
        """Write the model in another form, compare the file with the model, and return it; see `uavdet help export`.

        The report of the comparison lies beside the file (`uavdet.export.flow.read_report`).

        Raises:
            ExportError: The file does not agree with the model; it was named `*.rejected`.
        """
        given, options = options, self._resolve("export", options)
        if self.module is None:
            raise UsageError(f"'{self.source}' is exported already. Export the weights that it was made from.")
        chosen = find_format(options["format"])
        chosen.check(given)
        check_combination(chosen, options)
        check_quantization(chosen, options)
        calls.check_dataset(options["data"] if options["parity"] else None, self.names)
        out = calls.export_file(options["out"], self._default_out(chosen.ending), chosen, self.source)
        module: Any = self._model_for(options)
        settled = network_options(options, chosen.half_name)
        if options["int8"]:
            settled = with_quantization(module, settled, options, chosen.targets[0])
        return export_proven(
            module,
            chosen,
            out,
            settled,
            self._meta(module),
            parity=options["parity"],
            data=options["data"],
        )

    def _meta(self, module: nn.Module) -> dict[str, Any]:
        """Return what a file of the module's weights says of itself."""
        return {**(self.checkpoint.meta if self.checkpoint is not None else {}), **describe_model(module)}

    def _default_out(self, ending: str) -> Path:
        """Return where an export goes: beside the weights, or for the bundled ones under runs/export."""
        source = Path(self.source)
        if source.resolve() == DEMO_WEIGHTS.resolve() or not source.is_file():
            return Path("runs") / "export" / f"{source.stem}{ending}"
        return source.with_name(f"{source.stem}{ending}")

    def benchmark(self, *others: str | Path, **options: Any) -> BenchmarkReport:
        """Time this model, and others beside it; see `uavdet.benchmark.measure_models`.

        Each runs in a process of its own, from its file: what was changed in memory is not seen.

        Args:
            *others: Weights, model YAMLs, and exported files and folders, compared with this one.
            **options: The arguments of `uavdet benchmark`.
        """
        from uavdet.benchmark import measure_models

        parsed = parse_options(options, "benchmark")
        parsed.pop("json", None)
        models = [self.source, *map(str, others), *parsed.pop("model", [])]
        return measure_models(models, **{"queries": self._queries, **parsed})

    def info(self, **options: Any) -> ModelProfile:
        """Count parameters and GFLOPs; `imgsz`, `nc` and `thumbnail` as in `uavdet info`."""
        options = self._resolve("info", options)
        if self.module is None:
            raise UsageError(f"'{self.source}' is an exported file. Give weights or a model YAML.")
        module: Any = self._model_for(options)
        config = with_thumbnail(module.yaml, options)
        if config is not module.yaml or (options["nc"] is not None and options["nc"] != len(self.names)):
            module = build_model(config, nc=options["nc"] or len(self.names))
        size = options["imgsz"]
        return profile_model(module, (size[0], size[1]) if isinstance(size, list) else (size, size))

    def save(self, path: str | Path) -> Path:
        """Write the weights to a `.pt` or `.safetensors` file."""
        if self.module is None:
            raise UsageError(f"'{self.source}' is an exported file and has no weights to save.")
        return save_checkpoint(Checkpoint(self.module.state_dict(), self._meta(self.module)), path)

    def _resolve(self, mode: str, options: dict[str, Any]) -> dict[str, Any]:
        """Return all options of a mode, checked; the input size is the one that the weights were trained for."""
        parsed = parse_options(options, mode)
        check_family(parsed, self.family.arguments)
        if self.exported is not None:
            self.exported.check(parsed)
        calls.check_batch(parsed.get("batch"))
        resolved = {**defaults_of(mode), **parsed}
        if "imgsz" in resolved:
            resolved["imgsz"] = check_imgsz(resolved["imgsz"] or self.own_size(), stride=self._stride(resolved))
        if "max_det" in resolved and "max_det" not in parsed:
            resolved["max_det"] = max(resolved["max_det"], resolved["queries"] or self._own_queries())
        if "device" in resolved:
            resolved["device"] = check_device(resolved["device"])
        if mode != "export" and "half" in resolved:
            resolved["half"] = calls.half_where_it_works(resolved)
        return resolved

    def _stride(self, options: dict[str, Any]) -> int:
        """Return what sides of the input are multiples of; an exported file has one size, and says so itself."""
        if self.module is None or self.family is not Family.OURS:
            return TRUNK_STRIDE
        return input_stride(with_thumbnail(self.module.yaml, options))  # type: ignore[arg-type]

    def own_size(self) -> int | list[int]:
        """Return the input size that the model was exported with or trained for, else 640."""
        if self.exported is not None:
            height, width = self.exported.imgsz or (640, 640)
            return height if height == width else [height, width]
        return (self.checkpoint.meta.get("imgsz") if self.checkpoint is not None else None) or 640

    def _own_queries(self) -> int:
        """Return how many detections an image the model gives; 0 where that is not fixed."""
        return (self.exported.rows if self.exported is not None else calls.queries_of(self.module)) or 0
