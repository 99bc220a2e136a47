"""Feature maps of a detector's forward pass, for methods that compare those of two networks or perturb them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uavdet.engine.families import backbone_rows


class _Tap:
    """A hook that keeps the tensors of the last forward pass; the copy of a model (EMA, export) has none."""

    def __init__(self) -> None:
        self.live = True
        self.value: Any = None

    def __call__(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if self.live:
            self.value = output

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tap:
        copied = type(self)()
        copied.live = False
        return copied


class _HeadTap(_Tap):
    """Keeps what enters the head, as views of its own, which the head then reads."""

    def __call__(self, module: nn.Module, given: tuple[Any, ...], output: Any = None) -> Any:
        if not self.live:
            return None
        self.value = [maps.view_as(maps) for maps in given[0]]
        return (list(self.value), *given[1:])


class FeatureRecorder:
    """Keeps the feature maps of a detector's last forward pass.

    Args:
        model: Ours, stock RT-DETR or stock YOLO. It gets forward hooks; copies of it keep nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        rows: Any = model.model
        head = rows[-1]
        self._head = _HeadTap()
        head.register_forward_pre_hook(self._head)
        self._memory = [_Tap() for _ in getattr(head, "input_proj", [])]
        for tap, projection in zip(self._memory, getattr(head, "input_proj", []), strict=True):
            projection.register_forward_hook(tap)
        self._backbone = [_Tap() for _ in backbone_rows(model)]
        for tap, row in zip(self._backbone, backbone_rows(model), strict=True):
            row.register_forward_hook(tap)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the maps of the last pass while the head, or the whole network, runs once more."""
        taps = [self._head, *self._memory, *self._backbone]
        for tap in taps:
            tap.live = False
        try:
            yield
        finally:
            for tap in taps:
                tap.live = True

    @property
    def first(self) -> Tensor:
        """The map of the first row, (B, C, H, W): of a model with a thumbnail, the thumbnail."""
        return self._backbone[0].value

    @property
    def head_inputs(self) -> list[Tensor]:
        """The maps that entered the head, (B, C_i, H_i, W_i), finest first.

        Each is a node of its own in the graph: a gradient by one of them holds what the head makes of this level, and
        not what the neck makes of it for other levels.
        """
        return list(self._head.value)

    @property
    def memory(self) -> list[Tensor]:
        """A DETR's projected maps, which its decoder attends to, (B, D, H_i, W_i), finest first."""
        return [tap.value for tap in self._memory]

    @property
    def stages(self) -> list[Tensor]:
        """The last backbone map of each resolution, finest first; C3, C4 and C5 are the last three."""
        last: dict[tuple[int, ...], Tensor] = {}
        for tap in self._backbone:
            if isinstance(tap.value, Tensor) and tap.value.ndim == 4:
                last[tuple(tap.value.shape[2:])] = tap.value
        return sorted(last.values(), key=lambda maps: -maps.shape[2] * maps.shape[3])


@torch.no_grad()
def look_at_empty_image(model: nn.Module, side: int) -> None:
    """Show a network an empty image, so that a recorder has its maps; every module keeps its mode.

    Args:
        model: Ours, stock RT-DETR or stock YOLO.
        side: Side of the image in pixels.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    model.predict(next(model.parameters()).new_zeros(1, model.yaml.get("channels", 3), side, side))  # type: ignore[operator,union-attr]
    for module, training in modes:
        module.training = training
