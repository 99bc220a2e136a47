"""Finds images and annotation files in the folders of a dataset, and says what was there where they are missing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from uavdet.data.annotations import AnnotatedImage
from uavdet.data.formats.base import DatasetFormat
from uavdet.data.labels import IMAGE_SUFFIXES, read_image_shape
from uavdet.errors import DataError

UNLISTED = "image that the JSON does not list"
"""The reason of `DropLog` for an image file that no annotation file knows."""
_SHOWN = 8


def wrong_layout(dataset: DatasetFormat) -> DataError:
    """Return the error for a source folder that a format cannot read: what was looked for, and what was found."""
    source, wanted = dataset.source, "; or ".join(dataset.layout)
    if not source.is_dir():
        what = "is no folder" if source.exists() else "does not exist"
        return DataError(f"{source} {what}. {dataset.title} has: {wanted}. Correct source=.")
    return DataError(
        f"{source} is not laid out as {dataset.title}. Looked for: {wanted}. Found: {list_entries(source)}. "
        f"Correct source= or format=."
    )


def list_entries(folder: Path) -> str:
    """Return the first few entries of a folder for a message, folders with a slash, and how many more there are."""
    entries = sorted(folder.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries[:_SHOWN]]
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(names) + more if names else "nothing"


def files_by_stem(folders: Iterable[Path], suffixes: Collection[str]) -> dict[str, Path]:
    """Return the files of some folders (not of their subfolders) by name without suffix.

    Args:
        folders: Folders; one that does not exist has no files.
        suffixes: The suffixes that count, in lower case, with their dot.

    Raises:
        DataError: Two files have one name, so that nobody can say which one is annotated.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.suffix.lower() not in suffixes:
                continue
            if (first := found.setdefault(file.stem, file)) != file:
                raise DataError(
                    f"{file} has the name of {first}. A dataset has one file a name. Move one of them away."
                )
    return found


def image_size(file: Path) -> tuple[int, int]:
    """Return (width, height) of an image in pixels after EXIF rotation, without decoding it.

    Raises:
        DataError: The image is missing or cannot be read.
    """
    try:
        height, width = read_image_shape(file)
    except ValueError as error:
        raise DataError(f"{file} {error}. Replace the image, or remove it and its annotation.") from None
    return width, height


class ListedImages:
    """Notes the images that a JSON lists, to tell which files of their folders it does not."""

    def __init__(self) -> None:
        self._files: dict[Path, set[Path]] = {}

    def pass_on(self, images: Iterable[AnnotatedImage]) -> Iterator[AnnotatedImage]:
        """Yield images as they come, and note their files."""
        for image in images:
            self._files.setdefault(image.file.parent, set()).add(image.file)
            yield image

    def others(self, belongs: Callable[[Path], bool]) -> list[Path]:
        """Return the image files that lie beside the noted ones, in folders of which `belongs` is true, sorted.

        Args:
            belongs: Whether a folder is one split's own; others hold images of other splits, too.
        """
        own = {folder: files for folder, files in self._files.items() if belongs(folder)}
        beside = [path for folder, files in own.items() for path in {*folder.iterdir()} - files]
        return sorted(path for path in beside if path.suffix.lower() in IMAGE_SUFFIXES)


def first_existing(folders: Iterable[Path]) -> Callable[[str], Path]:
    """Return a function that finds a file by its relative name in the first of some folders that has it.

    A name that no folder has is placed in the first folder, for the message that it is missing.
    """
    places = list(folders)

    def locate(name: str) -> Path:
        return next((folder / name for folder in places if (folder / name).is_file()), places[0] / name)

    return locate
