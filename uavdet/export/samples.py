"""The images on which an exported file is compared with its checkpoint, and their truth."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uavdet.data.config import SPLITS, DataConfig, load_data_config
from uavdet.data.image_files import decode_upright
from uavdet.data.scenes import CLASS_NAMES, Scene, SceneConfig, SceneFrame
from uavdet.errors import DataError
from uavdet.evaluation.scoring import read_truth
from uavdet.evaluation.truth import GroundTruth, ImageTruth

_COLOUR_PROBES = 2
_FIRST_SEED = 300
_OBJECTS = 25
_MARGIN = 1.25
"""Width of a scene over that of the network's input, so that stretching has something to do."""
_LEAST_SIDE = 160
"""Least side of a scene in pixels, over the margin: in smaller ones its objects find no place."""
_KEPT = 128
"""Scenes that are kept for the next comparison: as many as the longest takes, 0.2 GB at 640x640 pixels. Of fewer each
would be gone when it is asked for again."""
_SYNONYMS = {"person": {"person", "people", "pedestrian"}, "bicycle": {"bicycle", "bike"}}


@dataclass(frozen=True)
class Samples:
    """Images for a comparison.

    Attributes:
        images: Name to (H, W, 3) uint8 BGR; those of a dataset are read when they are asked for.
        truth: The annotated ones among them, or None where nothing is annotated under the model's classes.
        source: Where they come from, for people.
    """

    images: Mapping[str, np.ndarray]
    truth: GroundTruth | None
    source: str


class ImageFiles(Mapping[str, np.ndarray]):
    """Images by name that are read from their files each time, so that memory holds one and not hundreds.

    Args:
        files: Name to file.
        others: Name to image, of further ones that have no file.
    """

    def __init__(self, files: Mapping[str, Path], others: Mapping[str, np.ndarray]) -> None:
        self._files, self._others = files, others

    def __getitem__(self, name: str) -> np.ndarray:
        return self._others[name] if name in self._others else read_colour(self._files[name])

    def __iter__(self) -> Iterator[str]:
        yield from self._files
        yield from self._others

    def __len__(self) -> int:
        return len(self._files) + len(self._others)


def read_samples(
    names: Mapping[int, str], size: tuple[int, int], data: str | Path | None = None, count: int = 16
) -> Samples:
    """Return images to compare on.

    Images of a dataset are spread evenly over its validation split, and two synthetic colour scenes join them: many
    drone datasets are thermal or grey, and grey images look the same when red and blue are swapped. Without a dataset
    all are synthetic scenes, thermal and colour ones in turn.

    Args:
        names: The model's classes.
        size: (height, width) of the network's input in pixels.
        data: A dataset YAML, or None for synthetic scenes.
        count: Number of images, the two of a dataset's company apart.

    Raises:
        ConfigError: The dataset YAML cannot be used.
        DataError: Images or labels cannot be used, or no image is asked for.
    """
    if count < 1:
        raise DataError(f"images={count} leaves nothing to compare on. Give at least 1.")
    if data is None:
        return _scene_samples(names, size, count)
    config = load_data_config(data)
    split = next(name for name in ("val", *SPLITS) if name in config.images)
    files, truth = _dataset_samples(config, split, count)
    probes = _scene_samples(names, size, 2 * _COLOUR_PROBES)
    colour = {name: image for name, image in probes.images.items() if name.startswith("colour")}
    return Samples(ImageFiles(files, colour), truth, f"{len(files)} images of {config.yaml_file} ({split})")


def _dataset_samples(config: DataConfig, split: str, count: int) -> tuple[dict[str, Path], GroundTruth]:
    truth, files = read_truth(config, split)
    if not truth.images:
        raise DataError(f"'{split}' of {config.yaml_file} has no image. Give another dataset: data=PATH/data.yaml.")
    places = np.unique(np.linspace(0, len(truth.images) - 1, count).round().astype(int))
    chosen = [truth.images[place] for place in places]
    return {image.name: files[image.name] for image in chosen}, GroundTruth(chosen, truth.names, truth.category_ids)


def read_colour(file: Path) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 BGR."""
    pixels = decode_upright(file)
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2))


def _scene_samples(names: Mapping[int, str], size: tuple[int, int], count: int) -> Samples:
    classes = _scene_classes(names)
    images: dict[str, np.ndarray] = {}
    truths: list[ImageTruth] = []
    for index in range(count):
        modality = ("thermal", "colour")[index % 2]
        name = f"{modality} scene {_FIRST_SEED + index}"
        frame = _render(_FIRST_SEED + index, modality, max(size[0], _LEAST_SIDE), max(size[1], _LEAST_SIDE))
        images[name] = frame.image
        truths.append(_scene_truth(name, frame, classes))
    annotated = bool((classes >= 0).any())
    return Samples(images, GroundTruth(truths, dict(names)) if annotated else None, f"{count} synthetic scenes")


@functools.lru_cache(maxsize=_KEPT)
def _render(seed: int, modality: str, height: int, width: int) -> SceneFrame:
    """Return the first frame of a scene, which may not be written to: it is kept for the next comparison."""
    config = SceneConfig(
        seed=seed,
        size=(round(_MARGIN * width), height),
        modality=modality,
        objects=_OBJECTS,
        min_size=10,
        max_size=70,
        ignore_regions=0,
    )
    frame = Scene(config).render(0)
    frame.image.setflags(write=False)
    return frame


def _scene_classes(names: Mapping[int, str]) -> np.ndarray:
    """Return the model's class id of each class of the scenes, -1 for those that it does not know."""
    ids = {name.strip().lower(): index for index, name in names.items()}
    known = [[ids[word] for word in sorted(_SYNONYMS.get(name, {name})) if word in ids] for name in CLASS_NAMES]
    return np.array([found[0] if found else -1 for found in known])


def _scene_truth(name: str, frame: SceneFrame, classes: np.ndarray) -> ImageTruth:
    ids = classes[frame.classes]
    boxes = frame.boxes[ids >= 0].astype(np.float64)
    return ImageTruth(
        name=name,
        size=(frame.image.shape[1], frame.image.shape[0]),
        boxes=boxes,
        classes=ids[ids >= 0],
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        crowd=np.zeros(len(boxes), dtype=bool),
    )
