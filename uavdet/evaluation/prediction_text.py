"""Reads folders of text files with detections, one file an image: VisDrone's and Ultralytics' forms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath

import numpy as np

from uavdet.errors import DataError
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth

_LOG = logging.getLogger(__name__)
_VISDRONE = "x,y,w,h,score,category,-1,-1 in pixels (VisDrone)"
_YOLO = "class cx cy w h confidence, normalised (YOLO)"
_UNSCORED = (0, 11)  # VisDrone's ignored regions and others
_OUTERMOST = 2.0  # normalised boxes may reach out of the image, pixels lie far beyond


@dataclass(frozen=True)
class _Table:
    """The rows (N, fields) of a file, and the line of each."""

    file: Path
    values: np.ndarray
    lines: list[int]

    def check(self, bad: np.ndarray, what: str) -> None:
        """Refuse the first row that `bad` (N,) marks; `{}` in `what` shows the row."""
        if bad.any():
            row = int(np.argmax(bad))
            shown = " ".join(f"{value:g}" for value in self.values[row])
            raise DataError(f"Predictions '{self.file}' line {self.lines[row]}: {what.format(shown)}")


def read_text_folder(folder: Path, truth: GroundTruth) -> dict[str, ImageDetections]:
    """Read a folder of text files; see `uavdet.evaluation.predictions.read_predictions`.

    Raises:
        DataError: The folder holds no text files, one belongs to no image, or a line cannot be used.
    """
    files = sorted(file for file in folder.glob("*.txt") if file.is_file())
    if not files:
        raise DataError(f"Predictions '{folder}' hold no .txt files. {_explain_folder(folder)}")
    images, texts = _images_by_name(truth), [_read_text(file) for file in files]
    filled = next((text.strip() for text in texts if text.strip()), "")
    read: _Reader = _read_visdrone if "," in filled.partition("\n")[0] else _read_yolo
    detections: dict[str, ImageDetections] = {}
    left_out = 0
    for file, text in zip(files, texts, strict=True):
        image = _image_of(file, images, len(truth.images))
        if image.name in detections:
            raise DataError(f"Predictions '{file}' are the second file of the image '{image.name}'. Keep one of them.")
        detections[image.name], unscored = read(file, text, image, truth)
        left_out += unscored
    if left_out:
        _LOG.warning(f"'{folder}': {left_out} rows of category 0 or 11, which nobody scores, are left out.")
    return detections


_Reader = Callable[[Path, str, ImageTruth, GroundTruth], tuple[ImageDetections, int]]


def _explain_folder(folder: Path) -> str:
    inner = sorted({file.parent.relative_to(folder).as_posix() for file in folder.glob("*/*.txt")})
    if inner:
        return f"Its folder '{inner[0]}' does. Give predictions={folder / inner[0]}."
    if found := sorted(folder.glob("*.json")):
        return f"It has '{found[0].name}'. Give predictions={found[0]}."
    return f"Files are named after their images; rows are {_VISDRONE} or {_YOLO}. Correct predictions=."


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Predictions '{file}' cannot be read ({error}). They are text in UTF-8.") from error


def _images_by_name(truth: GroundTruth) -> dict[str, list[ImageTruth]]:
    """Return images by the names that their text files may have: that of the image, or with folders, joined by _."""
    found: dict[str, list[ImageTruth]] = {}
    for image in truth.images:
        path = PurePath(image.name)
        parts = [part for part in path.parts[:-1] if part != path.anchor] + [path.stem]
        for start in range(len(parts)):
            found.setdefault("_".join(parts[start:]), []).append(image)
    return found


def _image_of(file: Path, images: dict[str, list[ImageTruth]], count: int) -> ImageTruth:
    found = images.get(file.stem, [])
    if not found:
        raise DataError(
            f"Predictions '{file}' belong to none of the {count} annotated images. A file is named after its image. "
            "Remove it, or give another split=."
        )
    if len(found) > 1:
        raise DataError(
            f"Predictions '{file}' may belong to '{found[0].name}' or to '{found[1].name}'. "
            "Name files with their folder: folder_image.txt."
        )
    return found[0]


def _read_visdrone(file: Path, text: str, image: ImageTruth, truth: GroundTruth) -> tuple[ImageDetections, int]:
    """Return the detections of a VisDrone file, and how many rows are of no class."""
    table = _parse(file, text, ",", 8, _VISDRONE)
    boxes, scores, categories = table.values[:, :4], table.values[:, 4], table.values[:, 5]
    table.check(boxes[:, 2:].min(axis=1) < 0, f"'{{}}' has a negative width or height. Rows are {_VISDRONE}.")
    known = np.isin(categories - 1, list(truth.names))
    unscored = np.isin(categories, _UNSCORED) & ~known
    table.check(
        ~known & ~unscored,
        f"'{{}}' has no such category. Categories are class ids plus 1, 1 to {len(truth.names)}, and 0 and 11.",
    )
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    classes = categories.astype(np.int64) - 1
    return ImageDetections(corners[known], scores[known], classes[known]), int(unscored.sum())


def _read_yolo(file: Path, text: str, image: ImageTruth, truth: GroundTruth) -> tuple[ImageDetections, int]:
    """Return the detections of a YOLO file, in pixels of the image."""
    table = _parse(file, text, None, 6, _YOLO)
    classes, centres, sides, scores = np.split(table.values, [1, 3, 5], axis=1)
    table.check(sides.min(axis=1) < 0, f"'{{}}' has a negative width or height. Rows are {_YOLO}.")
    table.check(~np.isin(classes[:, 0], list(truth.names)), f"'{{}}' has no such class. {_list_classes(truth)}")
    beyond = np.abs(table.values[:, 1:5]).max(axis=1) > _OUTERMOST
    table.check(beyond, "'{}' is not normalised. Divide coordinates by the image's width and height.")
    table.check(
        (scores[:, 0] < 0) | (scores[:, 0] > 1),
        "'{}' ends in no confidence, which lies in [0, 1]. Predict with save_txt=True save_conf=True.",
    )
    size = np.array(image.size, dtype=np.float64)
    corners = np.concatenate([(centres - sides / 2) * size, (centres + sides / 2) * size], axis=1)
    return ImageDetections(corners, scores[:, 0], classes[:, 0].astype(np.int64)), 0


def _list_classes(truth: GroundTruth) -> str:
    return f"Classes are 0 to {len(truth.names) - 1}, as in names: of the dataset YAML."


def _parse(file: Path, text: str, separator: str | None, width: int, form: str) -> _Table:
    """Return the numbers of a file, each finite; a comma at the end of a row is allowed, as in VisDrone's own files."""
    filled = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    lines = [number for number, _ in filled]
    fields = [(line.removesuffix(",") if separator else line).split(separator) for _, line in filled]
    wrong = next((row for row, found in enumerate(fields) if len(found) != width), None)
    if wrong is not None:
        what = _explain_width(filled[wrong][1], separator, form)
        raise DataError(f"Predictions '{file}' line {lines[wrong]}: {what}")
    try:
        flat = np.fromiter(map(float, chain.from_iterable(fields)), np.float64, count=len(fields) * width)
    except ValueError:
        number, line = next(filled[row] for row, found in enumerate(fields) if not all(map(_is_number, found)))
        what = f"'{line}' has a field that is no number. Rows are {form}."
        raise DataError(f"Predictions '{file}' line {number}: {what}") from None
    table = _Table(file, flat.reshape(-1, width), lines)
    table.check(~np.isfinite(table.values).all(axis=1), "'{}' has a number that is not finite. Leave such rows out.")
    return table


def _explain_width(line: str, separator: str | None, form: str) -> str:
    count = len(line.removesuffix(",").split(separator))
    if separator is None and "," not in line and count == 5:
        return f"'{line}' has no confidence. Rows are {form}. Predict with save_txt=True save_conf=True."
    if (separator is None) == ("," in line):
        return f"'{line}' is of another format than the files before. Rows of all files are {form}."
    other = _VISDRONE if form == _YOLO else _YOLO
    return f"'{line}' has {count} fields. Rows are {form}, or in all files {other}."


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
