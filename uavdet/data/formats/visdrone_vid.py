"""VisDrone-VID: one text file a sequence, a row an object of a frame.

    frame,target,left,top,width,height,score,category,truncation,occlusion

Frames count from 1; frame N of a sequence is sequences/<sequence>/<N in 7 digits>.jpg. Everything else is as in
VisDrone-DET. Target ids become track ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import image_size, wrong_layout
from uavdet.data.formats.image_pairs import images_by_stem, require_pairs
from uavdet.data.formats.integer_rows import integer_rows
from uavdet.data.formats.visdrone import CLASSES, add_visdrone_object, visdrone_folders
from uavdet.errors import DataError

_FIELDS = (
    "frame", "target", "left", "top", "width", "height", "score", "category", "truncation", "occlusion",
)  # fmt: skip
Row = tuple[int, list[int]]


def frames_by_number(folder: Path, prefix: str = "") -> dict[int, Path]:
    """Return the frames of a sequence by their number, sorted.

    Args:
        folder: The sequence's folder.
        prefix: What stands before the number in a frame's name.

    Raises:
        DataError: There is none, a name has no number, or two have the same.
    """
    frames: dict[int, Path] = {}
    for stem, file in images_by_stem(folder).items():
        number = stem.removeprefix(prefix)
        if not number.isdecimal():
            raise DataError(f"{file} has no frame number. Frames are named {prefix}0000001.jpg. Rename or remove it.")
        if (first := frames.setdefault(int(number), file)) != file:
            raise DataError(f"{file} has the frame number of {first.name}. Rename or remove one of them.")
    return dict(sorted(frames.items()))


def rows_by_frame(rows: Iterator[Row], frames: Mapping[int, Path], file: Path) -> dict[int, list[Row]]:
    """Return the rows of a sequence by their first field, the frame.

    Raises:
        DataError: A row is of a frame that is not there; it names file and line.
    """
    found: dict[int, list[Row]] = {}
    for line, values in rows:
        if values[0] not in frames:
            raise DataError(
                f"{file} line {line}: frame {values[0]} has no image; there are {min(frames)} to {max(frames)}. "
                "Add the image, or remove the row."
            )
        found.setdefault(values[0], []).append((line, values))
    return found


class VisDroneVID(DatasetFormat):
    """VisDrone-VID."""

    name = "visdrone-vid"
    title = "VisDrone-VID"
    dataset = "visdrone-vid"
    classes = CLASSES
    layout = (
        "VisDrone2019-VID-{train,val,test-dev,test-challenge}/{sequences,annotations}",
        "sequences/ and annotations/",
    )

    def splits(self) -> list[str]:
        """Return the splits whose folders are there."""
        folders = visdrone_folders(self.source, "VID", "sequences")
        if not folders:
            raise wrong_layout(self)
        return list(folders)

    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the frames of a split, sequence by sequence; those of test-challenge have no annotations."""
        folder = visdrone_folders(self.source, "VID", "sequences")[split]
        sequences = {path.name: path for path in sorted((folder / "sequences").iterdir()) if path.is_dir()}
        if not sequences:
            raise wrong_layout(self)
        annotations = {file.stem: file for file in (folder / "annotations").glob("*.txt")}
        if split == "test-challenge":
            annotations = {}
        else:
            require_pairs(sequences, annotations, lambda name: folder / "annotations" / f"{name}.txt", "sequence")
        for sequence, frames_folder in sequences.items():
            yield from _read_sequence(frames_folder, annotations.get(sequence))


def _read_sequence(folder: Path, annotations: Path | None) -> Iterator[AnnotatedImage]:
    frames = frames_by_number(folder)
    rows = rows_by_frame(integer_rows(annotations, _FIELDS), frames, annotations) if annotations else {}
    for number, file in frames.items():
        flags = {"sequence": folder.name, "frame": number}
        image = AnnotatedImage(file, f"{folder.name}/{file.name}", image_size(file), flags=flags)
        for line, values in rows.get(number, ()):
            add_visdrone_object(image, values[2:], f"{annotations} line {line}", track_id=values[1])
        yield image
