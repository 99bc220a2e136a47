"""A YOLO's frozen head as an amplifier: what its box and class branches say of the student's maps.

End-to-end models (YOLO26) have two pairs of branches; the one-to-many pair is taken, which judges every cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from uavdet.losses.ignore import ignored_cells
from uavdet.methods.ds2d2.imitation import HeadPredictions, imitation_loss

_SMALLEST_SIDE = 1e-4  # of the image: a sixteenth of a pixel at 640, where float32 still resolves an IoU


class YOLOAmplifier:
    """A frozen YOLO head.

    Args:
        head: The Detect head of a teacher, or a fine-tuned copy: in evaluation mode, without gradients. Its batch
            normalisation must not learn from the student's features.
    """

    def __init__(self, head: Any) -> None:
        self.head = head

    def loss(self, students: Mapping[int, Tensor], teachers: Sequence[Tensor], regions: Tensor | None) -> Tensor:
        """Return the imitation loss over all cells of the student's levels, a scalar.

        Args:
            students: The student's maps (B, C_i, h, w) by the level of the head that they stand for.
            teachers: The maps that enter the teacher's head, one for each level, finest first.
            regions: Ignored regions as `uavdet.losses.ignore.regions_of_batch` returns them.
        """
        levels = sorted(students)
        student = self._predict({level: students[level] for level in levels})
        with torch.no_grad():
            teacher = self._predict({level: teachers[level] for level in levels})
        takes_part = torch.ones(teacher.logits.shape[:2], dtype=torch.bool, device=teacher.logits.device)
        if regions is not None:
            ignored = [ignored_cells(_grid(students[level]), regions) for level in levels]
            takes_part = ~torch.cat([cells.flatten(1) for cells in ignored if cells is not None], 1)
        return imitation_loss(student, teacher, takes_part)

    def _predict(self, maps: Mapping[int, Tensor]) -> HeadPredictions:
        """Return the predictions of all cells of the levels given, one level after the other."""
        logits = [self.head.cv3[level](entry).flatten(2).mT for level, entry in maps.items()]
        sides = [self._sides(level, entry) for level, entry in maps.items()]
        centres = torch.cat([_centres(entry) for entry in maps.values()])
        distances = torch.cat(sides, 1)
        # A distribution over bins cannot point inwards. A plain number (reg_max = 1) can, and the IoU of a box turned
        # inside out is nonsense: such sides count as next to nothing there, and the L1 distance pulls them back.
        bounded = distances.clamp(min=_SMALLEST_SIDE)
        corners = torch.cat([centres - bounded[..., :2], centres + bounded[..., 2:]], -1)
        boxes = torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
        return HeadPredictions(torch.cat(logits, 1), boxes, distances if self.head.reg_max == 1 else None)

    def _sides(self, level: int, maps: Tensor) -> Tensor:
        """Return the distances of each cell's centre to the four sides of its box, normalised, (B, h w, 4)."""
        raw = self.head.cv2[level](maps).flatten(2)
        height, width = _grid(maps)
        with torch.autocast(maps.device.type, enabled=False):  # bfloat16 would place sides by sixteenths of a cell
            return self.head.dfl(raw.float()).mT / maps.new_tensor([width, height, width, height], dtype=torch.float32)


def _grid(maps: Tensor) -> tuple[int, int]:
    return maps.shape[2], maps.shape[3]


def _centres(maps: Tensor) -> Tensor:
    """Return the centres of a map's cells, normalised xy, (h w, 2)."""
    height, width = _grid(maps)
    x = (torch.arange(width, device=maps.device) + 0.5) / width
    y = (torch.arange(height, device=maps.device) + 0.5) / height
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)
