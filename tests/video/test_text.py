"""Text on frames."""

import numpy as np
import pytest

from uavdet.video.text import _as_ascii, text_height, text_width, write_words


def test_words_stay_in_their_room():
    words, size = ("12", "Person", "0.87"), 0.5
    canvas = np.full((60, 300, 3), 128, np.uint8)
    write_words(canvas, words, (20, 10), (0, 255, 0), size)
    rows, columns = np.nonzero((canvas != 128).any(2))
    assert rows.min() >= 10
    assert rows.max() < 10 + text_height(size)
    assert columns.min() >= 20
    assert columns.max() < 20 + text_width(words, size)
    assert (canvas[..., 1] > 200).any()
    assert (canvas.max(2) < 60).any()


@pytest.mark.parametrize("origin", [(-15, -5), (290, 50), (-500, 0), (0, 500)])
def test_text_over_the_border_is_cut_off(origin):
    canvas = np.zeros((60, 300, 3), np.uint8)
    write_words(canvas, ("Person",), origin, (255, 255, 255), 0.5)
    assert canvas.shape == (60, 300, 3)


def test_no_words_have_no_width():
    assert text_width((), 0.5) == 0


def test_fonts_without_accents_have_letters_without_them():
    assert _as_ascii("Människa 人") == "Manniska ?"
