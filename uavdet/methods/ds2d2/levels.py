"""Which feature maps of two networks are compared, and which map of one stands beside which of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from uavdet.methods.features import FeatureRecorder, look_at_empty_image
from uavdet.methods.outputs import is_detr

MapShape = tuple[int, int, int]
"""Channels, height and width."""


def head_features(model: nn.Module, features: FeatureRecorder) -> list[Tensor]:
    """Return the maps of the last pass that the predictions are made of, finest first.

    They are the memory of a DETR, after its input projection, and what enters the head of a YOLO.
    """
    return features.memory if is_detr(model) else features.head_inputs


def map_shapes(model: Any, features: FeatureRecorder, side: int) -> list[MapShape]:
    """Return the shapes of a network's maps for square images, by one pass of an empty image.

    Args:
        model: The network.
        features: Its recorder.
        side: Side of the image in pixels.
    """
    look_at_empty_image(model, side)
    return [(level.shape[1], level.shape[2], level.shape[3]) for level in head_features(model, features)]


def pair_by_grid(student: Sequence[MapShape], teacher: Sequence[MapShape]) -> dict[int, int]:
    """Return the teacher's level for each of the student's that has one with as many cells.

    At the same image size these are the levels of the same stride. A teacher that sees its images at twice the size
    has the same cells one level further up, where objects are as large, counted in cells, as the student has them.
    Maps are not resized to fit: that would destroy the band that is distilled.
    """
    place = {shape[1:]: level for level, shape in enumerate(teacher)}
    return {level: place[shape[1:]] for level, shape in enumerate(student) if shape[1:] in place}


def pair_by_order(student: Sequence[MapShape], teacher: Sequence[MapShape]) -> dict[int, int]:
    """Return the teacher's level for each of the student's, finest with finest.

    For the decoder alone, which reads maps at relative places and so takes them at any size.
    """
    return {level: level for level in range(min(len(student), len(teacher)))}


class FeatureAdapters(nn.Module):
    """1 x 1 convolutions that bring a student's maps into the teacher's channels; both branches read what they give.

    The paper's code has one, shared by all levels, and uses it in the explicit branch alone: its implicit branch then
    asks of the same features to lie in the teacher's basis unchanged.

    Args:
        widths: Channels of the student and of the teacher, for each of the student's levels that has a partner. One
            convolution serves all levels where they are all the same.

    Where the widths of a level agree it starts as the identity; otherwise with orthogonal weights that keep the mean
    square of the channels.
    """

    def __init__(self, widths: dict[int, tuple[int, int]]) -> None:
        super().__init__()
        shared = len(set(widths.values())) == 1
        self.index = {level: 0 if shared else place for place, level in enumerate(widths)}
        pairs = list(widths.values())[: 1 if shared else None]
        self.projections = nn.ModuleList(_projection(*pair) for pair in pairs)

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return the adapted maps by the student's level.

        Args:
            maps: All of the student's, finest first.
        """
        return {level: self.projections[place](maps[level]) for level, place in self.index.items()}


def _projection(student: int, teacher: int) -> nn.Conv2d:
    layer = nn.Conv2d(student, teacher, 1, bias=False)
    if student == teacher:
        nn.init.dirac_(layer.weight)
    else:
        nn.init.orthogonal_(layer.weight, gain=max(1.0, teacher / student) ** 0.5)
    return layer
