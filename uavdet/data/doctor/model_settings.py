"""What a detector brings to a dataset: its number of queries, and the size of the images that it works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uavdet.assets import find_weights, find_yaml, read_yaml
from uavdet.errors import ConfigError, UsageError

DEFAULT_QUERIES = 300
DEFAULT_IMGSZ = 640
_DECODER = "RTDETRDecoder"
_QUERIES_PLACE = 2  # of the row's arguments: nc, width, queries, ...


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a detector.

    Attributes:
        queries: Most objects that it can find in an image; None for models without queries (YOLO).
        imgsz: (height, width) of its input in pixels.
        origin: Where the two come from, for people.
    """

    queries: int | None = DEFAULT_QUERIES
    imgsz: tuple[int, int] = (DEFAULT_IMGSZ, DEFAULT_IMGSZ)
    origin: str = "the defaults"


def settle(model: str | None, queries: int | None, imgsz: int | list[int] | None) -> ModelSettings:
    """Return what the user gives, else what the model has, else the defaults.

    Args:
        model: A model YAML, weights (.pt, .safetensors) or an exported .onnx; reading weights needs PyTorch.
        queries: Number of queries.
        imgsz: Side of the input in pixels, or [height, width].

    Raises:
        ConfigError: The model YAML is missing or malformed.
        CheckpointError: The weights are missing, foreign or damaged.
        UsageError: Queries were given for a model that has none.
    """
    known = _read_model(model) if model else ModelSettings()
    if queries and known.queries is None:
        raise UsageError(f"'queries' has no effect on model={model}: it belongs to DETR models. Leave it out.")
    sides = (imgsz if isinstance(imgsz, list | tuple) else [imgsz, imgsz]) if imgsz else known.imgsz
    return ModelSettings(queries or known.queries, (sides[0], sides[-1]), known.origin)


def _read_model(model: str) -> ModelSettings:
    suffix = Path(model).suffix
    if suffix == ".onnx":
        from uavdet.engine.exported import read_exported

        exported = read_exported(model)
        return ModelSettings(exported.rows, exported.imgsz or ModelSettings.imgsz, model)
    if suffix in {".pt", ".safetensors"} or find_weights(model) != model:
        from uavdet.engine.checkpoint import read_checkpoint

        meta = read_checkpoint(find_weights(model)).meta
        trained = meta.get("imgsz") or DEFAULT_IMGSZ
        side = (trained, trained) if isinstance(trained, int) else (trained[0], trained[-1])
        return ModelSettings(queries_of(meta["yaml"]), side, model)
    return ModelSettings(queries_of(_read_config(model)), origin=model)


def _read_config(model: str) -> Mapping[str, Any]:
    try:
        file = find_yaml(model, "cfg/models")
    except ConfigError:
        from uavdet.engine.families import load_model_config  # it knows the YAMLs that Ultralytics ships

        return load_model_config(model)
    config = read_yaml(file)
    if not isinstance(config, dict):
        raise ConfigError(f"{file} is no model YAML: it needs nc:, backbone: and head:.")
    return config


def queries_of(config: Mapping[str, Any]) -> int | None:
    """Return the number of queries in a model YAML; None where its last row is no decoder.

    Raises:
        ConfigError: The last row is malformed.
    """
    rows = [*(config.get("backbone") or []), *(config.get("head") or [])]
    last = rows[-1] if rows else None
    if not isinstance(last, list) or len(last) < 4 or not isinstance(last[3], list):
        raise ConfigError(f"{config.get('yaml_file', 'The model YAML')} has no last row [from, repeats, module, args].")
    if last[2] != _DECODER:
        return None
    arguments = last[3]
    named = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
    positional = arguments[:-1] if named else arguments
    written = positional[_QUERIES_PLACE] if len(positional) > _QUERIES_PLACE else named.get("nq")
    queries = config.get("queries") or written or DEFAULT_QUERIES
    if not isinstance(queries, int) or isinstance(queries, bool) or queries < 1:
        raise ConfigError(f"The model YAML has {queries!r} queries. They are a whole number of at least 1.")
    return queries
