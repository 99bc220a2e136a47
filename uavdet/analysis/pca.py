"""`uavdet analyze pca`: principal components of feature maps beside the images, as in SET's Fig. 4 (CVPR 2025).

The cells of all shown images are the observations and the channels the variables, so that a colour means the same in
every image; cells of padding take no part. The sign of a component, which is arbitrary, is such that its largest
loading is positive. The paper shows one map of P3 and says no more of it; here every level that enters the head is
shown, its first component alone and the first three as red, green and blue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uavdet.analysis.boxes import corners, outline, touched_cells
from uavdet.analysis.figure import new_figure, save_figure, show_picture
from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import Sample, open_samples
from uavdet.analysis.table import write_rows
from uavdet.arguments import defaults_of

_IMAGES = 4
_SHOWN = 3  # components
_RANGE = (1, 99)  # percentiles of a component that are black and white
_HEADER = ("level", "stride", "component", "explained_variance", "share", "object_contrast")


@dataclass(frozen=True)
class Components:
    """The principal components of feature maps.

    Attributes:
        mean: (C,) mean of the channels.
        directions: (K, C) unit vectors, the one of the greatest variance first, K = C.
        variances: (K,) unbiased variances along them.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(K,) shares of the total variance; zero where there is none."""
        total = self.variances.sum()
        return self.variances / total if total > 0 else np.zeros_like(self.variances)

    def project(self, maps: np.ndarray, count: int = _SHOWN) -> np.ndarray:
        """Return the first components of a map (C, h, w) as (count, h, w); those that it lacks are zero."""
        centred = maps - self.mean[:, None, None]
        found = np.tensordot(self.directions[:count], centred, 1)
        return np.concatenate([found, np.zeros((count - len(found), *maps.shape[1:]))])


def fit_components(maps: list[np.ndarray], used: list[np.ndarray]) -> Components:
    """Find the principal components of the cells of several maps, in float64.

    Args:
        maps: (C, h, w) each.
        used: (h, w) bool each: the cells that take part.
    """
    cells = [values[:, taken].astype(np.float64) for values, taken in zip(maps, used, strict=True)]
    count = sum(part.shape[1] for part in cells)
    mean = sum(part.sum(1) for part in cells) / count
    spread = sum((part - mean[:, None]) @ (part - mean[:, None]).T for part in cells) / max(count - 1, 1)
    variances, vectors = np.linalg.eigh(spread)
    directions = vectors.T[::-1]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    return Components(mean, directions * np.where(largest < 0, -1.0, 1.0), variances[::-1].clip(min=0))


@dataclass(frozen=True)
class LevelComponents:
    """The components of one level.

    Attributes:
        name: The level, e.g. P3.
        stride: In pixels of the network's input.
        components: What was found.
        contrasts: (3,) of the first components: mean over cells that objects touch minus the mean over the others, in
            standard deviations of the component; NaN where there are no cells of one kind.
        projected: (3, h, w) of each image.
    """

    name: str
    stride: int
    components: Components
    contrasts: np.ndarray
    projected: list[np.ndarray]


@dataclass(frozen=True)
class ComponentsReport:
    """What was found.

    Attributes:
        levels: The components of each level, finest first.
        images: Names of the images.
        folder: Where `pca-P3.png`, ... and `pca.csv` are.
    """

    levels: list[LevelComponents]
    images: list[str]
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        """Return the explained variance, a row for every level and component."""
        return [
            {
                "level": level.name,
                "stride": level.stride,
                "component": place + 1,
                "explained_variance": float(level.components.variances[place]),
                "share": float(level.components.shares[place]),
                "object_contrast": _finite(level.contrasts, place),
            }
            for level in self.levels
            for place in range(len(level.components.variances))
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        levels = {
            level.name: {
                "explained": [float(share) for share in level.components.shares[:_SHOWN]],
                "object_contrast": [_finite(level.contrasts, place) for place in range(_SHOWN)],
            }
            for level in self.levels
        }
        return {"images": self.images, "levels": levels, "save_dir": self.folder}

    def table(self) -> str:
        """Return the first components' shares and contrasts as text for people."""
        lines = [
            f"Principal components of the features of {len(self.images)} images. Contrast: mean on objects minus mean "
            "elsewhere, in standard deviations:",
            f"{'level':6} {'component':>9} {'variance':>9} {'contrast':>9}",
        ]
        for level in self.levels:
            for place, share in enumerate(level.components.shares[:_SHOWN]):
                contrast = _finite(level.contrasts, place)
                text = "-" if contrast is None else f"{contrast:+.2f}"
                lines.append(f"{level.name:6} {place + 1:>9} {share:>9.1%} {text:>9}")
        return "\n".join([*lines, f"\nFigures and pca.csv: {self.folder}"])


def _finite(values: np.ndarray, place: int) -> float | None:
    return float(values[place]) if place < len(values) and np.isfinite(values[place]) else None


