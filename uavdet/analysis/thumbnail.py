"""`uavdet analyze thumbnail`: thumbnails beside resized images, as in ThumbDet's Figs. 5 and 6, and their moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

import uavdet.environment  # noqa: F401  (before anything imports Ultralytics)
from uavdet.analysis.results import new_results
from uavdet.analysis.table import write_rows
from uavdet.arguments import defaults_of
from uavdet.engine.families import Family, build_model, model_family, with_thumbnail
from uavdet.engine.plan import check_imgsz
from uavdet.errors import DataError, UsageError
from uavdet.evaluation.pictures import read_picture
from uavdet.model import UAVDet
from uavdet.nn.thumbnail import AreaThumbnail, BicubicThumbnail, ImageStem, find_thumbnail, input_stride

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_PANEL = 640  # longer side of a panel in the picture, pixels
_CAPTION, _GAP = 30, 6  # pixels
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Moments:
    """Mean and unbiased variance of a channel of an image or thumbnail, pixel values in [0, 1]."""

    image: str
    version: str
    channel: str
    mean: float
    variance: float


@dataclass(frozen=True)
class ThumbnailReport:
    """What was measured.

    Attributes:
        rows: Moments of every channel; the version `image` is the network's input itself.
        factor: How many times smaller the thumbnails are.
        size: (height, width) of the network's input in pixels.
        folder: Where the pictures and `moments.csv` are.
    """

    rows: list[Moments]
    factor: int
    size: tuple[int, int]
    folder: Path

    @property
    def images(self) -> list[str]:
        """The names of the images."""
        return list(dict.fromkeys(row.image for row in self.rows))

    def differences(self) -> dict[str, dict[str, float]]:
        """Return by version how far mean and variance are from the image's, as shares, averaged over all channels."""
        reference = {(row.image, row.channel): row for row in self.rows if row.version == "image"}
        found: dict[str, dict[str, float]] = {}
        for version in dict.fromkeys(row.version for row in self.rows if row.version != "image"):
            rows = [(row, reference[row.image, row.channel]) for row in self.rows if row.version == version]
            found[version] = {
                "mean": float(np.mean([_share(a.mean, b.mean) for a, b in rows])),
                "variance": float(np.mean([_share(a.variance, b.variance) for a, b in rows])),
            }
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "images": len(self.images),
            "factor": self.factor,
            "imgsz": list(self.size),
            "differences": self.differences(),
            "save_dir": self.folder,
        }

    def table(self) -> str:
        """Return the differences as text for people."""
        height, width = self.size
        small = f"{width // self.factor}x{height // self.factor}"
        lines = [f"{len(self.images)} images of {width}x{height} as thumbnails of {small}; from the image's own:"]
        lines.append(f"{'':10} {'mean':>8} {'variance':>9}")
        for version, shares in self.differences().items():
            lines.append(f"{version:10} {shares['mean']:>8.1%} {shares['variance']:>9.1%}")
        return "\n".join([*lines, f"\nPictures and moments.csv: {self.folder}"])


def _share(value: float, reference: float) -> float:
    return abs(value - reference) / max(abs(reference), 1e-12)


def analyze_thumbnail(options: Mapping[str, Any]) -> ThumbnailReport:
    """Show the thumbnails of images beside those by area and by bicubic resizing, and compare their moments.

    Args:
        options: See `uavdet.analysis.command.run_analyze`.

    Raises:
        UsageError: The model has no thumbnail, or the size cannot be used.
        DataError: The source holds no image.
    """
    options = {**defaults_of("analyze"), **options}
    opened = _open_stem(options)
    stem, name = opened.stem, "learned" if opened.trained else "untrained"
    size = check_imgsz(options["imgsz"] or opened.imgsz, stride=opened.stride)
    height, width = size if isinstance(size, list) else (size, size)
    files = find_images(options["source"])[: options["images"]]
    rows: list[Moments] = []
    with new_results("thumbnail", options) as folder:
        for number, file in enumerate(files):
            versions = thumbnails(_read_input(file, height, width), stem, name)
            rows += measure(file.name, versions)
            draw_panels(folder / f"{number:03d}-{file.stem}.png", versions)
        write_rows(folder / "moments.csv", map(asdict, rows), [column.name for column in fields(Moments)])
    return ThumbnailReport(rows, stem.factor, (height, width), folder)


@dataclass(frozen=True)
class _OpenedStem:
    """A model's stem: whether it has weights, the stride of its input, and the size that the model is for in pixels."""

    stem: ImageStem
    trained: bool
    stride: int
    imgsz: int | list[int]


