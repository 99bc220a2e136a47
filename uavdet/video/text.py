"""Text on frames, fast enough for video: every word is rendered once and blended in after that."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_UNICODE = int(cv2.__version__.partition(".")[0]) >= 5  # before, OpenCV's font has ASCII alone
_BORDER = 3
_EDGE = 0.6  # size of text whose outline is a pixel wide


@lru_cache(maxsize=64)
def text_height(size: float) -> int:
    """Return the height in pixels of any text of a size, its outline included."""
    return _word("Ag|", (255, 255, 255), size)[0].shape[0]


@lru_cache(maxsize=4096)
def text_width(words: tuple[str, ...], size: float) -> int:
    """Return the width in pixels of words in a row."""
    return sum(_word(word, (255, 255, 255), size)[0].shape[1] for word in words)


def write_words(canvas: np.ndarray, words: Sequence[str], origin: tuple[int, int], colour: Colour, size: float) -> None:
    """Write words in a row with a dark outline, readable on any ground; what lies outside of the canvas is cut off.

    Args:
        canvas: (H, W, 3) uint8 BGR, which is written on.
        words: What to write.
        origin: (left, top) in pixels.
        colour: BGR.
        size: Of the font, as in OpenCV: 0.4 is about 12 pixels high.
    """
    left, top = origin
    for word in words:
        ink, keep = _word(word, colour, size)
        _blend(canvas, ink, keep, left, top)
        left += ink.shape[1]  # the room for outlines is a space


@lru_cache(maxsize=4096)
def _word(word: str, colour: Colour, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a word as (h, w, 3) uint16: its ink times 256, and the share of the ground that stays, of 256."""
    text = word if _UNICODE else _as_ascii(word)
    (width, height), baseline = cv2.getTextSize(text, _FONT, size, 1)
    tall = cv2.getTextSize("Ag|", _FONT, size, 1)
    height, baseline = max(height, tall[0][1]), max(baseline, tall[1])
    mask = np.zeros((height + baseline + 2 * _BORDER, width + 2 * _BORDER), dtype=np.uint8)
    cv2.putText(mask, text, (_BORDER, _BORDER + height), _FONT, size, 255, 1, cv2.LINE_AA)
    # The outline is the text itself, grown: a thicker stroke is wider in OpenCV 5 and would not lie beneath.
    edge = 2 * max(1, round(size / _EDGE)) + 1
    solid = cv2.dilate(mask, np.ones((edge, edge), np.uint8)).astype(np.uint16)[..., None]
    ink = mask.astype(np.uint16)[..., None] * np.array(colour, dtype=np.uint16)
    return ink, np.repeat(256 - solid, 3, axis=2)


def _as_ascii(word: str) -> str:
    """Return a word without accents, and with `?` for what has no letter."""
    plain = unicodedata.normalize("NFKD", word)
    return "".join(sign for sign in plain if not unicodedata.combining(sign)).encode("ascii", "replace").decode()


def _blend(canvas: np.ndarray, ink: np.ndarray, keep: np.ndarray, left: int, top: int) -> None:
    height, width = canvas.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + ink.shape[1], width), min(top + ink.shape[0], height)
    if x1 >= x2 or y1 >= y2:
        return
    window = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
    ground = canvas[y1:y2, x1:x2]
    ground[:] = (ground * keep[window] + ink[window]) >> 8