def analyze_pca(options: Mapping[str, Any]) -> ComponentsReport:
    """Show the principal components of every level that enters the head beside the images with their boxes.

    Args:
        options: See `uavdet.analysis.command.run_analyze`.

    Raises:
        UAVDetError: As `open_samples` does.
    """
    options = {**defaults_of("analyze"), "images": _IMAGES, **options}
    samples = open_samples(options)
    with new_results("pca", options) as folder, torch.no_grad():
        shown: list[Sample] = []
        maps: list[list[np.ndarray]] = [[] for _ in samples.strides]
        for sample in samples:
            shown.append(sample)
            samples.model.predict(sample.image)  # type: ignore[operator]
            for kept, level in zip(maps, samples.recorder.head_inputs, strict=True):
                kept.append(level[0].float().cpu().numpy())
        levels = [
            analyze_level(name, stride, kept, shown)
            for name, stride, kept in zip(samples.levels, samples.strides, maps, strict=True)
        ]
        report = ComponentsReport(levels, [sample.name for sample in shown], folder)
        write_rows(folder / "pca.csv", report.rows(), _HEADER)
        for found in levels:
            draw_components(found, shown, folder / f"pca-{found.name.replace(' ', '')}.png", describe_subject(options))
    return report


def analyze_level(name: str, stride: int, maps: list[np.ndarray], samples: list[Sample]) -> LevelComponents:
    """Find the components of a level's maps (C, h, w), an image each."""
    used = [
        touched_cells(np.array([sample.content]), _shape(part))[0] for sample, part in zip(samples, maps, strict=True)
    ]
    components = fit_components(maps, used)
    projected = [components.project(part) for part in maps]
    return LevelComponents(name, stride, components, _contrasts(components, projected, used, samples), projected)


def _shape(maps: np.ndarray) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def _contrasts(
    components: Components, projected: list[np.ndarray], used: list[np.ndarray], samples: list[Sample]
) -> np.ndarray:
    """Return how far objects stand out in each component; cells in ignored regions are neither."""
    inside, outside = [], []
    for sample, part, taken in zip(samples, projected, used, strict=True):
        objects = touched_cells(corners(sample.boxes), _shape(part)).any(0)
        regions = np.zeros((0, 4)) if sample.regions is None else sample.regions.cpu().numpy()
        ignored = touched_cells(regions, _shape(part)).any(0)
        inside.append(part[:, objects & taken])
        outside.append(part[:, ~objects & ~ignored & taken])
    within, beyond = np.concatenate(inside, 1), np.concatenate(outside, 1)
    deviation = np.sqrt(components.variances[:_SHOWN])
    deviation = np.concatenate([deviation, np.zeros(_SHOWN - len(deviation))])
    if not within.shape[1] or not beyond.shape[1]:
        return np.full(_SHOWN, np.nan)
    difference = within.mean(1) - beyond.mean(1)
    return np.divide(difference, deviation, out=np.full(_SHOWN, np.nan), where=deviation > 0)


def scale_components(projected: list[np.ndarray]) -> list[np.ndarray]:
    """Return components in [0, 1]: 0 and 1 are the 1st and the 99th percentile of each over all images.

    Args:
        projected: (3, h, w) each.
    """
    values = np.concatenate([part.reshape(len(part), -1) for part in projected], 1)
    low, high = np.percentile(values, _RANGE, axis=1)[..., None, None]
    span = np.where(high > low, high - low, 1.0)
    return [np.clip((part - low) / span, 0, 1) for part in projected]


def draw_components(level: LevelComponents, samples: list[Sample], file: Path, subject: str) -> None:
    """Write the figure of a level: a row an image, with its boxes, its first component, and the first three in colour.

    Args:
        level: What was found.
        samples: The images.
        file: The PNG.
        subject: Of which model and which data, for the note.
    """
    shares = level.components.shares[:_SHOWN]
    listed = ", ".join(f"component {place + 1} {share:.1%}" for place, share in enumerate(shares))
    contrast = _finite(level.contrasts, 0)
    standing = ""
    if contrast is not None:
        standing = f" Objects lie {contrast:+.1f} standard deviations from the rest in component 1."
    height, width = samples[0].picture.shape[:2]
    figure = new_figure(
        3.6 * 3 + 1.0,
        (3.6 * height / width + 0.3) * len(samples) + 2.0,
        f"Principal components of the features at {level.name}, stride {level.stride}, beside the images\n"
        "as the network gets them: the directions in which features differ most",
        f"{subject}.\nExplained variance: {listed}; together {shares.sum():.1%}.{standing}\n"
        "Components are of all images shown, so a colour means the same in each. Their scale ends at the 1st and the "
        "99th percentile.\nObjects' boxes are orange, in the maps white.",
    )
    panels = np.array(figure.subplots(len(samples), 3, squeeze=False))
    for row, (sample, part) in enumerate(zip(samples, scale_components(level.projected), strict=True)):
        boxes = corners(sample.boxes)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        show_picture(panels[row, 0], sample.picture, title=f"{sample.name}, objects: {len(boxes)}")
        outline(panels[row, 0], boxes, (height, width))
        shown = show_picture(panels[row, 1], part[0], title="component 1", extent=extent, vmin=0, vmax=1)
        outline(panels[row, 1], boxes, (height, width), colors="white", linewidths=0.7)
        show_picture(panels[row, 2], part.transpose(1, 2, 0), title="components 1, 2, 3 as R, G, B", extent=extent)
        outline(panels[row, 2], boxes, (height, width), colors="white", linewidths=0.7)
    bar = figure.colorbar(shown, ax=panels, location="bottom", shrink=0.3, aspect=40, pad=0.01, label="component 1")
    bar.set_ticks([0, 1], labels=["low", "high"])
    save_figure(figure, file)
