"""What a dataset format is: a reader that knows its files, its classes and its traps.

A format is a subclass of `DatasetFormat` in a module of this folder; subclassing registers it under its `name`.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from uavdet.data.annotations import AnnotatedImage, DropLog
from uavdet.errors import UsageError, suggest_name

_FORMATS: dict[str, type[DatasetFormat]] = {}


class DatasetFormat(ABC):
    """Reads one dataset format.

    Attributes:
        name: What `format=` calls it.
        title: The dataset's name for people.
        dataset: The YAML in `datasets/` that describes it, or "" for a general format.
        classes: Class names in native order, or () where the files name them.
        layout: The files that it expects below `source`, a line each, for error messages.
        options: The settings of `convert` that mean something to it, by name with their defaults.
        stand_ins: Split that the dataset does not have to the one that stands for it in the dataset YAML.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    dataset: ClassVar[str] = ""
    classes: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, Any]] = {}
    stand_ins: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            if cls.name in _FORMATS and _FORMATS[cls.name].__module__ != cls.__module__:
                raise TypeError(f"{cls.__name__} needs a name of its own; '{cls.name}' is taken.")
            _FORMATS[cls.name] = cls

    def __init__(self, source: Path, **options: Any) -> None:
        self.source = source
        self.settings = {**self.options, **options}
        self.drops = DropLog()

    @abstractmethod
    def splits(self) -> list[str]:
        """Return the splits that `source` has, of train, val, test and test-challenge, in this order.

        Raises:
            DataError: There is none; the message says what was looked for and what was found.
        """

    @abstractmethod
    def read(self, split: str) -> Iterator[AnnotatedImage]:
        """Yield the images of a split, sorted by name; what cannot be used is counted in `drops`.

        Raises:
            DataError: A file is missing or malformed; the message names file and line.
        """

    def class_names(self) -> tuple[str, ...]:
        """Return the class names in the order of their ids; read from the files where the format does not fix them."""
        return self.classes

    def read_folders(self) -> list[Path]:
        """Return the folders besides `source` that hold what is read, where nothing may be written."""
        return []

    def notes(self) -> list[str]:
        """Return sentences that a user must know of the conversion, such as how a split was made."""
        return []


def available_formats() -> dict[str, type[DatasetFormat]]:
    """Return every format by name; the modules of this folder are imported for it."""
    package = importlib.import_module("uavdet.data.formats")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"uavdet.data.formats.{module.name}")
    return dict(sorted(_FORMATS.items()))


def find_format(name: str | None) -> type[DatasetFormat]:
    """Return the format that `format=` names.

    Raises:
        UsageError: It is unknown; the message lists those that exist.
    """
    known = available_formats()
    if not name:
        raise UsageError(f"No format was given. Give one: format=visdrone. Known: {', '.join(known)}.")
    name = name.strip().lower().replace("_", "-")
    if name not in known:
        raise UsageError(f"Unknown format '{name}'.{suggest_name(name, known)} Known: {', '.join(known)}.")
    return known[name]
