"""What a checkpoint's module finds in images, as the reference for its exported files."""

from __future__ import annotations

import copy
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox

from uavdet.export.agreement import TIE


class Reference:
    """Runs a copy of a DETR in float32 on the CPU, as it is: neither fused nor rewritten for export.

    Args:
        module: The checkpoint's module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).float().cpu().eval()
        self._head = cast(Any, self.module.model)[-1]
        self._scores: Tensor | None = None
        self._head.enc_score_head.register_forward_hook(self._keep_scores)

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, bool]:
        """Run one image.

        Args:
            batch: (1, C, H, W) float32 in [0, 1].

        Returns:
            Rows (K, 6): cx, cy, w, h normalised, score, class, the best score first; and whether the scores of the last
            query that is chosen and of the first that is not are so near that rounding decides.
        """
        with torch.inference_mode():
            outputs = self.module(torch.from_numpy(batch))
        rows = outputs[0] if isinstance(outputs, list | tuple) else outputs
        return rows[0].float().numpy(), self._near_tie()

    def _keep_scores(self, _: nn.Module, __: Any, output: Tensor) -> None:
        self._scores = output.detach()

    def _near_tie(self) -> bool:
        """Return whether the last chosen query and the first one left out tie.

        Positions at the border of the image are masked, and their queries are all the same: which of them is chosen
        changes nothing.
        """
        if self._scores is None or self._scores.shape[1] <= self._head.num_queries:
            return False
        best, where = self._scores[0].max(-1).values.sort(descending=True)
        last = self._head.num_queries - 1
        if not self._head.valid_mask.reshape(-1)[where[last : last + 2]].any():
            return False
        return bool(best[last] - best[last + 1] < TIE)


def training_input(image: np.ndarray, size: tuple[int, int], channels: int) -> np.ndarray:
    """Return the network's input as training and validation make it, by Ultralytics' own transform.

    The runtime makes it by code of its own; where the two part, the comparison shows it.

    Args:
        image: (H, W, 3) uint8 BGR.
        size: (height, width) of the input in pixels.
        channels: 3 for RGB, 1 for grey; of other numbers the colours are repeated, for the sake of some input.

    Returns:
        (1, channels, height, width) float32 in [0, 1].
    """
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    stretched = LetterBox(size, auto=False, scale_fill=True)(image=image).reshape(*size, -1)
    planes = stretched[..., ::-1][..., [index % stretched.shape[-1] for index in range(channels)]]
    return np.ascontiguousarray(planes.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
