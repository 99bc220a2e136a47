"""VisDrone-DET: one text file an image, a row an object.

    left,top,width,height,score,category,truncation,occlusion

All are integers, and some genuine rows end in a comma. Category 0 is an ignored region, 1 to 10 are the classes, and
11 ("others") is annotated but never scored. A score of 0 on a class means that the object is neither found nor missed
(the official toolkit's rule); on a region it means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage, Annotation, IgnoreRegion
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import image_size, wrong_layout
from uavdet.data.formats.image_pairs import images_by_stem, require_pairs
from uavdet.data.formats.integer_rows import integer_rows
from uavdet.errors import DataError

CLASSES = (
    "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
)  # fmt: skip
OTHERS = len(CLASSES) + 1
_FIELDS = ("left", "top", "width", "height", "score", "category", "truncation", "occlusion")
_NATIVE_SPLITS = {"train": "train", "val": "val", "test-dev": "test", "test-challenge": "test-challenge"}


def visdrone_folders(source: Path, kind: str, folder: str) -> dict[str, Path]:
    """Return split to folder, of a source that holds `VisDrone*-<kind>-<split>/<folder>`, or that is one of them.

    Args:
        source: What the user gave.
        kind: "DET" or "VID".
        folder: The folder with the pictures, "images" or "sequences".
    """
    found = {}
    for native, split in _NATIVE_SPLITS.items():
        inner = sorted(path for path in source.glob(f"VisDrone*-{kind}-{native}") if (path / folder).is_dir())
        if len(inner) > 1:
            raise DataError(f"{inner[0]} and {inner[1].name} are both the split '{split}'. Move one of them away.")
        if inner:
            found[split] = inner[0]
    if not found and (source / folder).is_dir():
        endings = [split for native, split in _NATIVE_SPLITS.items() if source.name.endswith(f"-{native}")]
        found[endings[0] if endings else "val"] = source
    return found


def add_visdrone_object(image: AnnotatedImage, values: Sequence[int], place: str, track_id: int | None = None) -> None:
    """Add what one row says to its image.

    Args:
        image: The image.
        values: left, top, width, height, score, category, truncation, occlusion.
        place: File and line.
        track_id: Identity over frames, in videos.

    Raises:
        DataError: The category or the score is unknown.
    """
    left, top, width, height, score, category, truncation, occlusion = values
    if not 0 <= category <= OTHERS:
        raise DataError(f"{place}: category {category}. VisDrone has 0 to {OTHERS}. Correct the row.")
    if score not in (0, 1):
        raise DataError(
            f"{place}: score {score}. Annotations have 0 or 1; results are no annotations. Correct the row."
        )
    box = (float(left), float(top), float(width), float(height))
    flags = {"truncation": truncation, "occlusion": occlusion, "score": score}
    if category == 0:
        image.ignore_regions.append(IgnoreRegion(box, "ignored regions", flags, place))
    elif category == OTHERS:
        image.excluded.append(Annotation(box, "others", None, False, track_id, flags, place))
    else:
        name = CLASSES[category - 1]
        image.objects.append(Annotation(box, name, None, score == 0, track_id, flags, place))


class VisDrone(DatasetFormat):
    """VisDrone-DET."""

    name = "visdrone"
    title = "VisDrone-DET"
    dataset = "visdrone"
    classes = CLASSES
    layout = ("VisDrone2019-DET-{train,val,test-dev,test-challenge}/{images,annotations}", "images/ and annotations/")

    def splits(self) -> list[str]:
        """Return the splits whose folders are there."""
        folders = visdrone_folders(self.source, "DET", "images")
        if not folders:
            raise wrong_layout(self)
        return list(folders)

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split; those of test-challenge have no annotations."""
        folder = visdrone_folders(self.source, "DET", "images")[split]
        images = images_by_stem(folder / "images")
        if split != "test-challenge":
            rows = {file.stem: file for file in (folder / "annotations").glob("*.txt")}
            require_pairs(images, rows, lambda stem: folder / "annotations" / f"{stem}.txt")
        for stem, file in images.items():
            image = AnnotatedImage(file, file.name, image_size(file))
            if split != "test-challenge":
                for line, values in integer_rows(rows[stem], _FIELDS):
                    add_visdrone_object(image, values, f"{rows[stem]} line {line}")
            yield image
