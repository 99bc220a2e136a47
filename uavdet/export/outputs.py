"""What goes into an exported network and what comes out: input=float|uint8, output=detections|raw|deepstream."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_NAME = "images"


def select_pairs(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best-scored pairs of a box and a class.

    Args:
        boxes: (B, Q, 4).
        scores: (B, Q, nc).
        count: How many pairs, at most Q * nc.

    Returns:
        Boxes (B, count, 4), scores (B, count, 1), the best first, and class ids (B, count, 1) as floating-point
        numbers.
    """
    classes = scores.shape[2]
    best, pair = scores.flatten(1).topk(count, 1)
    query = torch.div(pair, classes, rounding_mode="trunc")
    chosen = boxes.gather(1, query[..., None].expand(-1, -1, 4))
    return chosen, best[..., None], (pair - query * classes)[..., None].to(boxes.dtype)


class DetectionRows(nn.Module):
    """`output=detections`, Ultralytics' layout: rows (B, K, 6) of cx, cy, w, h normalised, score, class id.

    Args:
        count: K.
    """

    names = ("output0",)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Map boxes (B, Q, 4) cxcywh, normalised, and scores (B, Q, nc) to rows."""
        return torch.cat(select_pairs(boxes, scores, self.count), -1)


class DeepStreamRows(nn.Module):
    """`output=deepstream`, the layout that DeepStream-Yolo's parser reads.

    Rows (B, K, 6) of x1, y1, x2, y2 in pixels of the network's input, score and label. The parser takes the first
    output whatever its name. Everything is computed out of place, since TensorRT knows no other way.

    Args:
        count: K.
        imgsz: (height, width) of the input in pixels.
    """

    names = ("output",)
    sides: Tensor

    def __init__(self, count: int, imgsz: tuple[int, int]) -> None:
        super().__init__()
        self.count = count
        height, width = imgsz
        self.register_buffer("sides", torch.tensor([width, height], dtype=torch.float32), persistent=False)

    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Map boxes (B, Q, 4) cxcywh, normalised, and scores (B, Q, nc) to rows."""
        chosen, best, label = select_pairs(boxes, scores, self.count)
        centre, half = chosen[..., :2], chosen[..., 2:] / 2
        return torch.cat([(centre - half) * self.sides, (centre + half) * self.sides, best, label], -1)


class RawOutputs(nn.Module):
    """`output=raw`: every query's box (B, Q, 4) cxcywh, normalised, and its scores (B, Q, nc), in no order."""

    names = ("boxes", "scores")

    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are."""
        return boxes, scores


class PictureInput(nn.Module):
    """`input=uint8`: pictures as OpenCV holds them, (B, H, W, C) uint8, BGR or grey.

    They are converted before they are transposed, because TensorRT transposes no uint8. The network then takes a
    quarter of the bytes, and the program in front of it neither scales nor reorders.
    """

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (B, C, H, W) in [0, 1], RGB or grey."""
        images = pictures.float().permute(0, 3, 1, 2)
        if images.shape[1] == 3:
            images = torch.cat(images.split(1, 1)[::-1], 1)
        return images / 255.0


class ExportedNetwork(nn.Module):
    """A detector between its input and its outputs.

    Args:
        detector: Maps images (B, C, H, W) to boxes (B, Q, 4) and scores (B, Q, nc).
        outputs: `DetectionRows`, `DeepStreamRows` or `RawOutputs`.
        pictures: Whether the input is uint8 pictures.
    """

    def __init__(self, detector: nn.Module, outputs: nn.Module, pictures: bool = False) -> None:
        super().__init__()
        self.pictures = PictureInput() if pictures else None
        self.detector, self.outputs = detector, outputs

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Run all of it on images (B, C, H, W) in [0, 1], RGB or grey, or on pictures as `PictureInput` takes them."""
        images = images if self.pictures is None else self.pictures(images)
        return self.outputs(*self.detector(images))
