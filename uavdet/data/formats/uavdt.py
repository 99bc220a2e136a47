"""UAVDT-DET: 50 sequences, one text file of objects and one of ignored regions for each.

    GT/M0101_gt_whole.txt    frame,target,left,top,width,height,out-of-view,occlusion,category
    GT/M0101_gt_ignore.txt   frame,target,left,top,width,height, and more that says nothing
    UAV-benchmark-M/M0101/img000001.jpg
    M_attr/train/M0101_attr.txt decides the split

Categories: 1 car, 2 truck, 3 bus. Out of view: 1 none, 2 medium, 3 small part. Occlusion: 1 none, 2 large, 3 medium,
4 small. There is no validation split: every sixth training sequence, by name, becomes one, whole, because frames of one
sequence look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage, Annotation, IgnoreRegion
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import image_size, wrong_layout
from uavdet.data.formats.integer_rows import integer_rows
from uavdet.data.formats.visdrone_vid import Row, frames_by_number, rows_by_frame
from uavdet.errors import DataError

CLASSES = ("car", "truck", "bus")
_FIELDS = ("frame", "target", "left", "top", "width", "height", "out-of-view", "occlusion", "category")
_IMAGES = ("UAV-benchmark-M",)
_TRUTHS = ("GT", "UAV-benchmark-MOTD_v1.0/GT")
_ATTRIBUTES = ("M_attr", "UAV-benchmark-MOTD_v1.0/M_attr")
_VAL_EVERY = 6


class UAVDT(DatasetFormat):
    """UAVDT-DET."""

    name = "uavdt"
    title = "UAVDT-DET"
    dataset = "uavdt"
    classes = CLASSES
    layout = (
        "UAV-benchmark-M/Mxxxx/img000001.jpg with GT/Mxxxx_gt_whole.txt (or UAV-benchmark-MOTD_v1.0/GT/) and "
        "M_attr/{train,test}/Mxxxx_attr.txt",
    )

    def splits(self) -> list[str]:
        """Return train, val and test, as far as M_attr lists sequences of them."""
        return [split for split, sequences in self._sequences().items() if sequences]

    def notes(self) -> list[str]:
        """Say which sequences became val."""
        val = self._sequences()["val"]
        return [
            f"UAVDT has no val split: val is every {_VAL_EVERY}th training sequence ({', '.join(val)})." if val
            else f"UAVDT has no val split, and fewer than {_VAL_EVERY} training sequences leave none for it."
        ]  # fmt: skip

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the frames of a split, sequence by sequence."""
        for sequence in self._sequences()[split]:
            yield from self._read_sequence(sequence)

    def _folder(self, places: tuple[str, ...]) -> Path:
        for place in places:
            if (self.source / place).is_dir():
                return self.source / place
        raise wrong_layout(self)

    def _sequences(self) -> dict[str, list[str]]:
        images, attributes = self._folder(_IMAGES), self._folder(_ATTRIBUTES)
        listed = {split: _listed_sequences(attributes / split) for split in ("train", "test")}
        if not listed["train"] and not listed["test"]:
            raise wrong_layout(self)
        both = sorted(set(listed["train"]) & set(listed["test"]))
        if both:
            raise DataError(f"{attributes} lists {both[0]} in train and in test. Remove one of the two files.")
        unlisted = sorted(
            {path.name for path in images.iterdir() if path.is_dir()} - {*listed["train"], *listed["test"]}
        )
        if unlisted:
            raise DataError(
                f"{images / unlisted[0]} is in neither split of {attributes}. Every sequence has its "
                f"{unlisted[0]}_attr.txt there. Add it, or move the sequence away."
            )
        val = listed["train"][_VAL_EVERY - 1 :: _VAL_EVERY]
        return {"train": [name for name in listed["train"] if name not in val], "val": val, "test": listed["test"]}

    def _read_sequence(self, sequence: str) -> Iterator[AnnotatedImage]:
        folder, truths = self._folder(_IMAGES) / sequence, self._folder(_TRUTHS)
        if not folder.is_dir():
            raise DataError(
                f"{folder} does not exist, but M_attr lists {sequence}. Add the images, or remove its file."
            )
        frames = frames_by_number(folder, prefix="img")
        objects, ignored = truths / f"{sequence}_gt_whole.txt", truths / f"{sequence}_gt_ignore.txt"
        for file in (objects, ignored):
            if not file.is_file():
                raise DataError(f"{folder} has no {file}. Every sequence has one. Add it, or move the images away.")
        rows = rows_by_frame(integer_rows(objects, _FIELDS), frames, objects)
        regions = rows_by_frame(integer_rows(ignored, _FIELDS, at_least=6), frames, ignored)
        for number, file in frames.items():
            flags = {"sequence": sequence, "frame": number}
            yield AnnotatedImage(
                file,
                f"{sequence}/{file.name}",
                image_size(file),
                objects=[_annotation(row, objects) for row in rows.get(number, ())],
                ignore_regions=[_region(row, ignored) for row in regions.get(number, ())],
                flags=flags,
            )


def _listed_sequences(folder: Path) -> list[str]:
    return sorted(file.name.removesuffix("_attr.txt") for file in folder.glob("*_attr.txt"))


def _annotation(row: Row, file: Path) -> Annotation:
    line, (_, target, left, top, width, height, view, occlusion, category) = row
    place = f"{file} line {line}"
    if not 1 <= category <= len(CLASSES):
        raise DataError(f"{place}: category {category}. UAVDT has 1 to {len(CLASSES)}. Correct the row.")
    return Annotation(
        (float(left), float(top), float(width), float(height)),
        CLASSES[category - 1],
        track_id=target,
        flags={"out_of_view": view, "occlusion": occlusion},
        origin=place,
    )


def _region(row: Row, file: Path) -> IgnoreRegion:
    line, (_, _, left, top, width, height) = row
    return IgnoreRegion((float(left), float(top), float(width), float(height)), origin=f"{file} line {line}")
