"""Figures: the text they carry, and how they are written."""

import subprocess
import sys

import cv2
import pytest

from uavdet.analysis.figure import dress_axes, new_figure, save_figure, show_picture


def test_a_figure_carries_its_title_and_note(tmp_path):
    figure = new_figure(6, 3, "What is shown", "how to read it")
    axes = dress_axes(figure.subplots(), title="panel", xlabel="side in pixels", ylabel="AP in %", grid="both")
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("side in pixels", "AP in %", "panel")
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("What is shown", "how to read it")
    assert cv2.imread(str(save_figure(figure, tmp_path / "x.png"))).shape == (390, 780, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]


def test_a_picture_has_no_ticks():
    axes = new_figure(3, 3, "").subplots()
    shown = show_picture(axes, [[0.0, 1.0]], title="map", vmax=2.0)
    assert shown.get_clim() == (0.0, 2.0)
    assert not len(axes.get_xticks())


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "x.png").write_text("old")

    class Broken:
        def savefig(self, file, **_):
            file.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_figure(Broken(), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys; from uavdet.analysis.figure import new_figure; new_figure(2, 2, 'x').subplots();"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
