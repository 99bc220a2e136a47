"""Small datasets written file by file, for damage of every kind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml


def picture(seed, width=96, height=64):
    """Return a BGR picture of a few smooth blots, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write_picture(path, seed, width=96, height=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture(seed, width, height))
    return path


@pytest.fixture
def write_dataset(tmp_path):
    """Return a function that writes a dataset and returns its YAML.

    It takes, for each split, file name to label text (None: no label file), and further entries of the YAML.
    """

    def write(splits, names=("car", "person"), **entries):
        seed = 0
        for split, files in splits.items():
            for name, text in files.items():
                seed += 1
                image = write_picture(tmp_path / "images" / split / name, seed)
                if text is not None:
                    label = tmp_path / "labels" / split / Path(name).with_suffix(".txt")
                    label.parent.mkdir(parents=True, exist_ok=True)
                    label.write_text(text)
                assert image.is_file()
        content = {split: f"images/{split}" for split in splits} | {"names": list(names)} | entries
        file = tmp_path / "data.yaml"
        file.write_text(yaml.safe_dump(content))
        return file

    return write
