"""Datasets with one annotation file for each split."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from uavdet.data.formats.base import DatasetFormat
from uavdet.data.formats.folders import wrong_layout


class SplitFilesFormat(DatasetFormat):
    """Reads a dataset whose splits are those that have an annotation file.

    Attributes:
        split_names: The splits that it may have.
    """

    split_names: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def splits(self) -> list[str]:
        """Return the splits whose annotation file is found."""
        splits = [split for split in self.split_names if self.find_file(split)]
        if not splits:
            raise wrong_layout(self)
        return splits

    def annotation_file(self, split: str) -> Path:
        """Return the annotation file of a split.

        Raises:
            DataError: There is none; the message says what was looked for and what was found.
        """
        file = self.find_file(split)
        if file is None:
            raise wrong_layout(self)
        return file

    @abstractmethod
    def find_file(self, split: str) -> Path | None:
        """Return the annotation file of a split, or None."""
