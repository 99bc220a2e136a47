"""`UAVDet`: the same verbs as the command line, for Python."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from uavdet.arguments import check_family, defaults_of, parse_options
from uavdet.assets import DEMO_WEIGHTS
from uavdet.data.config import load_data_config
from uavdet.engine.checkpoint import Checkpoint, half_weights, load_model, save_checkpoint
from uavdet.engine.families import Family, build_model, load_model_config, model_family
from uavdet.engine.plan import check_imgsz, run_folder
from uavdet.engine.predictor import LetterboxPredictor, StretchPredictor, is_exported
from uavdet.engine.profile import ModelProfile, profile_model
from uavdet.engine.train import Callbacks, TrainResult, train
from uavdet.engine.validator import LetterboxValidator, StretchValidator
from uavdet.errors import CheckpointError, UsageError
from uavdet.video.tracking import read_tracker

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

_TRACK_CONFIDENCE = 0.1  # trackers use weak detections to keep a track alive
_VAL_CONFIDENCE = 0.001
_VAL_BATCH = 16


class UAVDet:
    """A detector of small objects in aerial images.

    The kind of `model` decides what runs it: `.pt` and `.safetensors` run in PyTorch, `.onnx` in ONNX Runtime. Nothing
    is converted or fetched on its own.

    Args:
        model: Weights, an exported file, or a model YAML (untrained); by default the bundled weights.
        queries: Number of object queries of a DETR, in the place of the model's.

    Attributes:
        module: The PyTorch module, or None for an exported file.
        names: Class id to class name.
        checkpoint: What the weights file says of itself, or None.
    """

    def __init__(self, model: str | Path | None = None, queries: int | None = None) -> None:
        self._open(str(model or DEMO_WEIGHTS), queries)

    def _open(self, source: str, queries: int | None = None) -> None:
        self.source = source
        self.module: nn.Module | None = None
        self.checkpoint: Checkpoint | None = None
        self._predictor: tuple[dict[str, Any], Any] | None = None
        if is_exported(self.source):
            self._check_exported()
        elif Path(self.source).suffix in {".pt", ".safetensors"}:
            self.module, self.checkpoint = load_model(self.source, queries)
        else:
            self.module = build_model(load_model_config(self.source), queries=queries)

    def _check_exported(self) -> None:
        path = Path(self.source)
        if not path.is_file() or not path.stat().st_size:
            state = "is empty" if path.is_file() else "does not exist"
            raise CheckpointError(f"'{path}' {state}. Write it with: uavdet export model=best.pt format=onnx.")

    @property
    def names(self) -> dict[int, str]:
        """Class id to class name; empty for an exported file that has not run yet."""
        return dict(self.module.names) if self.module is not None else {}  # type: ignore[arg-type]

    @property
    def family(self) -> Family:
        """Which parser, recipe and image layout the model has; exported files are DETRs."""
        return model_family(self.module) if self.module is not None else Family.OURS

    def __call__(self, source: Any, *, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Detect objects; see `predict`."""
        return self.predict(source, stream=stream, **options)

    def train(self, callbacks: Callbacks | None = None, **options: Any) -> TrainResult:
        """Train from this model and become the best checkpoint of the run.

        Args:
            callbacks: Functions to call at Ultralytics' training events, by event name.
            **options: The arguments of `uavdet train`; `data` at least.
        """
        options.setdefault("model", self.source)
        result = train(options, callbacks)
        self._open(str(result.best if result.best.exists() else result.last))
        return result

    def val(self, **options: Any) -> dict[str, Any]:
        """Score the model on a dataset.

        Args:
            **options: The arguments of `uavdet val`; `data` at least.

        Returns:
            Metrics by name: `coco/AP`, `coco/AP50`, ... in original pixels, and Ultralytics' own.
        """
        options = self._resolve("val", options)
        data = load_data_config(options.pop("data"))
        data.require(options["split"])
        self._check_classes(data.names, data.yaml_file)
        validator_class = LetterboxValidator if self.family is Family.STOCK_YOLO else StretchValidator
        folder = run_folder("val", options)
        overrides = _ultralytics(options, "val", folder, options["conf"] or _VAL_CONFIDENCE)
        overrides |= {"batch": options["batch"] or _VAL_BATCH, "data": str(data.yaml_file), "model": self.source}
        validator = validator_class(args=overrides, save_dir=folder)
        validator.data_config, validator.skip_bad = data, options["skip_bad"]
        metrics = validator(model=copy.deepcopy(self.module) if self.module is not None else self.source)
        self.coco = validator.coco
        return {
            **(metrics or {}),
            "save_dir": str(folder),
            "speed_ms": {k: round(v, 2) for k, v in validator.speed.items()},
        }

    def _check_classes(self, names: Mapping[int, str], file: Path) -> None:
        if self.module is not None and len(self.names) != len(names):
            raise UsageError(
                f"The model has {len(self.names)} classes ({', '.join(self.names.values())}), {file} has {len(names)} "
                f"({', '.join(names.values())}). Validate on data with the model's classes."
            )

    def predict(self, source: Any = None, *, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Detect objects in images, folders, videos or streams.

        Args:
            source: A path, glob, URL, camera number, array (H, W, 3) BGR, PIL image, or a list of them.
            stream: Return an iterator that holds one result at a time, as long videos and streams need.
            **options: The arguments of `uavdet predict`.

        Returns:
            Ultralytics `Results`, boxes clipped to the image.
        """
        return self._predict("predict", source, stream, options)

    def track(self, source: Any = None, *, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Detect and track objects in videos or streams; `boxes.id` of the results holds identities.

        Only confirmed tracks are returned. Args as `predict`, and `tracker`; `persist=True` keeps the tracks of the
        call before, for videos that are given frame by frame.
        """
        return self._predict("track", source, stream, options)

    def _predict(
        self, mode: str, source: Any, stream: bool, options: dict[str, Any]
    ) -> list[Results] | Iterator[Results]:
        options = self._resolve(mode, {"save": False, **options})
        given = options.pop("source", None)
        source = given if source is None else source
        if source is None or (isinstance(source, str) and not source):
            raise UsageError(
                f"No source was given. Give an image, a folder, a video or a stream: uavdet {mode} source=X."
            )
        predictor = self._predictor_for(mode, options)
        return predictor(source=source, stream=stream)

    def _predictor_for(self, mode: str, options: dict[str, Any]) -> Any:
        """Return the predictor of the last call where its settings still hold, else a new one.

        A predictor holds a fused copy of the model, so making one takes longer than detecting in a picture.
        """
        persist = options.pop("persist", False)
        key = {**options, "mode": mode}
        if self._predictor is None or self._predictor[0] != key:
            self._predictor = (key, self._make_predictor(mode, options))
        predictor = self._predictor[1]
        predictor.persist = persist
        predictor.save_dir = run_folder(mode, options)
        return predictor

    def _make_predictor(self, mode: str, options: dict[str, Any]) -> Any:
        tracker = read_tracker(options["tracker"]) if mode == "track" else None
        predictor_class = LetterboxPredictor if self.family is Family.STOCK_YOLO else StretchPredictor
        conf = _TRACK_CONFIDENCE if tracker is not None and options["conf"] is None else options["conf"]
        predictor = predictor_class(overrides=_ultralytics(options, mode, run_folder(mode, options), conf))
        predictor.tracker = tracker
        predictor.setup_model(self.module if self.module is not None else self.source, verbose=bool(options["verbose"]))
        return predictor

    def export(self, **options: Any) -> Path:
        """Write the model in another form and return the file; see `uavdet help export`."""
        options = self._resolve("export", options)
        if self.module is None:
            raise UsageError(f"'{self.source}' is exported already. Export the weights that it was made from.")
        out = Path(options["out"] or self._default_out(options["format"]))
        meta = self.checkpoint.meta if self.checkpoint is not None else {}
        if options["format"] == "safetensors":
            weights = self.module.state_dict()
            kept = {**meta, "names": {str(key): name for key, name in self.names.items()}}
            return save_checkpoint(Checkpoint(half_weights(weights) if options["half"] else weights, kept), out)
        if options["half"]:
            raise UsageError("half=True is not available for format=onnx. Export in single precision.")
        from uavdet.export.onnx import export_onnx

        return export_onnx(
            self.module,
            out,
            options["imgsz"],
            batch=int(options["batch"] or 1),
            dynamic=options["dynamic"],
            opset=options["opset"],
            simplify=options["simplify"],
            max_det=options["max_det"],
            meta=meta,
        )

    def _default_out(self, suffix: str) -> Path:
        """Return where an export goes: beside the weights, or for the bundled ones under runs/export."""
        source = Path(self.source)
        if source.resolve() == DEMO_WEIGHTS.resolve() or not source.is_file():
            folder = Path("runs") / "export"
            folder.mkdir(parents=True, exist_ok=True)
            return folder / f"{source.stem}.{suffix}"
        return source.with_suffix(f".{suffix}")

    def info(self, **options: Any) -> ModelProfile:
        """Count parameters and GFLOPs; `imgsz` and `nc` as in `uavdet info`."""
        options = self._resolve("info", options)
        if self.module is None:
            raise UsageError(f"'{self.source}' is an exported file. Give weights or a model YAML.")
        module = self.module
        if options["nc"] is not None and options["nc"] != len(self.names):
            module = build_model(module.yaml, nc=options["nc"])  # type: ignore[arg-type]
        size = options["imgsz"]
        return profile_model(module, (size[0], size[1]) if isinstance(size, list) else (size, size))

    def save(self, path: str | Path) -> Path:
        """Write the weights to a `.pt` or `.safetensors` file."""
        if self.module is None:
            raise UsageError(f"'{self.source}' is an exported file and has no weights to save.")
        meta = self.checkpoint.meta if self.checkpoint is not None else {"yaml": self.module.yaml, "names": self.names}
        return save_checkpoint(Checkpoint(self.module.state_dict(), meta), path)

    def _resolve(self, mode: str, options: dict[str, Any]) -> dict[str, Any]:
        """Return all options of a mode, checked; the input size is the one that the weights were trained for."""
        parsed = parse_options(options, mode)
        check_family(parsed, self.family.arguments)
        resolved = {**defaults_of(mode), **parsed}
        if "imgsz" in resolved:
            trained = self.checkpoint.meta.get("imgsz") if self.checkpoint is not None else None
            resolved["imgsz"] = check_imgsz(resolved["imgsz"] or trained or 640)
        if resolved.get("queries") and "max_det" in resolved and "max_det" not in parsed:
            resolved["max_det"] = max(resolved["max_det"], resolved["queries"])
        if resolved.get("queries") and self.module is not None:
            self.module.model[-1].num_queries = resolved["queries"]  # type: ignore[index,union-attr]
        return resolved


_OURS_ONLY = frozenset(
    {
        "json",
        "queries",
        "half",
        "source",
        "tracker",
        "skip_bad",
        "data",
        "model",
        "project",
        "name",
        "exist_ok",
        "batch",
    }
)


def _ultralytics(options: Mapping[str, Any], mode: str, folder: Path, conf: float | None) -> dict[str, Any]:
    """Return the overrides for a validator or predictor of Ultralytics."""
    overrides = {key: value for key, value in options.items() if key not in _OURS_ONLY}
    overrides |= {"task": "detect", "mode": mode, "save_dir": str(folder), "conf": conf}
    overrides["batch"] = int(options.get("batch") or 1)
    if options.get("half"):
        overrides["quantize"] = 16
    return overrides
