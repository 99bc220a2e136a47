"""Which parser and which model class a YAML belongs to.

Our own YAMLs have named rows or layers of ours and go to `uavdet.nn.build`. Stock YAMLs (rtdetr-*, yolo11*, yolo26*, or
a user's own in that form) go to Ultralytics' parser, and keep its training recipe and image layout.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import ROOT

from uavdet.argument_table import DETR, YOLO
from uavdet.assets import find_yaml, list_assets, read_yaml
from uavdet.errors import ConfigError, UsageError, suggest_name
from uavdet.nn.detector import Detector, StockRTDETR, StockYOLO
from uavdet.nn.rows import ModelConfig, read_rows
from uavdet.nn.thumbnail import insert_thumbnail, thumbnail_factor
from uavdet.other_formats import refuse_other_format


class Family(Enum):
    """The three kinds of model that the engine trains."""

    OURS = "ours"
    STOCK_RTDETR = "stock RT-DETR"
    STOCK_YOLO = "stock YOLO"

    @property
    def arguments(self) -> str:
        """The family name in `uavdet.arguments`."""
        return YOLO if self is Family.STOCK_YOLO else DETR


def load_model_config(given: str | Path) -> ModelConfig:
    """Read a model YAML: a path, one that ships in cfg/models, or one that Ultralytics ships.

    Raises:
        ConfigError: There is no such YAML, or it is malformed.
        UsageError: It is an exported file that is not run here.
    """
    refuse_other_format(given)
    try:
        file = find_yaml(given, "cfg/models")
    except ConfigError:
        return _load_ultralytics_config(str(given))
    config = read_yaml(file)
    if not isinstance(config, dict) or not isinstance(config.get("nc"), int):
        raise ConfigError(f"{file} is no model YAML: it needs nc:, backbone: and head:.")
    return {**config, "yaml_file": file.name}


def _load_ultralytics_config(given: str) -> ModelConfig:
    name = given if given.endswith((".yaml", ".yml")) else f"{given}.yaml"
    stock = {path.name for path in (ROOT / "cfg" / "models").rglob("*.yaml")}
    try:
        return {**tasks.yaml_model_load(name), "yaml_file": name}
    except Exception:  # whatever it raised: the name leads to no model
        known = [*list_assets("cfg/models"), *stock]
        raise ConfigError(
            f"model='{given}' was not found.{suggest_name(name, known)} Give weights, a path to a model YAML, "
            f"one of {', '.join(list_assets('cfg/models'))}, or a stock YAML of Ultralytics such as rtdetr-l.yaml."
        ) from None


def family_of(config: ModelConfig) -> Family:
    """Return the family of a model YAML.

    Raises:
        ConfigError: The head is not one of a detector.
    """
    entries = [*config.get("backbone", []), *config.get("head", [])]
    modules = [str(entry[2]) for entry in entries if isinstance(entry, list) and len(entry) > 2]
    named = any(isinstance(entry, list) and len(entry) > 4 for entry in entries)
    if named or not modules or not all(_known_to_ultralytics(module) for module in modules):
        read_rows(config)
        return Family.OURS
    if modules[-1] == "RTDETRDecoder":
        return Family.STOCK_RTDETR
    if modules[-1] == "Detect":
        return Family.STOCK_YOLO
    raise ConfigError(f"{config.get('yaml_file')} ends in {modules[-1]}. The last row is RTDETRDecoder or Detect.")


def _known_to_ultralytics(module: str) -> bool:
    return module.startswith(("nn.", "torchvision.ops.")) or hasattr(tasks, module)


def with_thumbnail(config: ModelConfig, options: Mapping[str, Any]) -> ModelConfig:
    """Return a model YAML with the thumbnail that the options ask for, if they do.

    Args:
        config: A model YAML as a dict.
        options: `thumbnail`, `thumbnail_kind` and `thumbnail_layers`; None where they are not given.

    Raises:
        UsageError: The model is a stock one or has another thumbnail, or options are given that do nothing.
    """
    factor, kind, layers = (options.get(name) for name in ("thumbnail", "thumbnail_kind", "thumbnail_layers"))
    if factor is None:
        own = thumbnail_factor(config)
        for name in ("thumbnail_kind", "thumbnail_layers"):
            if options.get(name) is None:
                continue
            if own == 1:
                raise UsageError(f"{name}={options[name]} has no effect without a factor. Add thumbnail=4 or 2.")
            raise UsageError(
                f"{name}={options[name]} changes no thumbnail that a model has. Give one without, such as "
                f"model=so-detr-n.yaml, and thumbnail={own} {name}={options[name]}."
            )
        return config
    if family_of(config) is not Family.OURS:
        ours = [name for name in list_assets("cfg/models") if "-thumb" not in name]
        raise UsageError(
            f"thumbnail={factor} is for this project's models; {config.get('yaml_file')} is a stock one of "
            f"Ultralytics. Give one of {', '.join(ours)}."
        )
    if layers is not None and kind not in {None, "learned"}:
        raise UsageError(f"thumbnail_layers={layers} has no effect on thumbnail_kind={kind}, which has none. Drop it.")
    return insert_thumbnail(config, factor, kind or "learned", layers or 2)


def build_model(config: ModelConfig, nc: int | None = None, channels: int = 3, queries: int | None = None) -> nn.Module:
    """Build a model of any family.

    Args:
        config: A model YAML as a dict.
        nc: Number of classes, in the place of the YAML's.
        channels: Channels of the input image.
        queries: Number of queries of a DETR, in the place of the model's.

    Raises:
        ConfigError: The YAML cannot be built.
    """
    family = family_of(config)
    queries = queries or config.get("queries")
    if family is Family.OURS:
        return Detector(config, channels, nc, queries)
    stock = StockYOLO if family is Family.STOCK_YOLO else StockRTDETR
    try:
        model = stock(copy.deepcopy(config), ch=channels, nc=nc or config["nc"], verbose=False)
    except Exception as error:
        raise ConfigError(f"{config.get('yaml_file')} cannot be built by Ultralytics' parser: {error}.") from error
    model.task = "detect"
    if queries and family is Family.STOCK_RTDETR:
        model.yaml["queries"] = model.model[-1].num_queries = queries
    return model


def model_family(model: nn.Module) -> Family:
    """Return the family of a built model."""
    if isinstance(model, Detector):
        return Family.OURS
    return Family.STOCK_RTDETR if isinstance(model, StockRTDETR) else Family.STOCK_YOLO


def row_names(model: nn.Module) -> list[str]:
    """Return the names of a model's rows in the state dict."""
    return [name for name, _ in model.model.named_children()]  # type: ignore[union-attr]


def backbone_rows(model: nn.Module) -> list[nn.Module]:
    """Return the rows of the YAML's backbone section."""
    rows: Any = model.model
    config: Any = model.yaml
    return list(rows[: len(config["backbone"])])
