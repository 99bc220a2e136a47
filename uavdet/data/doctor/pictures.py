"""Pictures for the page of a diagnosis, as text that HTML can hold."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

_HEAT_CELLS = 24
_HEAT_SIDE = 384
_BOX_COLOUR = (40, 200, 255)  # BGR
_REDUCTIONS = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
_QUALITY = 80


def encode_picture(picture: np.ndarray, suffix: str = ".jpg") -> str:
    """Return a BGR picture as a data URL."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else []
    kind = "jpeg" if suffix == ".jpg" else "png"
    data = cv2.imencode(suffix, picture, settings)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def read_picture(file: Path, size: tuple[int, int], side: int) -> np.ndarray | None:
    """Read an image for display, large ones reduced while they are decoded; None where it cannot be read.

    Args:
        file: The image file.
        size: Its (width, height) in pixels.
        side: Its longer side in the picture.
    """
    flag = next((flag for factor, flag in _REDUCTIONS if max(size) >= factor * side), cv2.IMREAD_COLOR)
    try:
        picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), flag)
    except (OSError, cv2.error):
        return None
    if picture is None:
        return None
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def draw_boxes(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Draw boxes into a picture and return it.

    Args:
        picture: (H, W, 3) uint8 BGR.
        boxes: (N, 4) cxcywh, normalised.
    """
    size = np.array(picture.shape[1::-1])
    low, high = (boxes[:, :2] - boxes[:, 2:] / 2) * size, (boxes[:, :2] + boxes[:, 2:] / 2) * size
    for (left, top), (right, bottom) in zip(np.floor(low).astype(int), np.ceil(high).astype(int), strict=True):
        cv2.rectangle(picture, (int(left), int(top)), (int(right), int(bottom)), _BOX_COLOUR, 1)
    return picture


def draw_heat_map(boxes: np.ndarray) -> np.ndarray:
    """Return a picture of where the centres of objects lie in their images, all stretched to one square.

    Args:
        boxes: (N, 4) cxcywh, normalised.
    """
    edges = np.linspace(0, 1, _HEAT_CELLS + 1)
    counts, _, _ = np.histogram2d(boxes[:, 1], boxes[:, 0], (edges, edges))
    shares = np.sqrt(counts / max(counts.max(), 1))  # the root shows the thinly filled cells too
    heat = cv2.applyColorMap((shares * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return cv2.resize(heat, (_HEAT_SIDE, _HEAT_SIDE), interpolation=cv2.INTER_NEAREST)
