"""Images and the annotation file that each of them must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from uavdet.data.formats.folders import files_by_stem, list_entries
from uavdet.data.labels import IMAGE_SUFFIXES
from uavdet.errors import DataError


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by the name without its suffix, sorted.

    Raises:
        DataError: There is none, or two images differ in their suffix alone.
    """
    images = files_by_stem([folder], IMAGE_SUFFIXES)
    if not images:
        found = f"holds no images; it holds {list_entries(folder)}" if folder.is_dir() else "does not exist"
        raise DataError(
            f"{folder} {found}. Images are {', '.join(sorted(IMAGE_SUFFIXES))}. Add them, or correct source=."
        )
    return images


def require_pairs(
    pictures: Mapping[str, Path], annotations: Mapping[str, Path], expected: Callable[[str], Path], kind: str = "image"
) -> None:
    """Refuse an image without its annotation file, and the reverse.

    Args:
        pictures: Images, or folders of frames, by name.
        annotations: Annotation files by name.
        expected: Name to the annotation file that there should be.
        kind: What a picture is: "image" or "sequence".

    Raises:
        DataError: There is one; it names both.
    """
    lonely = sorted(pictures.keys() - annotations.keys())
    if lonely:
        raise DataError(
            f"{pictures[lonely[0]]} has no annotation file {expected(lonely[0])}{_and_more(lonely)}. Every {kind} has "
            f"one, an empty one where it shows no object. Add it, or remove the {kind}."
        )
    lonely = sorted(annotations.keys() - pictures.keys())
    if lonely:
        folder = next(iter(pictures.values())).parent
        raise DataError(
            f"{annotations[lonely[0]]} has no {kind} '{lonely[0]}' in {folder}{_and_more(lonely)}. "
            f"Every annotation file has one. Add it, or remove the file."
        )


def _and_more(names: Sequence[str]) -> str:
    return f", nor have {len(names) - 1} more theirs" if len(names) > 1 else ""
