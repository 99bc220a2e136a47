"""The page holds everything it shows, and its plots say what the numbers say."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from tests.data.doctor.conftest import write_picture
from uavdet.data.doctor.diagnosis import examine
from uavdet.data.doctor.page import write_page
from uavdet.data.doctor.pictures import draw_boxes, draw_heat_map, encode_picture, read_picture
from uavdet.data.doctor.plots import plot_classes, plot_counts, plot_sizes

_VOID = {"img", "meta", "br"}


class _Checker(HTMLParser):
    """Keeps what is referred to, and checks that every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in {"src", "href", "srcset", "data"}]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(html):
    checker = _Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert all(reference.startswith("data:image/") for reference in checker.references)
    assert not re.search(r"@import|url\(|<script", html)
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)
    return checker


def test_a_page_about_nothing(write_dataset):
    checker = check(write_page(examine(write_dataset({"train": {}, "val": {}}))))
    text = " ".join(checker.text)
    assert "There is no box to plot" in text
    assert "refuses this dataset" in text


def test_a_page_holds_its_plots_and_pictures(write_dataset, tmp_path):
    files = {f"{n}.jpg": "0 .5 .5 .2 .2\n" * 1 + "1 .3 .3 .1 .1\n" * (n % 2) for n in range(6)}
    data = write_dataset({"train": files, "val": {"v.jpg": "0 .5 .5 .2 .2\n"}}, names=("car & <van>", "person"))
    write_picture(tmp_path / "images" / "val" / "near.jpg", 1, 97, 64)
    (tmp_path / "labels" / "train" / "5.txt").write_text("5 .5 .5 .1 .1\n")
    html = write_page(examine(data))
    checker = check(html)
    assert html.count("<svg") == 4
    assert len(checker.references) == 1 + 6 + 2  # heat map, densest and smallest, one pair
    assert "<van>" not in html
    text = " ".join(checker.text)
    for part in ("Advice", "Densest images", "look alike", "5.txt line 1: class 5", "of 64 bits differ"):
        assert part in text


def numbers(svg):
    return [element.text for element in ElementTree.fromstring(svg) if element.tag.endswith("text")]


def bars(svg, colour):
    rects = [element for element in ElementTree.fromstring(svg) if element.tag.endswith("rect")]
    return [rect for rect in rects if rect.get("fill") == colour][1:]  # the first belongs to the legend


def test_plots_of_nothing_are_plots():
    for svg in (plot_classes({}), plot_classes({"train": {}}), plot_sizes({"x": np.zeros(0)}, {"tiny 8": 8.0}),
                plot_counts(np.zeros(0, int), None)):  # fmt: skip
        ElementTree.fromstring(svg)


def test_bars_are_as_long_as_their_counts():
    svg = plot_classes({"train": {"car": 40, "bus": 10}, "val": {"car": 20, "bus": 0}})
    lengths = [float(bar.get("width")) for bar in bars(svg, "#2f6fb0")]
    assert lengths[1] / lengths[0] == pytest.approx(0.25, abs=0.01)
    assert "1 more" not in " ".join(numbers(svg))
    many = plot_classes({"train": {f"c{n}": n for n in range(40)}})
    assert "and 10 more" in numbers(many)


def test_sizes_stand_between_the_lines_of_their_classes():
    svg = plot_sizes({"original": np.array([10.0, 10.0, 20.0])}, {"tiny 8": 8.0, "small 16": 16.0})
    lines = [float(e.get("x1")) for e in ElementTree.fromstring(svg) if e.get("stroke-dasharray")]
    places = [float(bar.get("x")) for bar in bars(svg, "#2f6fb0")]
    assert lines[0] < places[0] < lines[1] < places[1]
    assert "2" in numbers(svg)


def test_the_line_of_queries_stands_among_the_counts():
    svg = plot_counts(np.array([0, 30, 600]), 300)
    line = next(e for e in ElementTree.fromstring(svg) if e.get("stroke") == "#b3261e")
    places = [float(e.get("x")) for e in ElementTree.fromstring(svg) if e.tag.endswith("rect")]
    assert places[1] < float(line.get("x1")) < places[2]
    assert "300 queries" in numbers(svg)
    assert "queries" not in " ".join(numbers(plot_counts(np.array([1]), None)))


def test_the_heat_map_is_brightest_where_objects_are():
    heat = draw_heat_map(np.array([[0.9, 0.1, 0.1, 0.1]] * 5))
    bright = heat.sum(2)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert row / heat.shape[0] < 0.2
    assert column / heat.shape[1] > 0.8


def test_large_pictures_are_reduced_and_damaged_ones_left_out(tmp_path):
    file = write_picture(tmp_path / "a.jpg", 1, 3000, 1500)
    assert read_picture(file, (3000, 1500), 300).shape == (150, 300, 3)
    assert read_picture(write_picture(tmp_path / "b.png", 1, 30, 60), (30, 60), 120).shape == (120, 60, 3)
    assert read_picture(tmp_path / "gone.jpg", (10, 10), 100) is None
    file.write_bytes(b"x")
    assert read_picture(file, (10, 10), 100) is None


def test_boxes_are_drawn_where_they_are():
    drawn = draw_boxes(np.zeros((100, 200, 3), np.uint8), np.array([[0.5, 0.5, 0.2, 0.4]]))
    rows, columns = np.nonzero(drawn.any(2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 70, 80, 120)


def test_pictures_survive_their_encoding():
    picture = np.full((20, 30, 3), 77, np.uint8)
    kind, _, data = encode_picture(picture, ".png").partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1), picture)
