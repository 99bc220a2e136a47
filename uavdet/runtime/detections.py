"""The detections of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Detections of one image, the best score first.

    Attributes:
        boxes: (N, 4) float32 xyxy in original pixels, clipped to the image.
        scores: (N,) float32 in [0, 1].
        classes: (N,) int64.
        names: Class id to class name.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: dict[int, str]

    def __len__(self) -> int:
        return len(self.scores)

    def to_json(self) -> list[dict[str, Any]]:
        """Return one plain dict a detection: class id, name, confidence and box in pixels."""
        return [
            {
                "class": int(category),
                "name": self.names[int(category)],
                "confidence": round(float(score), 5),
                "box": dict(zip(("x1", "y1", "x2", "y2"), (round(float(v), 2) for v in box), strict=True)),
            }
            for box, score, category in zip(self.boxes, self.scores, self.classes, strict=True)
        ]
