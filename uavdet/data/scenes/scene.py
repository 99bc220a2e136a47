"""Synthetic aerial scenes: clips and datasets with exact boxes, tracks and ignore regions, drawn from a seed.

A scene is a painted ground seen by a pinhole camera, with small solid objects that move over it. Every frame is a
function of (seed, index) alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from uavdet.data.scenes.camera import Camera, FloatArray
from uavdet.data.scenes.config import CLASS_NAMES, MODALITIES, SceneConfig, require_choice
from uavdet.data.scenes.dataset import ImageLabels, write_annotations, write_data_yaml, write_label
from uavdet.data.scenes.motion import Actor
from uavdet.data.scenes.shapes import (
    Patch,
    Pose,
    blend_patch,
    crop_window,
    draw_patch,
    draw_shadow,
    shadow_hull,
    shadow_matrix,
    shadow_outlines,
    visible_box,
)
from uavdet.data.scenes.world import World, build_world
from uavdet.errors import UsageError

__all__ = ["CLASS_NAMES", "Scene", "SceneConfig", "SceneFrame", "write_dataset"]

MIN_INSIDE = 0.4
"""An object is labelled when this share of its box is inside the frame, ..."""
MIN_SIDE = 2.0
"""... its clipped box has sides of at least this many pixels, ..."""
MIN_EXPOSED = 0.3
"""... and other objects leave this share of it visible."""


@dataclass
class SceneFrame:
    """One frame and its truth; boxes are xyxy in pixels.

    Attributes:
        image: (H, W, 3) uint8 BGR; a thermal image has three equal channels.
        boxes: (N, 4) float32, tight, clipped to the image.
        classes: (N,) int64, indices into CLASS_NAMES.
        track_ids: (N,) int64, the same for an object over the whole clip.
        ignore_regions: (M, 4) float32, clipped to the image, around clusters of unlabelled objects.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    track_ids: npt.NDArray[np.int64]
    ignore_regions: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Sprite:
    """An actor as it appears in one frame."""

    actor: Actor
    track_id: int
    pose: Pose
    patch: Patch
    shade: float


