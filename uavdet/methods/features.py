"""Feature maps of a detector's forward pass, for methods that compare those of two networks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from uavdet.engine.families import backbone_rows


class _Tap:
    """A hook that keeps the tensors of the last forward pass; the copy of a model (EMA, export) has none."""

    def __init__(self, inputs: bool) -> None:
        self.inputs, self.live = inputs, True
        self.value: Any = None

    def __call__(self, module: nn.Module, given: tuple[Any, ...], output: Any = None) -> None:
        if self.live:
            self.value = given[0] if self.inputs else output

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tap:
        copied = _Tap(self.inputs)
        copied.live = False
        return copied


class FeatureRecorder:
    """Keeps the feature maps of a detector's last forward pass.

    Args:
        model: Ours, stock RT-DETR or stock YOLO. It gets forward hooks; copies of it keep nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        rows: Any = model.model
        head = rows[-1]
        self._head = _Tap(inputs=True)
        head.register_forward_pre_hook(self._head)
        self._memory = [_Tap(inputs=False) for _ in getattr(head, "input_proj", [])]
        for tap, projection in zip(self._memory, getattr(head, "input_proj", []), strict=True):
            projection.register_forward_hook(tap)
        self._backbone = [_Tap(inputs=False) for _ in backbone_rows(model)]
        for tap, row in zip(self._backbone, backbone_rows(model), strict=True):
            row.register_forward_hook(tap)

    @property
    def first(self) -> Tensor:
        """The map of the first row, (B, C, H, W): of a model with a thumbnail, the thumbnail."""
        return self._backbone[0].value

    @property
    def head_inputs(self) -> list[Tensor]:
        """The maps that entered the head, (B, C_i, H_i, W_i), finest first."""
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
