"""Image files for fixtures that are otherwise literal text."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def save_picture(file: Path, width: int = 40, height: int = 30) -> Path:
    """Write a grey image and return its file; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height), 128).save(file)
    return file


def save_text(file: Path, text: str) -> Path:
    """Write a text file and return it; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file
