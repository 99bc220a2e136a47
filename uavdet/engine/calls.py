"""What the modes of a model share: checks of their arguments, their folders, and what Ultralytics is told."""

from __future__ import annotations

import contextlib
import copy
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from ultralytics.data.utils import VID_FORMATS
from ultralytics.utils import LOGGER

from uavdet.data.config import DataConfig, load_data_config
from uavdet.engine.device import runs_on_cpu
from uavdet.errors import UsageError
from uavdet.export.registry import ExportFormat
from uavdet.nn.detector import Detector
from uavdet.runtime.postprocess import NMS_IOU

_OURS_ONLY = frozenset(
    {
        "json",
        "queries",
        "half",
        "persist",
        "source",
        "tracker",
        "skip_bad",
        "ignore_fill",
        "protocol",
        "predictions",
        "data",
        "model",
        "project",
        "name",
        "exist_ok",
        "batch",
    }
)
_SOURCES = (str, Path, int, list, tuple, np.ndarray, Image.Image, torch.Tensor)
_GENERIC_NAME = re.compile(r"(class)?[ _-]?\d+", re.IGNORECASE)


def ultralytics_overrides(options: Mapping[str, Any], mode: str, folder: Path, conf: float | None) -> dict[str, Any]:
    """Return the overrides for a validator or predictor of Ultralytics."""
    overrides = {key: value for key, value in options.items() if key not in _OURS_ONLY}
    overrides |= {"task": "detect", "mode": mode, "save_dir": str(folder), "conf": conf}
    overrides["batch"] = int(options.get("batch") or 1)
    overrides["iou"] = NMS_IOU if options.get("iou") is None else options["iou"]  # DETRs do not read it
    if options.get("half"):
        overrides["quantize"] = 16
    return overrides


def check_source(source: Any, mode: str) -> None:
    """Refuse what cannot be a source.

    Raises:
        UsageError: It is nothing, or of a kind that is not taken.
    """
    if source is None or (isinstance(source, str | list | tuple) and not source):
        raise UsageError(f"No source was given. Give an image, a folder, a video or a stream: uavdet {mode} source=X.")
    for part in source if isinstance(source, list | tuple) else [source]:
        if not isinstance(part, _SOURCES) or (isinstance(part, np.ndarray) and part.dtype.kind not in "buif"):
            kind = f"array of {part.dtype}s" if isinstance(part, np.ndarray) else type(part).__name__
            raise UsageError(
                f"A source of type {kind} is not taken. Give a path, a URL, a camera number, an array, "
                "a PIL image, a tensor, or a list of images."
            )
    if isinstance(source, list | tuple):
        paths = [part for part in source if isinstance(part, str | Path)]
        videos = [path for path in paths if Path(path).suffix.lower().removeprefix(".") in VID_FORMATS]
        if videos:
            raise UsageError(f"A list of videos is not taken. Give one, a folder or a glob: source={videos[0]}.")


def check_batch(batch: float | None) -> None:
    """Refuse batch sizes that only training understands.

    Raises:
        UsageError: It is no whole number of at least 1.
    """
    if batch is not None and (batch < 1 or batch != int(batch)):
        raise UsageError(f"batch={batch} is for training alone. Give a whole number of at least 1.")


def check_class_names(model: Mapping[int, str], data: Mapping[int, str], file: Path) -> None:
    """Refuse a dataset whose classes are not the model's, in its order; names are compared without case.

    Names that say nothing, such as `class0` or `0`, fit any.

    Raises:
        UsageError: Their numbers or their names differ.
    """
    own, others = ([name.strip().lower() for _, name in sorted(names.items())] for names in (model, data))
    nameless = any(all(_GENERIC_NAME.fullmatch(name) for name in names) for names in (own, others))
    if len(own) == len(others) and (nameless or own == others):
        return
    raise UsageError(
        f"The model has {len(own)} classes ({_listed(model)}), {file} has {len(others)} ({_listed(data)}). "
        "Validate on data with the model's classes, in its order."
    )


