"""`uavdet convert`: turns a dataset of another format into one that `train` and `val` take."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from uavdet.assets import asset_folder, read_yaml
from uavdet.data.annotations import AnnotatedImage, DropLog
from uavdet.data.conversion_report import ConversionReport
from uavdet.data.converted import UNANNOTATED_SPLIT, DatasetWriter, usable_boxes, write_data_yaml
from uavdet.data.formats.base import DatasetFormat, available_formats, find_format
from uavdet.data.labels import MIN_SIDE
from uavdet.data.tiling import cut_tiles, tile_windows
from uavdet.errors import DataError, UsageError
from uavdet.json_output import print_json

_SETTINGS = ("format", "source", "out", "link", "strict", "tile", "overlap", "area")


def run_convert(options: dict[str, Any]) -> int:
    """Convert as the command line asks, and print what was done.

    Raises:
        UsageError: `overlap` is given without `tile`; for the rest see `convert`.
    """
    if "overlap" in options and options.get("tile") is None:
        raise UsageError("overlap= has no effect without tile=. Give the side of the tiles too: tile=1024.")
    report = convert(**{name: options[name] for name in _SETTINGS if name in options})
    if options.get("json"):
        print_json(report.as_dict())
    else:
        print(report.table())
    return 0


def convert(
    format: str | None = None,  # noqa: A002 - the command line's name
    source: str | Path | None = None,
    out: str | Path | None = None,
    *,
    link: bool = True,
    strict: bool = False,
    tile: int | list[int] | tuple[int, int] | None = None,
    overlap: int | None = None,
    area: str = "box",
) -> ConversionReport:
    """Convert a dataset; `out` appears when everything is written, and not at all if anything fails.

    Args:
        format: The format's name, one of `uavdet.data.formats.base.available_formats`.
        source: The dataset's folder; nothing is written there.
        out: The folder to write, new or empty, outside of `source`.
        link: Link the images in the place of copying them.
        strict: Fail where anything would be left out.
        tile: Side of the tiles to cut images into, in pixels, or (height, width); None leaves images whole.
        overlap: Pixels that neighbouring tiles share; None means 200, at most a quarter of the tile.
        area: "box", or "polygon" for the areas that a format annotates, where it does.

    Returns:
        What was written, and what was left out.

    Raises:
        UsageError: A setting is missing or wrong.
        DataError: The source is not laid out as its format has it, a file of it is malformed, or, with `strict`,
            something would be left out.
    """
    with _images_of_any_size():
        reader = _open_reader(format, source, area)
        target = _check_target(out, [reader.source, *reader.read_folders()])
        overlap = _overlap(tile) if overlap is None else overlap
        sides = _tile_sides(tile, overlap)
        temporary = target.with_name(f".{target.name}-{os.getpid()}.part")
        remains = _remains(target)
        try:
            report = _write(reader, temporary, link, sides, overlap)
            if strict and len(report.drops):
                raise _strict_error(report.drops)
            _add_notes(report, reader)
            comments = _head_comments(reader, sides, overlap, report.notes)
            report.notes += remains  # of this machine, not of the dataset
            write_data_yaml(temporary, report.names, report.splits, comments, reader.stand_ins)
            _move(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    report.out, report.data = target, target / "data.yaml"
    return report


@contextmanager
def _images_of_any_size() -> Iterator[None]:
    """Lift Pillow's limit on pixels, which is meant for pictures from strangers and is below DOTA's largest."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open_reader(format_name: str | None, source: str | Path | None, area: str) -> DatasetFormat:
    kind = find_format(format_name)
    if not source:
        raise UsageError(f"No source was given. Give the dataset's folder: source=DIR, for {kind.title}.")
    folder = Path(source).expanduser().absolute()
    if not folder.exists():
        raise DataError(
            f"source {folder} does not exist. {kind.title} has {'; or '.join(kind.layout)}. Correct source=."
        )
    if area not in ("box", "polygon"):
        raise UsageError(f"area='{area}' is unknown. Allowed are box and polygon.")
    if area == "polygon" and "area" not in kind.options:
        able = [name for name, other in available_formats().items() if "area" in other.options]
        raise UsageError(f"format={kind.name} has no areas but those of boxes. area=polygon is for {', '.join(able)}.")
    return kind(folder, **({"area": area} if "area" in kind.options else {}))


def _check_target(out: str | Path | None, sources: Iterable[Path]) -> Path:
    if not out:
        raise UsageError("No folder to write was given. Give a new one: out=DIR.")
    target = Path(out).expanduser().resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "is not empty" if target.is_dir() else "is a file"
        raise UsageError(f"out={target} {what}. A conversion writes a new or empty folder. Give another one: out=DIR.")
    if any(target.is_relative_to(source.resolve()) for source in sources):
        raise UsageError(f"out={target} lies inside the source, where nothing is written. Give another one: out=DIR.")
    return target


