"""Ultralytics' augmentations with ignored regions.

A region travels among the instances of an image with the class `REGION`, so that every geometric transform moves it
as it moves objects. Two transforms leave out what is mostly cut off, which is right for objects and wrong for
regions: what is left of a region is still to be ignored. They are replaced here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ultralytics.data.augment import Compose, CutMix, RandomPerspective
from ultralytics.utils.instance import Instances
from ultralytics.utils.metrics import bbox_ioa

REGION = -1.0
"""The class of ignored regions among the instances of an image."""


def is_region(labels: dict[str, Any]) -> np.ndarray:
    """Return which instances of an image are ignored regions, (N,)."""
    return labels["cls"].reshape(-1) == REGION


class RegionPerspective(RandomPerspective):
    """Rotation, zoom, shear and shift that keep what is left of a region; a rotated region becomes its bounding box."""

    def apply_instances(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Move the instances; see Ultralytics' class."""
        assert params is not None
        regions, instances = is_region(labels), labels["instances"]
        moved = instances[regions]
        labels["instances"], labels["cls"] = instances[~regions], labels["cls"][~regions]
        labels = super().apply_instances(labels, params)
        moved.convert_bbox(format="xyxy")
        moved.denormalize(*params["orig_shape"][::-1])
        moved = Instances(self.apply_bboxes(moved.bboxes, params["M"]), bbox_format="xyxy", normalized=False)
        moved.clip(*params["size"])
        moved.remove_zero_area_boxes()
        return _append(labels, moved)


class RegionCutMix(CutMix):
    """CutMix that takes along every region of which the pasted part shows anything."""

    def get_params(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Choose the pasted part and the instances that come with it; it never covers an object or a region."""
        params = super().get_params(labels)
        if params.get("skip"):
            return params
        other = labels["mix_labels"][0]
        regions, chosen = is_region(other), params["indexes2"]
        objects = chosen[~regions[chosen]]
        if not len(objects):
            return {**params, "skip": True}
        shown = bbox_ioa(params["area"][None], other["instances"].bboxes).reshape(-1) > 0
        params["indexes2"] = np.concatenate([objects, np.nonzero(regions & shown)[0]])
        return params


def _append(labels: dict[str, Any], regions: Instances) -> dict[str, Any]:
    if len(regions):
        labels["instances"] = Instances.concatenate([labels["instances"], regions], axis=0)
        added = np.full((len(regions), 1), REGION, dtype=labels["cls"].dtype)
        labels["cls"] = np.concatenate([labels["cls"], added])
    return labels


_REPLACED: dict[type, type] = {RandomPerspective: RegionPerspective, CutMix: RegionCutMix}


def with_regions(transform: Any) -> Any:
    """Return a transform, or a composition of them, whose parts keep ignored regions."""
    if isinstance(transform, Compose):
        return Compose([with_regions(part) for part in transform.transforms])
    if getattr(transform, "pre_transform", None) is not None:
        transform.pre_transform = with_regions(transform.pre_transform)
    if type(transform) in _REPLACED:
        replaced = _REPLACED[type(transform)]
        copied: Any = object.__new__(replaced)
        copied.__dict__.update(transform.__dict__)
        return copied
    return transform