def _open_stem(options: Mapping[str, Any]) -> _OpenedStem:
    """Return the thumbnail of the model.

    Raises:
        UsageError: The model has no thumbnail.
    """
    model = UAVDet(options["model"])
    module: nn.Module | None = model.module
    if module is None or model_family(module) is not Family.OURS:
        raise UsageError(
            f"model={options['model']} is an exported file or a stock model, which have no thumbnail to look at. "
            "Give weights or a model YAML of this project's models."
        )
    config: Any = module.yaml
    changed = with_thumbnail(config, options)
    module = module if changed is config else build_model(changed)
    stem = find_thumbnail(module)
    if stem is None:
        raise UsageError(f"model={options['model']} has no thumbnail. Add thumbnail=4 or 2 to see one before training.")
    trained_for = model.checkpoint.meta.get("imgsz") if model.checkpoint is not None else None
    trained = model.checkpoint is not None and changed is config
    return _OpenedStem(stem.eval(), trained, input_stride(changed), trained_for or 640)


def find_images(source: str | None) -> list[Path]:
    """Return the image files of a path, a folder or a glob, sorted.

    Raises:
        UsageError: Nothing was given.
        DataError: There is none.
    """
    if not source:
        raise UsageError("No source was given. Give an image, a folder or a glob: uavdet analyze thumbnail source=X.")
    path = Path(source).expanduser()
    root = Path(path.anchor)
    found = [path] if path.exists() else list(root.glob(str(path.relative_to(root))))
    files = [file for entry in found for file in (sorted(entry.iterdir()) if entry.is_dir() else [entry])]
    images = sorted(file for file in files if file.suffix.lower() in _SUFFIXES)
    if not images:
        raise DataError(f"source={source} holds no image. Give an image, a folder or a glob of {_listed_suffixes()}.")
    return images


def _listed_suffixes() -> str:
    return ", ".join(sorted(_SUFFIXES))


def _read_input(file: Path, height: int, width: int) -> Tensor:
    """Return an image as the network gets it: stretched, RGB in [0, 1], (1, 3, H, W).

    Raises:
        DataError: It cannot be read.
    """
    picture = read_picture(file)
    if picture is None:
        raise DataError(f"{file} cannot be read. Replace the file, or leave it out of source=.")
    stretched = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(stretched[..., ::-1].copy()).permute(2, 0, 1).unsqueeze(0).float() / 255


@torch.no_grad()
def thumbnails(image: Tensor, stem: ImageStem, name: str = "learned") -> dict[str, Tensor]:
    """Return an image and its thumbnails: by area, bicubic, and by the model's stem.

    Args:
        image: (1, 3, H, W) in [0, 1].
        stem: The model's stem. One that learns nothing is shown once.
        name: What the thumbnail of a stem that learns is called.
    """
    versions = {"image": image, "area": AreaThumbnail(stem.factor)(image)}
    versions["bicubic"] = BicubicThumbnail(stem.factor)(image)
    if not isinstance(stem, AreaThumbnail | BicubicThumbnail):
        versions[name] = stem(image)
    return versions


def measure(name: str, versions: Mapping[str, Tensor]) -> list[Moments]:
    """Return the moments of every channel of an image and its thumbnails."""
    rows = []
    for version, pixels in versions.items():
        for index, channel in enumerate("RGB"):
            values = pixels[0, index].double()
            rows.append(Moments(name, version, channel, float(values.mean()), float(values.var())))
    return rows


def draw_panels(file: Path, versions: Mapping[str, Tensor]) -> None:
    """Write a PNG: the image and its thumbnails side by side, and below them the middle of each, enlarged.

    Thumbnails are enlarged pixel by pixel. Values above 1 are shown as 1.
    """
    columns = []
    for version, pixels in versions.items():
        height, width = pixels.shape[2:]
        whole = _to_picture(pixels)
        middle = whole[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8]
        caption = _caption(f"{version} {width}x{height}", _panel_size(whole)[0])
        columns.append(np.concatenate([caption, _panel(whole), _bar(_panel_size(whole)[0]), _panel(middle)]))
    spaced = [part for column in columns for part in (column, _bar(_GAP, column.shape[0]))][:-1]
    encoded = cv2.imencode(".png", np.concatenate(spaced, axis=1))[1]
    file.write_bytes(encoded.tobytes())


def _to_picture(pixels: Tensor) -> np.ndarray:
    """Return (1, 3, H, W) RGB in [0, 1] as (H, W, 3) uint8 BGR."""
    values = (pixels[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(values[..., ::-1])


def _panel_size(picture: np.ndarray) -> tuple[int, int]:
    """Return the (width, height) of a panel that shows a picture."""
    scale = _PANEL / max(picture.shape[:2])
    return round(picture.shape[1] * scale), round(picture.shape[0] * scale)


def _panel(picture: np.ndarray) -> np.ndarray:
    shrinks = max(picture.shape[:2]) > _PANEL
    return cv2.resize(
        picture, _panel_size(picture), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT
    )


def _bar(width: int, height: int = _GAP) -> np.ndarray:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)


def _caption(text: str, width: int) -> np.ndarray:
    strip = _bar(width, _CAPTION)
    cv2.putText(strip, text, (4, _CAPTION - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.6, _INK, 1, cv2.LINE_AA)
    return strip