def _remains(target: Path) -> list[str]:
    """Name what conversions to this folder left that were killed; one that still runs has such a folder, too."""
    folders = sorted(target.parent.glob(f".{glob.escape(target.name)}-*.part"))
    return [f"{folder} is of another conversion. Delete it, unless that still runs." for folder in folders]


def _overlap(tile: int | list[int] | tuple[int, int] | None) -> int:
    """Return the overlap where none is given: 200 as in DOTA's development kit, less for small tiles."""
    smallest = 1024 if tile is None else min(tile) if isinstance(tile, list | tuple) else tile
    return min(200, smallest // 4)


def _tile_sides(tile: int | list[int] | tuple[int, int] | None, overlap: int) -> tuple[int, int] | None:
    """Return (width, height) of a tile."""
    if tile is None:
        return None
    height, width = (tile, tile) if isinstance(tile, int) else tile
    if min(height, width) < MIN_SIDE:
        raise UsageError(
            f"tile={height},{width} is too small: images have at least {MIN_SIDE} pixels a side. Give a larger one."
        )
    tile_windows((width, height), (width, height), overlap)  # refuses an overlap that is too large before any work
    return width, height


def _write(
    reader: DatasetFormat, folder: Path, link: bool, tile: tuple[int, int] | None, overlap: int
) -> ConversionReport:
    """Write every split into a folder."""
    splits, names = reader.splits(), tuple(reader.class_names())
    if not names:
        raise DataError(f"{reader.source} names no classes. Correct its annotations.")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{folder.parent} cannot be written to ({error.strerror}). Give another out=DIR.") from None
    writer = DatasetWriter(folder, names, link)
    report = ConversionReport(reader.name, reader.source, folder, folder / "data.yaml", names, drops=reader.drops)
    for split in splits:
        images: Iterator[AnnotatedImage] = usable_boxes(reader.read(split), split, reader.drops)
        if tile:
            images = cut_tiles(images, tile, overlap, split, reader.drops)
        report.splits[split] = writer.write_split(split, images)
    report.notes += _shared_images(writer.sources)
    if writer.images.refused:
        report.notes.append("The file system makes no links: images were copied.")
    return report


def _shared_images(sources: Mapping[str, set[Path]]) -> list[str]:
    """Say which splits have the same image files, as trainval lists and those of val do."""
    found = []
    for first, second in combinations(sources, 2):
        both = sources[first] & sources[second]
        if both:
            number = f"{len(both):,} of {len(sources[second]):,} images of {second}"
            found.append(f"{number} are in {first}, too (first: {min(both)}): to train there is to have seen them.")
    return found


def _add_notes(report: ConversionReport, reader: DatasetFormat) -> None:
    report.notes += reader.notes()
    for split, counts in report.splits.items():
        if split == UNANNOTATED_SPLIT:
            report.notes.append(f"{split} has no annotations: its images lie in images/{split}, outside of data.yaml.")
        elif not counts.objects:
            report.notes.append(f"{split} has no objects at all: nothing can be learned or scored there.")


def _strict_error(drops: DropLog) -> DataError:
    reasons = [
        f"{split}: {count} x {reason} (first: {drops.places[split, reason]})"
        for (split, reason), count in drops.counts.items()
    ]
    return DataError(f"strict=True and something would be left out: {'; '.join(reasons)}. Correct it, or drop strict.")


def _head_comments(reader: DatasetFormat, tile: tuple[int, int] | None, overlap: int, notes: list[str]) -> list[str]:
    """Return the head of the dataset YAML: what it is, where from, under which licence, how made."""
    tiling = f" tile={tile[1]},{tile[0]} overlap={overlap}" if tile else ""
    options = "".join(f" {key}={value}" for key, value in reader.settings.items() if value != reader.options[key])
    lines = [f"{reader.title}, converted: uavdet convert format={reader.name}{options}{tiling}"]
    shipped = asset_folder("datasets") / f"{reader.dataset}.yaml"
    if reader.dataset and shipped.is_file():
        described = read_yaml(shipped)
        lines += [f"{key}: {described[key]}" for key in ("url", "licence") if described.get(key)]
    return [" ".join(line.split()) for line in [*lines, *notes]]


def _move(folder: Path, target: Path) -> None:
    try:
        if target.exists():
            target.rmdir()
        folder.rename(target)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror}). Give a new folder: out=DIR.") from None
