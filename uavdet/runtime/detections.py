"""The detections of one image, and the forms in which other libraries hold them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from uavdet.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    import supervision
    from ultralytics.engine.results import Results


@dataclass(frozen=True)
class Detections:
    """Detections of one image, the best score first.

    Attributes:
        boxes: (N, 4) float32 xyxy in original pixels, clipped to the image.
        scores: (N,) float32 in [0, 1].
        classes: (N,) int64.
        names: Class id to class name.
        track_ids: (N,) int64, the identity of each detection's track, from 1; None where nothing was tracked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: dict[int, str]
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray | slice | Sequence[int]) -> Detections:
        """Return the detections of some rows: indices, a mask or a slice."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(chosen, np.ndarray) and not chosen.size:
            chosen = chosen.astype(bool) if chosen.dtype == bool else chosen.astype(np.int64)  # of an empty list
        ids = None if self.track_ids is None else self.track_ids[chosen]
        return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen], self.names, ids)

    @property
    def class_names(self) -> list[str]:
        """The class name of each detection."""
        return [self.names.get(int(category), str(category)) for category in self.classes]

    def to_json(self) -> list[dict[str, Any]]:
        """Return one plain dict a detection, as `uavdet predict json=True` prints them.

        Returns:
            Dicts of `class` (its id), `name`, `confidence` and `box` with `x1`, `y1`, `x2`, `y2` in original pixels;
            after tracking with `track_id`.
        """
        rows: list[dict[str, Any]] = [
            {
                "class": int(category),
                "name": name,
                "confidence": round(float(score), 5),
                "box": dict(zip(("x1", "y1", "x2", "y2"), (round(float(v), 2) for v in box), strict=True)),
            }
            for box, score, category, name in zip(self.boxes, self.scores, self.classes, self.class_names, strict=True)
        ]
        if self.track_ids is not None:
            for row, identity in zip(rows, self.track_ids.tolist(), strict=True):
                row["track_id"] = identity
        return rows

    def to_coco(self, image_id: int | str, categories: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a COCO results file, which pycocotools and `uavdet val predictions=FILE` read.

        Args:
            image_id: The image's id in the annotations.
            categories: Class id to category id of the annotations; by default they are the same.

        Returns:
            Dicts of `image_id`, `category_id`, `bbox` (x, y, width, height in original pixels) and `score`.

        Raises:
            UsageError: A detection's class is not in `categories`.
        """
        ids = {category: category for category in self.classes.tolist()} if categories is None else categories
        unknown = sorted(set(self.classes.tolist()) - set(ids))
        if unknown:
            raise UsageError(f"categories= lacks class {unknown[0]} of the detections. Give an id for every class.")
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        bbox = np.concatenate([self.boxes[:, :2], sides], axis=1).astype(float)
        return [
            {"image_id": image_id, "category_id": ids[category], "bbox": box, "score": score}
            for category, box, score in zip(
                self.classes.tolist(), bbox.tolist(), self.scores.astype(float).tolist(), strict=True
            )
        ]

    def to_supervision(self) -> supervision.Detections:
        """Return supervision's `Detections`, with names and identities where its annotators look for them.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise MissingDependencyError(
                "supervision is not installed. It comes with: pip install 'uavdet[video]', or pip install supervision."
            ) from None
        return supervision.Detections(
            xyxy=self.boxes.reshape(-1, 4).copy(),
            confidence=self.scores.copy(),
            class_id=self.classes.astype(int),
            tracker_id=None if self.track_ids is None else self.track_ids.astype(int),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )

    def to_results(self, image: np.ndarray, path: str = "image.jpg") -> Results:
        """Return Ultralytics' `Results`.

        Args:
            image: The image that the detections are of, (H, W, 3) uint8 BGR.
            path: What its `path` says.

        Raises:
            MissingDependencyError: Ultralytics or PyTorch is not installed.
        """
        importlib.import_module("uavdet.environment")  # before anything imports Ultralytics; says what is missing
        import torch
        from ultralytics.engine.results import Results

        ids = [] if self.track_ids is None else [self.track_ids[:, None]]
        rows = np.concatenate([self.boxes, *ids, self.scores[:, None], self.classes[:, None]], axis=1, dtype=np.float32)
        return Results(orig_img=image, path=path, names=dict(self.names), boxes=torch.from_numpy(rows))
