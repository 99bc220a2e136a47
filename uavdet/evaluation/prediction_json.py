"""Reads COCO results, whose ids may be those of the annotations or those that Ultralytics makes up."""

from __future__ import annotations

import json
import logging
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from uavdet.errors import DataError
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

_LOG = logging.getLogger(__name__)
_FORM = "COCO results are a JSON list of {image_id, category_id, bbox: [x, y, w, h], score}"
_KEYS = frozenset({"image_id", "category_id", "bbox", "score"})
_AMBIGUOUS = -1


def read_results_json(file: Path, truth: GroundTruth) -> dict[str, ImageDetections]:
    """Read a COCO results JSON; see `uavdet.evaluation.predictions.read_predictions`.

    Raises:
        DataError: The file or one of its rows cannot be used; the message names the line or the row, counted from 1.
    """
    rows = _parse(file)
    images, by_stem = _find_images(rows, truth)
    classes = _find_classes(rows, truth, by_ultralytics=by_stem and bool(rows.file_names))
    image = images[np.asarray(rows.image, dtype=np.int64)]
    category = classes[np.asarray(rows.category, dtype=np.int64)]
    boxes, scores = _check_numbers(rows)
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    order = np.argsort(image, kind="stable")
    present, starts = np.unique(image[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(present) else []
    return {
        truth.images[number].name: ImageDetections(boxes[part], scores[part], category[part])
        for number, part in zip(present, parts, strict=True)
    }


class _Rows:
    """The rows of a results file, kept as numbers while it is parsed: a row of a dict takes ten times the memory.

    Attributes:
        image, category: Of each row, the place of its id in `image_ids`, `category_ids`.
        boxes, scores: xywh and score of each row, flat.
        file_names: Place in `image_ids` to the `file_name` that Ultralytics adds.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.image, self.category = array("q"), array("q")
        self.boxes, self.scores = array("d"), array("d")
        self.image_ids: dict[Any, int] = {}
        self.category_ids: dict[Any, int] = {}
        self.file_names: dict[int, str] = {}

    def take(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Take an object of the JSON; one that is no row, such as a mask within a row, is given back."""
        if _KEYS.isdisjoint(row):
            return row
        try:
            image, category, box, score = row["image_id"], row["category_id"], row["bbox"], row["score"]
            if len(box) != 4:
                raise self.refuse(len(self.scores), f"bbox {box} has no four numbers. It is [x, y, w, h] in pixels.")
            self.image.append(place := self.image_ids.setdefault(image, len(self.image_ids)))
            self.category.append(self.category_ids.setdefault(category, len(self.category_ids)))
            self.boxes.extend(box)
        except KeyError as error:
            raise self.refuse(len(self.scores), f"{error} is missing. {_FORM}.") from None
        except (TypeError, OverflowError) as error:
            raise self.refuse(len(self.scores), f"is malformed ({error}). {_FORM}.") from None
        try:
            self.scores.append(score)
        except (TypeError, OverflowError):
            raise self.refuse(len(self.scores), f"score {score!r} is no number. {_FORM}.") from None
        if "file_name" in row:
            self.file_names.setdefault(place, PurePath(str(row["file_name"])).name)
        return None

    def refuse(self, row: int, what: str) -> DataError:
        """Return the error of a row, counted from 0."""
        return DataError(f"Predictions '{self.file}' row {row + 1}: {what}")


def _parse(file: Path) -> _Rows:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Predictions '{file}' cannot be read ({error}). {_FORM}, in UTF-8.") from error
    start = re.search(r"\S", text)
    if start is None:
        raise DataError(f"Predictions '{file}' are empty. {_FORM}; a list without rows is [].")
    if start.group() == "{":
        raise DataError(f"Predictions '{file}' hold a mapping, as annotations do. {_FORM}. Give such a file.")
    if start.group() != "[":
        raise DataError(
            f"Predictions '{file}' are no JSON list. {_FORM}. For text files, give the folder that holds them, one an "
            "image: predictions=FOLDER."
        )
    rows = _Rows(file)
    try:
        items = json.loads(text, object_hook=rows.take)
    except json.JSONDecodeError as error:
        raise DataError(f"Predictions '{file}' line {error.lineno}: {_explain(error, text)}") from None
    except RecursionError:
        raise DataError(f"Predictions '{file}' are nested too deeply. {_FORM}.") from None
    foreign = next((number for number, item in enumerate(items) if item is not None), None)
    if foreign is not None:
        raise rows.refuse(foreign, f"{str(items[foreign])[:40]!r} is no result. {_FORM}.")
    return rows


def _explain(error: json.JSONDecodeError, text: str) -> str:
    """Return what is wrong with a JSON, in the user's words where it is one of the two common mistakes."""
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    if not after or error.msg.startswith("Unterminated string"):
        return "the file ends within the list, so it was cut off. Write or copy it again."
    if re.match(r",\s*[]}]", after) or (before.endswith(",") and after[0] in "]}"):
        return "a comma stands before a closing bracket. Remove it."
    return f"is no valid JSON ({error.msg} in column {error.colno}). {_FORM}."


def _check_numbers(rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (N, 4) xywh and scores (N,), all finite, no side negative."""
    boxes, scores = np.array(rows.boxes).reshape(-1, 4), np.array(rows.scores)
    for bad, what in (
        (~np.isfinite(boxes).all(axis=1), "bbox has a number that is not finite. Leave such rows out."),
        (~np.isfinite(scores), "the score is not finite. Leave such rows out."),
        ((boxes[:, 2:] < 0).any(axis=1), "bbox has a negative side. It is [x, y, w, h], not two corners."),
    ):
        if bad.any():
            raise rows.refuse(int(np.argmax(bad)), what)
    return boxes, scores


@dataclass(frozen=True)
class _Reading:
    """One way to understand ids: what it is called, and what each id stands for."""

    title: str
    meaning: Mapping[Any, int]

    def apply(self, ids: Mapping[Any, int]) -> list[int | None]:
        """Return what each id stands for, None for an unknown one."""
        return [self.meaning.get(key) for key in ids]


def _choose(readings: list[_Reading], meanings: list[list[int | None]], rows: _Rows, what: str) -> int | None:
    """Return which reading fits every id, the first where several do; None where none does.

    Where they differ in what the ids mean, a warning says so.
    """
    fitting = [number for number, found in enumerate(meanings) if None not in found and _AMBIGUOUS not in found]
    if not fitting:
        return None
    if any(meanings[number] != meanings[fitting[0]] for number in fitting):
        titles = " and as ".join(readings[number].title for number in fitting)
        _LOG.warning(f"'{rows.file}': every {what} can be read as {titles}; {readings[fitting[0]].title} are used.")
    return fitting[0]


def _find_images(rows: _Rows, truth: GroundTruth) -> tuple[np.ndarray, bool]:
    """Return the number of the image that each image id stands for, and whether ids are file names."""
    readings = [_Reading("ids of the annotations", _image_ids(truth)), _Reading("file names", _image_names(truth))]
    meanings = [reading.apply(rows.image_ids) for reading in readings]
    for found in meanings:  # a file name beside the id settles it
        for place, name in rows.file_names.items():
            number = found[place]
            if number is not None and number >= 0 and PurePath(truth.images[number].name).name != name:
                found[place] = None
    chosen = _choose(readings, meanings, rows, "image_id")
    if chosen is None:
        raise _unknown_image(rows, truth, max(meanings, key=lambda found: sum(n is not None for n in found)))
    return np.array(meanings[chosen], dtype=np.int64), chosen == 1


def _image_ids(truth: GroundTruth) -> dict[Any, int]:
    """Return image numbers by id; images without an id count from 1, as in `coco_results`."""
    return {n + 1 if image.image_id is None else image.image_id: n for n, image in enumerate(truth.images)}


def _image_names(truth: GroundTruth) -> dict[Any, int]:
    """Return image numbers by file name, with and without folders and suffix, and by the number that a name is."""
    found: dict[Any, int] = {}
    for number, image in enumerate(truth.images):
        for name in _names_of(image):
            found[name] = number if found.get(name, number) == number else _AMBIGUOUS
    return found


def _names_of(image: ImageTruth) -> set[Any]:
    path = PurePath(image.name)
    names: set[Any] = {image.name, path.name, path.stem, str(path.with_suffix("")) if path.name else ""}
    return names | ({int(path.stem)} if path.stem.isdecimal() else set())


def _unknown_image(rows: _Rows, truth: GroundTruth, meaning: list[int | None]) -> DataError:
    place = next(n for n, found in enumerate(meaning) if found is None or found == _AMBIGUOUS)
    key, row = list(rows.image_ids)[place], rows.image.index(place)
    if meaning[place] == _AMBIGUOUS:
        return rows.refuse(row, f"image_id {key!r} is the name of several images. Give the ids of the annotations.")
    known = next(iter(_image_ids(truth)), None)
    example = f", such as {known!r} or '{PurePath(truth.images[0].name).stem}'" if truth.images else ""
    name = f" with the file_name '{rows.file_names[place]}'" if place in rows.file_names else ""
    return rows.refuse(
        row,
        f"image_id {key!r}{name} is none of the {len(truth.images)} annotated images. It is their id or their file "
        f"name without suffix{example}. Give predictions of this split, or another split=.",
    )


def _find_classes(rows: _Rows, truth: GroundTruth, *, by_ultralytics: bool) -> np.ndarray:
    """Return the class id that each category id stands for.

    Args:
        rows: The rows.
        truth: The annotated images.
        by_ultralytics: Whether the image ids are such as Ultralytics writes; class ids plus 1 then come first.
    """
    listed = {category: index for index, category in truth.category_ids.items()}
    unlisted = {index + 1: index for index in truth.names if index not in truth.category_ids}
    readings = [
        _Reading("category ids of the annotations", {**unlisted, **listed}),
        _Reading("class ids plus 1", {index + 1: index for index in truth.names}),
    ]
    readings = readings[::-1] if by_ultralytics else readings
    meanings = [reading.apply(rows.category_ids) for reading in readings]
    chosen = _choose(readings, meanings, rows, "category_id")
    if chosen is not None:
        return np.array(meanings[chosen], dtype=np.int64)
    best = max(meanings, key=lambda found: sum(index is not None for index in found))
    place = best.index(None)
    known = ", ".join(f"{key} ({truth.names[index]})" for key, index in {**unlisted, **listed}.items())
    raise rows.refuse(
        rows.category.index(place), f"category_id {list(rows.category_ids)[place]!r} is no class. Classes are {known}."
    )
