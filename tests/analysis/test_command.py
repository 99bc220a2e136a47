"""`uavdet analyze`: its kinds, their options, the help, and broken weights, which no kind looks at."""

import pytest
import torch

from tests.analysis.detectors import write_detector
from uavdet.analysis.command import _EVERY_KIND, KINDS
from uavdet.arguments import arguments_of
from uavdet.cli import help_text, main


def test_every_option_of_the_mode_belongs_to_a_kind():
    known = set(arguments_of("analyze"))
    taken = {option for kind in KINDS.values() for option in kind.options}
    assert taken | set(_EVERY_KIND) == known
    assert not taken & set(_EVERY_KIND)


def test_the_help_says_what_each_kind_shows_and_takes():
    lines = help_text("analyze").splitlines()
    for name, kind in KINDS.items():
        assert name in lines[0]
        place = next(number for number, line in enumerate(lines) if line.split()[:1] == [name])
        assert kind.shows in lines[place]
        assert lines[place + 1].split(", ") == [f"{'':23}{kind.options[0]}", *kind.options[1:]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "thumbnail"])
def test_weights_that_are_not_finite_are_refused(kind, tiny_data, tmp_path, capsys):
    def spoil(model):
        torch.nn.init.constant_(model.get_submodule("model.p4.cv1.conv").weight, float("nan"))

    file = write_detector("so-detr-n.yaml", tmp_path / "x.pt", spoil)
    words = [f"model={file}", f"data={tiny_data}", "imgsz=64", f"project={tmp_path / 'runs'}"]
    assert main(["analyze", kind, *words]) == 4
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "x.pt' holds weights that are not finite, first model.p4.cv1.conv.weight, in 1 of" in errors[0]
    assert not (tmp_path / "runs").exists()


def test_without_a_model_the_bundled_weights_are_looked_at(tiny_data, tmp_path):
    words = [f"data={tiny_data}", "imgsz=64", "images=1", f"project={tmp_path / 'runs'}"]
    assert main(["analyze", "pca", *words]) == 0
    assert (tmp_path / "runs" / "pca" / "pca.csv").is_file()
