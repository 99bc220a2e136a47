"""DOTA: large satellite and aerial images with quadrilaterals, read as horizontal boxes; versions 1.0, 1.5 and 2.0.

A row of a label file is `x1 y1 x2 y2 x3 y3 x4 y4 category difficult`; the first rows may be `imagesource:` and `gsd:`.
The box is the smallest upright one around the four points, which stay in the flag `polygon`. `difficult` (0, 1, and 2
in some files) stays a flag: a difficult object is an object, as Ultralytics treats it, not an ignored one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uavdet.data.annotations import AnnotatedImage, Annotation
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import files_by_stem, image_size, list_entries, wrong_layout
from uavdet.data.formats.image_pairs import require_pairs
from uavdet.data.formats.text_lines import read_lines
from uavdet.data.labels import IMAGE_SUFFIXES, read_number
from uavdet.errors import DataError, suggest_name

_HEADS = ("imagesource", "gsd")
_UNLABELLED = "test-challenge"
# Ultralytics' order, so that heads and published weights fit; the versions differ at the end alone.
_CLASSES = (
    "plane", "ship", "storage-tank", "baseball-diamond", "tennis-court", "basketball-court", "ground-track-field",
    "harbor", "bridge", "large-vehicle", "small-vehicle", "helicopter", "roundabout", "soccer-ball-field",
    "swimming-pool", "container-crane", "airport", "helipad",
)  # fmt: skip
_COUNTS = {"1.0": 15, "1.5": 16, "2.0": 18}


class DotaFormat(DatasetFormat):
    """Reads one version of DOTA; its test images have no published labels.

    Attributes:
        version: The version's number, which names the label folder and decides the classes.
    """

    version: ClassVar[str]

    def __init_subclass__(cls, *, version: str, **kwargs: Any) -> None:
        cls.version, cls.title = version, f"DOTA {version}"
        cls.name = cls.dataset = _format_name(version)
        cls.classes = _CLASSES[: _COUNTS[version]]
        cls.layout = (f"{{train,val,test}}/images/*.png with {{train,val}}/labelTxt-v{version}/*.txt (labelTxt/)",)
        super().__init_subclass__(**kwargs)

    def splits(self) -> list[str]:
        """Return the splits that have images; test without labels is `test-challenge`."""
        found = [split for split in ("train", "val", "test") if (self.source / split / "images").is_dir()]
        if not found:
            raise wrong_layout(self)
        labelled = [split for split in found if self._label_folder(split)]
        for split in found:
            if split != "test" and split not in labelled:
                raise DataError(
                    f"{self.source / split} has images but no labels. {self.title} has labelTxt-v{self.version}/*.txt "
                    f"or labelTxt/*.txt. Found: {list_entries(self.source / split)}. Correct source= or format=."
                )
        return [split if split in labelled else _UNLABELLED for split in found]

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split."""
        native = "test" if split == _UNLABELLED else split
        images, folder = self._images(native), self._label_folder(native)
        labels = {file.stem: file for file in folder.glob("*.txt")} if folder else {}
        if folder:
            require_pairs(images, labels, lambda stem: folder / f"{stem}.txt")
        for stem, image in sorted(images.items()):
            objects = self.read_labels(labels[stem]) if folder else []
            yield AnnotatedImage(image, image.name, image_size(image), objects)

    def read_labels(self, file: Path) -> list[Annotation]:
        """Return the objects of a label file.

        Raises:
            DataError: A row is malformed or its category is unknown; the message names the line.
        """
        rows = [(number, line) for number, line in enumerate(read_lines(file), start=1) if line.strip()]
        return [
            self._parse_row(line.split(), f"{file} line {number}")
            for number, line in rows
            if not line.strip().lower().startswith(_HEADS)
        ]

    def _parse_row(self, fields: list[str], place: str) -> Annotation:
        if len(fields) != 10:
            raise DataError(
                f"{place}: {len(fields)} fields. A row is x1 y1 x2 y2 x3 y3 x4 y4 category difficult. Correct the row."
            )
        *coordinates, category, difficult = fields
        try:
            polygon = np.array([read_number(value) for value in coordinates])
        except ValueError:
            raise DataError(f"{place}: '{' '.join(coordinates)}' are not 8 numbers. Correct the row.") from None
        if not difficult.isdecimal():
            raise DataError(f"{place}: difficult is '{difficult}'. It is 0, 1 or 2. Correct the row.")
        if category not in self.classes:
            raise self._unknown_class(category, place)
        left, top = polygon[0::2].min(), polygon[1::2].min()  # NaN stays NaN here, and conversions drop such a box
        right, bottom = polygon[0::2].max(), polygon[1::2].max()
        return Annotation(
            box=(float(left), float(top), float(right - left), float(bottom - top)),
            category=category,
            flags={"difficult": int(difficult), "polygon": polygon.tolist()},
            origin=place,
        )

    def _unknown_class(self, category: str, place: str) -> DataError:
        versions = [version for version, count in _COUNTS.items() if category in _CLASSES[:count]]
        newer = f" DOTA {versions[0]} has it: give format={_format_name(versions[0])}." if versions else ""
        hint = newer or f"{suggest_name(category, self.classes)} Correct the row."
        known = ", ".join(self.classes)
        return DataError(f"{place}: unknown class '{category}'. {self.title} has {known}.{hint}")

    def _images(self, split: str) -> dict[str, Path]:
        """Return the images by stem; the archives that they come in may have left folders."""
        folder = self.source / split / "images"
        parts = sorted(part for part in folder.iterdir() if part.is_dir())
        images = files_by_stem([folder, *parts], IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"{folder} has no image. Add the images, or remove the folder.")
        return images

    def _label_folder(self, split: str) -> Path | None:
        """Return the folder with the version's quadrilaterals; releases hold those of horizontal boxes beside it."""
        for name in (f"labelTxt-v{self.version}", "labelTxt"):
            folder = self.source / split / name
            inner = sorted(part for part in folder.iterdir() if part.is_dir()) if folder.is_dir() else []
            for place in (folder, *(part for part in inner if not _holds_horizontal_boxes(part))):
                if any(place.glob("*.txt")):
                    return place
        return None


def _format_name(version: str) -> str:
    return f"dota-v{version.removesuffix('.0')}"


def _holds_horizontal_boxes(folder: Path) -> bool:
    return folder.name.lower().endswith("hbb") or "reclabel" in folder.name.lower()


class DotaV1Format(DotaFormat, version="1.0"):
    """Reads DOTA 1.0, with 15 classes."""


class DotaV15Format(DotaFormat, version="1.5"):
    """Reads DOTA 1.5: the images of 1.0, more small objects, and container-crane."""


class DotaV2Format(DotaFormat, version="2.0"):
    """Reads DOTA 2.0, with 18 classes."""
