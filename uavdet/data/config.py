"""Reads dataset YAMLs: Ultralytics' form, plus the COCO JSON of each split that keeps what YOLO text files lose.

    path: optional root, relative to the YAML's own folder; of a YAML that ships, to the working directory
    train: images/train            a folder, a text file of image paths, or a list of them
    val: images/val
    annotations:                   optional COCO JSON a split: boxes in original pixels, `ignore_regions`
      val: annotations/instances_val.json
    names: {0: person, 1: car}

A `download:` entry, which Ultralytics would execute, is never executed; it is shown where images are missing, and so
are `url:` and the command that converts the dataset, which follows from `format:`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uavdet.assets import asset_folder, find_yaml, read_yaml
from uavdet.errors import ConfigError, UsageError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataConfig:
    """A dataset YAML with its paths resolved.

    Attributes:
        yaml_file: The YAML itself.
        path: The dataset's root.
        images: Split name to its image folders, list files or images.
        annotations: Split name to its COCO JSON.
        names: Class id to class name; ids run from 0 without a gap.
        channels: Channels of the images as the network reads them.
    """

    yaml_file: Path
    path: Path
    images: dict[str, list[Path]]
    annotations: dict[str, Path]
    names: dict[int, str]
    channels: int = 3
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def nc(self) -> int:
        """Number of classes."""
        return len(self.names)

    def require(self, split: str) -> list[Path]:
        """Return the images of a split.

        Raises:
            ConfigError: The YAML has no such split, or its files do not exist.
        """
        if split not in self.images:
            raise ConfigError(
                f"{self.yaml_file} has no '{split}:' entry. It has {', '.join(self.images) or 'none'}. "
                f"Add one; uavdet val can also score another: split={next(iter(self.images), 'val')}."
            )
        for path in self.images[split]:
            if not path.exists():
                hint = self.source.get("download") or self.source.get("url")
                origin = f" The YAML names this origin: {str(hint).strip().splitlines()[0]}." if hint else ""
                raise ConfigError(
                    f"{self.yaml_file}: '{split}:' points to {path}, which does not exist.{origin} "
                    f"Set 'path:' or '{split}:' to where the images are{self._conversion_hint()}."
                )
        return self.images[split]

    def _conversion_hint(self) -> str:
        name = self.source.get("format")
        return f", or convert the dataset: uavdet convert format={name} source=DIR out={self.path}" if name else ""

    def as_ultralytics(self) -> dict[str, Any]:
        """Return the dict that Ultralytics' trainer and validator read, paths absolute."""
        images = {split: [str(p) for p in paths] for split, paths in self.images.items()}
        return {
            **{split: paths[0] if len(paths) == 1 else paths for split, paths in images.items()},
            "path": str(self.path),
            "names": dict(self.names),
            "label_names": dict(self.names),
            "nc": self.nc,
            "channels": self.channels,
            "annotations": {split: str(path) for split, path in self.annotations.items()},
            "yaml_file": str(self.yaml_file),
        }


def load_data_config(given: str | Path | None) -> DataConfig:
    """Read a dataset YAML.

    Args:
        given: A path, or the name of one that ships in `datasets/`.

    Raises:
        ConfigError: The file is missing or malformed.
    """
    if not given:
        raise ConfigError("No dataset was given. Give one with data=PATH/data.yaml.")
    file = find_yaml(given, "datasets")
    source = read_yaml(file)
    if not isinstance(source, dict):
        raise ConfigError(f"{file} holds no mapping. A dataset YAML has train:, val: and names:.")
    # Beside a YAML of site-packages nobody keeps datasets; the user's working directory is where they lie.
    ships = file.parent == asset_folder("datasets").resolve()
    root = _resolve(_path_text(source.get("path") or ".", "path:", file), Path.cwd() if ships else file.parent)
    images = {s: [_resolve(p, root) for p in _path_texts(source[s], s, file)] for s in SPLITS if source.get(s)}
    if not images:
        raise ConfigError(f"{file} names no images. A dataset YAML has train: and val: entries.")
    annotations = source.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise ConfigError(f"{file}: 'annotations:' is {annotations!r}. It maps splits to COCO JSON files.")
    unknown = [split for split in annotations if split not in SPLITS]
    if unknown:
        raise ConfigError(f"{file}: 'annotations:' has the split '{unknown[0]}'. Splits are {', '.join(SPLITS)}.")
    return DataConfig(
        yaml_file=file,
        path=root,
        images=images,
        annotations={
            split: _resolve(_path_text(path, f"annotations: {split}:", file), root)
            for split, path in annotations.items()
        },
        names=_read_names(source, file),
        channels=_read_channels(source, file),
        source=source,
    )


def check_class_ids(classes: Iterable[int] | None, names: Mapping[int, str], owner: str | Path) -> None:
    """Refuse class ids of `classes=` that a dataset or a model does not have.

    Raises:
        UsageError: There is one.
    """
    for index in classes or ():
        if index not in names:
            raise UsageError(f"classes={index} is no class of {owner}, which has 0 to {len(names) - 1}.")


def _path_texts(value: Any, split: str, file: Path) -> list[str]:
    return [_path_text(entry, f"{split}:", file) for entry in (value if isinstance(value, list) else [value])]


def _path_text(value: Any, key: str, file: Path) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool):  # a folder may be called 2024
        return str(value)
    raise ConfigError(f"{file}: '{key}' is {value!r}. It is a path. Correct it.")


def _resolve(value: str | Path, root: Path) -> Path:
    path = Path(value).expanduser()
    return path if path.is_absolute() else (root / path).resolve()


def _read_channels(source: dict[str, Any], file: Path) -> int:
    channels = source.get("channels", 3)
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise ConfigError(f"{file}: channels: is {channels!r}. It is the number of channels of the images, mostly 3.")
    return channels


def _read_names(source: dict[str, Any], file: Path) -> dict[int, str]:
    """Return class names by id, from a list, a mapping or a bare `nc`."""
    names = source.get("names")
    if names is None and isinstance(source.get("nc"), int):
        names = [f"class{index}" for index in range(source["nc"])]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise ConfigError(f"{file} has no class names. Add names: with one entry a class.")
    odd = [value for value in names.values() if isinstance(value, bool | list | dict | None)]
    if odd:
        raise ConfigError(
            f"{file}: the class name {odd[0]} in names: is no text; YAML reads no, yes, null and the like as values. "
            "Put it in quotes."
        )
    given = names
    try:
        names = {int(str(key)): str(value) for key, value in given.items()}  # by way of text: int() takes 0.5 as 0
    except ValueError as error:
        raise ConfigError(f"{file}: a class id in names: is no integer ({error}). Ids run from 0.") from error
    if len(names) < len(given):
        raise ConfigError(f"{file}: a class id stands twice in names:, as {list(given)}. Give each class its own.")
    if sorted(names) != list(range(len(names))):
        raise ConfigError(f"{file}: class ids are {sorted(names)}. They must run from 0 to {len(names) - 1}.")
    if isinstance(source.get("nc"), int) and source["nc"] != len(names):
        raise ConfigError(f"{file}: nc: {source['nc']} but names: has {len(names)} entries. Remove nc:.")
    repeated = [name for name in names.values() if list(names.values()).count(name) > 1]
    if repeated:
        raise ConfigError(f"{file}: the class name '{repeated[0]}' stands twice. Classes are matched by name.")
    return {key: names[key] for key in sorted(names)}