def check_channels(model: nn.Module, data: DataConfig) -> None:
    """Refuse a dataset whose images have another number of channels than a model takes.

    Raises:
        UsageError: They differ.
    """
    config: Any = model.yaml
    channels = config.get("channels", 3)
    if channels != data.channels:
        raise UsageError(
            f"The model takes images of {channels} channels, {data.yaml_file} has channels: {data.channels}. "
            "Give data that the model was trained for."
        )


def check_dataset(data: str | None, names: Mapping[int, str]) -> None:
    """Refuse a dataset that cannot be read or has other classes than the model; None is fine.

    Raises:
        ConfigError: It cannot be read.
        UsageError: Its classes are not the model's.
    """
    if data is not None:
        config = load_data_config(data)
        check_class_names(names, config.names, config.yaml_file)


def _listed(names: Mapping[int, str]) -> str:
    """Return names as text, the first ten of them."""
    return ", ".join([*list(names.values())[:10], *(["..."] if len(names) > 10 else [])])


def half_where_it_works(options: Mapping[str, Any]) -> bool:
    """Return whether to compute in half precision; warns where it was asked for and the device is a CPU."""
    if options.get("half") and runs_on_cpu(options.get("device")):
        LOGGER.warning("half=True has no effect on a CPU. Going on in single precision.")
        return False
    return bool(options.get("half"))


@contextlib.contextmanager
def new_folder(folder: Path, scaffold: str = "") -> Iterator[None]:
    """Make a folder, and remove it, with those around it that were made for it, where an error leaves nothing in it.

    Args:
        folder: The folder.
        scaffold: A file that says nothing of a result, and does not count.

    Raises:
        UsageError: It cannot be made, or nothing can be written into it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(
            f"Results cannot be written to {folder}: {error.strerror}. Give a folder that can be written: "
            "project=FOLDER."
        ) from None
    try:
        yield
    except BaseException:
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        if made and all(path.name == scaffold for path in files):
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run is in it by now
                for path in made[1:]:
                    path.rmdir()
        raise


def export_file(given: str | None, default: Path, chosen: ExportFormat, model: str) -> Path:
    """Return the file or folder that an export writes.

    Raises:
        UsageError: It is a folder where a file is to be, lies where nothing can be written, has the suffix of
            something else, or is the model.
    """
    out, ending = Path(given).expanduser() if given else default, chosen.ending
    if chosen.folder and out.exists() and not (out.is_dir() and (out / chosen.mark).is_file()):
        raise UsageError(
            f"out={out} exists, and is no folder of an earlier export. Give a new folder: out=NAME{ending}."
        )
    if out.is_dir() and not chosen.folder:
        raise UsageError(f"out={out} is a folder. Give a file: out={out / default.name}.")
    if not out.name.endswith(ending):
        better = out.with_name(out.stem + ending)
        raise UsageError(f"out={out} does not end in {ending}, but format={chosen.name}. Give out={better}.")
    parent = next(path for path in out.absolute().parents if path.exists())
    if not parent.is_dir():
        raise UsageError(f"out={out} lies in {parent}, which is a file. Give another place.")
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise UsageError(f"out={out} cannot be written: {parent}: {error.strerror}. Give another place.") from None
    if out.exists() and out.resolve() == Path(model).resolve():
        raise UsageError(
            f"out={out} is the model itself, whose weights would be lost. Give another name: out=X{ending}."
        )
    return out


def queries_of(module: nn.Module | None) -> int | None:
    """Return the number of queries of a DETR, or None for other models."""
    return getattr(module.model[-1], "num_queries", None) if module is not None else None  # type: ignore[index]


def with_queries(module: nn.Module, queries: int | None) -> nn.Module:
    """Return a DETR with another number of queries, as a copy; the model itself where it has that number."""
    if not queries or queries == queries_of(module):
        return module
    copied: Any = copy.deepcopy(module)
    if isinstance(copied, Detector):
        copied.set_queries(queries)
    else:
        copied.yaml["queries"] = copied.model[-1].num_queries = queries
    return copied


@contextlib.contextmanager
def all_boxes(args: Any) -> Iterator[int]:
    """Have Ultralytics' postprocessing keep every box, for duplicates to go before `max_det` counts; give `max_det`."""
    limit, args.max_det = args.max_det, None
    try:
        yield limit
    finally:
        args.max_det = limit
