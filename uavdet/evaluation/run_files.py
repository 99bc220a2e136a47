"""The files of a validated run from which it can be compared with others: metrics.json and detections.npz.

detections.npz holds the ground truth beside the detections, so that a comparison needs nothing but the run folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from uavdet.errors import DataError
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth
from uavdet.json_output import as_plain

REPORT_FOLDER = "report"
METRICS_FILE = "metrics.json"
DETECTIONS_FILE = "detections.npz"
# Little-endian, so that the same truth has the same hash on every machine.
_REAL, _WHOLE, _YES_OR_NO = np.dtype("<f8"), np.dtype("<i8"), np.dtype(bool)
_COLUMNS = {"boxes": (_REAL, 4), "scores": (_REAL, 0), "classes": (_WHOLE, 0)}
_TRUTH_COLUMNS = {
    "boxes": (_REAL, 4),
    "classes": (_WHOLE, 0),
    "areas": (_REAL, 0),
    "crowd": (_YES_OR_NO, 0),
    "ignore_regions": (_REAL, 4),
}


@dataclass(frozen=True)
class ValidatedRun:
    """What a folder of `uavdet val` says of its run.

    Attributes:
        folder: The run folder, as given.
        record: The content of metrics.json.
        truth: The annotated images.
        detections: By image name.
        truth_hash: See `hash_truth`.
    """

    folder: Path
    record: dict[str, Any]
    truth: GroundTruth
    detections: dict[str, ImageDetections]
    truth_hash: str

    @property
    def name(self) -> str:
        """Name of the run as `uavdet val` was told, or that of the folder where it was told none."""
        return str(self.record.get("name") or self.folder.resolve().name)


def write_metrics(file: Path, record: Mapping[str, Any]) -> None:
    """Write metrics as JSON, NaN as null; a reader meets the old file or the new one, never a part."""
    text = json.dumps(as_plain(dict(record)), indent=1) + "\n"
    _write_whole(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_detections(file: Path, truth: GroundTruth, detections: Mapping[str, ImageDetections]) -> None:
    """Write detections and the ground truth that they were scored on, as arrays over all images."""
    found = [detections.get(image.name, _NOTHING) for image in truth.images]
    arrays = {
        "description": np.array(json.dumps(_describe(truth))),
        "truth_hash": np.array(hash_truth(truth)),
        "names": np.array([image.name for image in truth.images], dtype=np.str_),
        "sizes": np.array([image.size for image in truth.images], dtype=np.int64).reshape(-1, 2),
        "dense": np.array([image.dense for image in truth.images], dtype=bool),
        "counts": np.array([len(entry.scores) for entry in found], dtype=np.int64),
        "truth_counts": np.array([len(image.classes) for image in truth.images], dtype=np.int64),
        "region_counts": np.array([len(image.ignore_regions) for image in truth.images], dtype=np.int64),
    }
    arrays |= {name: _join(found, name, *kind) for name, kind in _COLUMNS.items()}
    arrays |= {f"truth_{name}": _join(truth.images, name, *kind) for name, kind in _TRUTH_COLUMNS.items()}
    _write_whole(file, lambda temporary: _save_arrays(temporary, arrays))


_NOTHING = ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def _describe(truth: GroundTruth) -> dict[str, Any]:
    """Return what arrays cannot hold: ids may be numbers or text."""
    return {
        "version": 1,
        "names": list(truth.names.items()),
        "category_ids": list(truth.category_ids.items()),
        "image_ids": [image.image_id for image in truth.images],
    }


def _join(entries: list[Any], name: str, kind: np.dtype[Any], width: int) -> np.ndarray:
    """Return one attribute of all entries, one below the other."""
    shape = (-1, width) if width else (-1,)
    empty = np.zeros((0, width) if width else 0, dtype=kind)
    return np.concatenate([empty, *(np.asarray(getattr(entry, name), dtype=kind).reshape(shape) for entry in entries)])


def _save_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    with file.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _write_whole(file: Path, write: Callable[[Path], object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def hash_truth(truth: GroundTruth) -> str:
    """Return a fingerprint of the classes, images and objects of a ground truth.

    Folders of image names do not count, nor does the order of images: the same dataset may lie in different places,
    or be listed anew. Where names are equal but for folders, the order counts.
    """
    digest = hashlib.sha256(json.dumps(sorted(truth.names.items())).encode())
    images = list(truth.images)
    if len({PurePath(image.name).name for image in images}) == len(images):
        images.sort(key=lambda image: PurePath(image.name).name)
    for image in images:
        head = [PurePath(image.name).name, [int(side) for side in image.size], bool(image.dense)]
        digest.update(json.dumps([*head, len(image.classes), len(image.ignore_regions)]).encode())
        for name, (kind, _) in _TRUTH_COLUMNS.items():
            digest.update(np.asarray(getattr(image, name), dtype=kind).tobytes())
    return digest.hexdigest()


def read_run(folder: str | Path) -> ValidatedRun:
    """Read the run folder of `uavdet val`, or the report folder in it.

    Raises:
        DataError: The folder or one of its files is missing or damaged.
    """
    folder = Path(folder)
    report = folder if folder.name == REPORT_FOLDER else folder / REPORT_FOLDER
    run = folder.parent if folder.name == REPORT_FOLDER else folder
    if not folder.is_dir():
        raise DataError(f"Run '{folder}' does not exist. Give a folder that 'uavdet val' wrote.")
    for file in (report / METRICS_FILE, report / DETECTIONS_FILE):
        if not file.is_file():
            raise DataError(
                f"Run '{folder}' has no {file.relative_to(run)}. A run is a folder that 'uavdet val' wrote. "
                "Validate the model again: uavdet val model=... data=... name=..."
            )
    record = _read_metrics(report / METRICS_FILE)
    truth, detections, truth_hash = _read_detections(report / DETECTIONS_FILE)
    return ValidatedRun(run, record, truth, detections, truth_hash)


def _read_metrics(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' is no JSON ({error}). Validate the model again.") from error
    if not isinstance(record, dict) or not isinstance(record.get("protocols"), dict):
        raise DataError(f"'{file}' holds no protocols. It is not what 'uavdet val' writes: validate the model again.")
    return record


def _read_detections(file: Path) -> tuple[GroundTruth, dict[str, ImageDetections], str]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        description = json.loads(str(arrays["description"]))
        truth = _read_truth(arrays, description)
        found = _split(arrays, "", "counts", list(_COLUMNS))
        names = [image.name for image in truth.images]
        detections = {name: ImageDetections(**entry) for name, entry in zip(names, found, strict=True)}
        return truth, detections, str(arrays["truth_hash"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"'{file}' is damaged ({type(error).__name__}: {error}). Validate the model again to write it anew."
        ) from error


def _read_truth(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> GroundTruth:
    objects = _split(arrays, "truth_", "truth_counts", ["boxes", "classes", "areas", "crowd"])
    regions = _split(arrays, "truth_", "region_counts", ["ignore_regions"])
    images = [
        ImageTruth(str(name), (int(size[0]), int(size[1])), **entry, **region, image_id=image_id, dense=bool(dense))
        for name, size, entry, region, image_id, dense in zip(
            arrays["names"], arrays["sizes"], objects, regions, description["image_ids"], arrays["dense"], strict=True
        )
    ]
    names = {int(index): str(name) for index, name in description["names"]}
    return GroundTruth(images, names, {int(index): category for index, category in description["category_ids"]})


def _split(arrays: dict[str, np.ndarray], prefix: str, counts: str, columns: list[str]) -> list[dict[str, np.ndarray]]:
    """Cut arrays over all images into those of each image.

    Raises:
        ValueError: The counts do not add up to the rows.
    """
    bounds = np.concatenate([[0], np.cumsum(arrays[counts])])
    for column in columns:
        if len(arrays[prefix + column]) != bounds[-1]:
            raise ValueError(f"{prefix}{column} has {len(arrays[prefix + column])} rows, not {bounds[-1]}")
    return [{column: arrays[prefix + column][a:b] for column in columns} for a, b in pairwise(bounds)]