class Scene:
    """A clip of any length. Building it draws the world; rendering a frame depends on no other frame.

    Args:
        config: What the scene is to be.
    """

    def __init__(self, config: SceneConfig) -> None:
        self.config = config
        self._world: World = build_world(config)

    def render(self, index: int) -> SceneFrame:
        """Render frame `index`, 0 or more.

        Raises:
            UsageError: `index` is negative.
        """
        return self._render(index, frozenset())

    def frames(self, count: int) -> Iterator[SceneFrame]:
        """Render the first `count` frames."""
        return (self.render(index) for index in range(count))

    def _render(self, index: int, without: frozenset[int]) -> SceneFrame:
        """Render a frame; objects whose track ids are in `without` leave no more than their shadows."""
        if index < 0:
            raise UsageError(f"index={index} is not a frame. Frames count from 0. Set index=0.")
        seconds = index / self.config.fps
        camera = self._world.flight.at(seconds)
        scene = self._view_ground(camera)
        sprites = self._draw_sprites(camera, seconds)
        self._cast_shadows(scene, camera, sprites)
        for sprite in sprites:
            if sprite.track_id not in without:
                blend_patch(scene, sprite.patch, sprite.shade)
        image = self._world.sensor.develop(scene, np.random.default_rng([self.config.seed, 3, index]))
        shown = [sprite for sprite in sprites if sprite.track_id not in without]
        return self._label(image, shown, self._find_ignored(camera))

    def _view_ground(self, camera: Camera) -> FloatArray:
        """Return the ground as (H, W, C) float32."""
        if not self._world.flight.moving:
            return self._still_ground.copy()
        return self._warp_ground(camera)

    @cached_property
    def _still_ground(self) -> FloatArray:
        return self._warp_ground(self._world.flight.reference)

    def _warp_ground(self, camera: Camera) -> FloatArray:
        world = self._world
        step = 1 / world.resolution
        to_metres = np.array([[step, 0, world.origin[0] + 0.5 * step], [0, step, world.origin[1] + 0.5 * step],
                              [0, 0, 1]])  # fmt: skip
        to_frame = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ camera.ground @ to_metres
        view = cv2.warpPerspective(
            world.ground, to_frame, self.config.size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return view.reshape(view.shape[0], view.shape[1], -1).astype(np.float32)

    def _draw_sprites(self, camera: Camera, seconds: float) -> list[_Sprite]:
        """Draw every actor in sight, from far to near."""
        world = self._world
        limits = (self.config.min_size + 0.3, self.config.max_size - 0.5)
        sprites = []
        for number, actor in enumerate(world.actors):
            pose, lap = actor.motion.at(seconds)
            if not self._in_sight(camera, pose):
                continue
            patch = draw_patch(actor.model, pose, camera.matrix, world.light, limits)
            if patch is not None:
                track_id = number + lap * len(world.actors)
                sprites.append(_Sprite(actor, track_id, pose, patch, self._shade_at(pose)))
        eye = camera.position[:2]
        return sorted(sprites, key=lambda item: -float(np.hypot(item.pose.x - eye[0], item.pose.y - eye[1])))

    def _in_sight(self, camera: Camera, pose: Pose) -> bool:
        """Whether a place is in the frame or within the largest object's reach of it."""
        x, y, depth = camera.ground @ np.array([pose.x, pose.y, 1.0])
        margin = self.config.max_size
        width, height = self.config.size
        return bool(depth > 0 and -margin < x / depth < width + margin and -margin < y / depth < height + margin)

    def _shade_at(self, pose: Pose) -> float:
        """Return the brightness of an object where it stands; it is only dimmed in colour, shade is no heat."""
        world = self._world
        if self.config.modality == "thermal":
            return 1.0
        column, row = (int(v) for v in (np.array([pose.x, pose.y]) - world.origin) * world.resolution)
        height, width = world.shade.shape
        return float(0.2 + 0.8 * world.shade[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])

    def _cast_shadows(self, scene: FloatArray, camera: Camera, sprites: list[_Sprite]) -> None:
        world = self._world
        matrix = shadow_matrix(camera.matrix, world.light.sun)
        for sprite in sprites:
            tint = 1 - (1 - world.tint) * sprite.shade
            model, pose = sprite.actor.model, sprite.pose
            open_frame = CLASS_NAMES[sprite.actor.class_id] == "bicycle"
            outlines = shadow_outlines(model, pose, matrix) if open_frame else [shadow_hull(model, pose, matrix)]
            draw_shadow(scene, outlines, tint, 0.8)

    def _find_ignored(self, camera: Camera) -> FloatArray:
        """Return the (M, 4) boxes of the clusters in sight, clipped."""
        boxes = np.array([cluster.box(camera.matrix) for cluster in self._world.clusters]).reshape(-1, 4)
        clipped = _clip(boxes, self.config.size)
        return clipped[(clipped[:, 2:] - clipped[:, :2] >= MIN_SIDE).all(1)]

    def _label(self, image: npt.NDArray[np.uint8], sprites: list[_Sprite], ignored: FloatArray) -> SceneFrame:
        """Return the frame with the objects that are visible enough and not in an ignore region."""
        whole = np.array([sprite.patch.box for sprite in sprites]).reshape(-1, 4)
        boxes = np.array([visible_box(sprite.patch, self.config.size) for sprite in sprites]).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = sides.prod(1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(1), 1e-9)
        keep = (sides >= MIN_SIDE).all(1) & (inside >= MIN_INSIDE) & ~_centres_within(boxes, ignored)
        keep &= _measure_exposure([sprite.patch for sprite in sprites], self.config.size) >= MIN_EXPOSED
        kept = [sprite for sprite, kept in zip(sprites, keep, strict=True) if kept]
        return SceneFrame(
            image,
            boxes[keep].astype(np.float32),
            np.array([sprite.actor.class_id for sprite in kept], np.int64),
            np.array([sprite.track_id for sprite in kept], np.int64),
            ignored.astype(np.float32),
        )


def _measure_exposure(patches: Sequence[Patch], size: tuple[int, int]) -> FloatArray:
    """Return (N,) how much of each patch the later ones leave visible, 0 to 1, within a frame of (width, height)."""
    owner = np.full((size[1], size[0]), -1, np.int32)
    solids = [patch.alpha >= min(0.5, float(patch.alpha.max())) for patch in patches]
    windows = [crop_window(owner.shape, patch.left, patch.top, patch.alpha.shape) for patch in patches]
    for number, (window, solid) in enumerate(zip(windows, solids, strict=True)):
        if window is not None:
            owner[window[:2]][solid[window[2]]] = number
    seen = np.bincount(owner[owner >= 0], minlength=len(patches))
    whole = [
        0 if window is None else int(solid[window[2]].sum()) for window, solid in zip(windows, solids, strict=True)
    ]
    return seen / np.maximum(np.array(whole, float), 1)


def _clip(boxes: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Clip (N, 4) xyxy boxes to a frame of (width, height)."""
    return np.clip(boxes, 0, np.array([*size, *size], float))


def _centres_within(boxes: FloatArray, regions: FloatArray) -> npt.NDArray[np.bool_]:
    """Return (N,) whether the centre of a box lies in any of (M, 4) regions."""
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).T[:, :, None]
    x1, y1, x2, y2 = regions.T[:, None]
    return np.any((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2), axis=1)


def write_dataset(
    folder: Path,
    images: dict[str, int],
    config: SceneConfig,
    names: Mapping[str, str] | None = None,
    modalities: tuple[str, ...] = ("colour", "thermal"),
    workers: int = 1,
) -> Path:
    """Write a dataset of single images, each a scene of its own.

    `folder` receives `images/<split>/*.jpg`, `labels/<split>/*.txt` (class, centre and size, normalised),
    `annotations/instances_<split>.json` (COCO, original pixels, with `ignore_regions`) and `data.yaml`.

    Args:
        folder: Where to write.
        images: Number of images by split, e.g. {"train": 200, "val": 50}.
        config: Size, limits and means; seed, modality, ground and number of objects are varied image by image.
        names: Dataset class by scene class, e.g. {"car": "Car", "truck": "Car"}; classes left out are not drawn, and
            dataset ids follow the mapping's order. None keeps CLASS_NAMES.
        modalities: The modalities to alternate between.
        workers: Processes that render.

    Returns:
        The path of `data.yaml`.

    Raises:
        UsageError: a class, a modality, a split or a count is not usable.
    """
    mapping = dict.fromkeys(CLASS_NAMES) if names is None else dict(names)
    dataset_names = {name: new or name for name, new in mapping.items()}
    _check_request(images, dataset_names, modalities, workers)
    folder = Path(folder)
    for split, count in images.items():
        jobs = [_vary(config, split, index, tuple(dataset_names), modalities) for index in range(count)]
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        write = partial(_write_image, folder, split, dataset_names)
        write_annotations(folder, split, _run(write, jobs, workers), _dataset_classes(dataset_names))
    return write_data_yaml(folder, list(images), _dataset_classes(dataset_names))


def _dataset_classes(names: Mapping[str, str]) -> list[str]:
    """Return the dataset's classes in order, each once."""
    return list(dict.fromkeys(names.values()))


def _check_request(
    images: Mapping[str, int], names: Mapping[str, str], modalities: tuple[str, ...], workers: int
) -> None:
    for name in names:
        require_choice("names", name, CLASS_NAMES)
    for modality in modalities:
        require_choice("modalities", modality, MODALITIES)
    if not names or not modalities or not images:
        raise UsageError(
            "images, names or modalities is empty. Each must have an entry. Set images={'train': 8, 'val': 4}."
        )
    for split, count in images.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise UsageError(f"images[{split!r}]={count!r} is not a count. It must be 0 or more. Set it to 8.")
    if workers < 1:
        raise UsageError(f"workers={workers} cannot render. It must be 1 or more. Set workers=1.")


def _vary(
    config: SceneConfig, split: str, index: int, classes: tuple[str, ...], modalities: tuple[str, ...]
) -> tuple[int, SceneConfig]:
    """Return the number of an image and the config of its scene."""
    rng = np.random.default_rng([config.seed, zlib.crc32(split.encode()), index])
    objects = round(config.objects * rng.gamma(1.6, 1 / 1.6)) if rng.random() > 0.03 else 0
    varied = replace(
        config,
        seed=int(rng.integers(1 << 40)),
        modality=modalities[index % len(modalities)],
        objects=min(objects, 4 * config.objects),
        ignore_regions=int(rng.binomial(2 * config.ignore_regions, 0.35)),
        classes=classes,
    )
    return index, varied


def _run(write: Any, jobs: list[tuple[int, SceneConfig]], workers: int) -> list[ImageLabels]:
    if workers == 1 or len(jobs) < 2:
        return [write(job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(write, jobs, chunksize=4))


def _write_image(folder: Path, split: str, names: Mapping[str, str], job: tuple[int, SceneConfig]) -> ImageLabels:
    """Render one image, write it with its label file, and return its labels."""
    index, config = job
    frame = Scene(config).render(0)
    stem = f"{config.modality}_{index:05d}"
    cv2.imwrite(str(folder / "images" / split / f"{stem}.jpg"), frame.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    order = _dataset_classes(names)
    ids = [order.index(names[CLASS_NAMES[class_id]]) for class_id in frame.classes]
    labels = ImageLabels(f"{stem}.jpg", config.size, frame.boxes, ids, frame.track_ids.tolist(), frame.ignore_regions)
    write_label(folder / "labels" / split / f"{stem}.txt", labels)
    return labels
