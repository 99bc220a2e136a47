"""Marker rows: they change nothing but what a method is told, and go when the run ends."""

import copy

import onnx
import pytest
import torch
import yaml

from tests.conftest import TINY
from uavdet.assets import find_yaml
from uavdet.engine.checkpoint import Checkpoint, describe_model, read_checkpoint, save_checkpoint
from uavdet.engine.families import build_model, load_model_config, with_thumbnail
from uavdet.engine.loading import load_model, load_weights
from uavdet.engine.plan import plan_training
from uavdet.engine.profile import profile_model
from uavdet.engine.trainer import TrainerHooks
from uavdet.errors import ConfigError, UsageError
from uavdet.export.onnx import export_onnx
from uavdet.nn.background import BackgroundMarker, marked_levels, remove_markers, without_markers
from uavdet.nn.registry import registered_layers
from uavdet.nn.thumbnail import insert_thumbnail

BASES = ["so-detr-n", "so-detr-r18"]


def small(name, **changes):
    """Return a model YAML, with two classes and few queries."""
    return {**load_model_config(name), "nc": 2, "queries": 20, **changes}


def rows_of(config):
    return [*config["backbone"], *config["head"]]


def marked(config, source, name, place=-1):
    """Return a copy of a YAML whose head reads `source` through a marker of this name, inserted before row `place`."""
    config = copy.deepcopy(config)
    config["head"].insert(len(config["head"]) + place, [source, 1, "HBS", [], name])
    inputs = config["head"][-1][0]
    inputs[inputs.index(source)] = name
    return config


def narrowed(config):
    """Return a copy of a YAML whose first row has other channels."""
    first, *rest = config["backbone"]
    return {**config, "backbone": [[*first[:3], [8, 3, 2], first[4]], *rest]}


# Levels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["so-detr-n", "rtdetr-n", "rtdetr-l", "yolo11n"])
def test_nothing_is_marked_in_other_models(name):
    config = load_model_config(name)
    assert marked_levels(config) is None
    assert without_markers(config) is config


@pytest.mark.parametrize("base", BASES)
def test_every_level_is_marked_in_the_shipped_yamls(base):
    assert marked_levels(load_model_config(f"{base}-set")) == [0, 1, 2]


@pytest.mark.parametrize(("levels", "expected"), [(["p4"], [1]), (["p5", "p3"], [0, 2])])
def test_levels_are_places_among_the_head_s_inputs(levels, expected):
    config = small("so-detr-n")
    for level in levels:
        config = marked(config, level, f"hbs_{level}")
    assert marked_levels(config) == expected
    assert marked_levels(build_model(config)) == expected


def test_sources_may_be_numbers():
    config = small("so-detr-n")
    last = len(rows_of(config)) - 1  # of the decoder, which the marker moves by one
    config["head"].insert(-1, [-1, 1, "HBS", []])
    config["head"][-1][0] = ["p3", "p4", -1]
    assert marked_levels(config) == [2]
    plain = without_markers(config)
    assert rows_of(plain)[-1][0] == ["p3", "p4", "p5"]
    assert len(rows_of(plain)) == last + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["head"].insert(-1, ["p3", 1, "HBS", [], "idle"]), r"head row 26 \(idle: HBS\): the head does not"),
        (lambda c: c["head"].insert(3, ["encoder", 1, "HBS", [], "early"]), "name it among the sources of decoder"),
        (lambda c: c["head"].insert(-1, ["p3", 1, "HBS", [4], "hbs3"]), "takes no arguments.*set.kernel=eq4"),
        (lambda c: c["head"].insert(-1, [["p3", "p4"], 1, "HBS", [], "two"]), "takes one source row"),
        (lambda c: c["head"].append(["p3", 1, "HBS", [], "end"]), "the last row is no decoder"),
    ],
)
def test_markers_that_mark_nothing_are_refused(change, said):
    config = small("so-detr-n")
    change(config)
    with pytest.raises(ConfigError, match=f"so-detr-n.yaml.*{said}"):
        build_model(config)


def test_the_image_is_no_level():
    config = {"backbone": [[-1, 1, "HBS", []]], "head": [[[0], 1, "RTDETRDecoder", ["nc"]]]}
    with pytest.raises(ConfigError, match="marks the image"):
        marked_levels(config)


# The plain model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
def test_the_shipped_yamls_without_markers_are_the_plain_ones(base):
    plain = yaml.safe_load(find_yaml(base, "cfg/models").read_text())
    shipped = yaml.safe_load(find_yaml(f"{base}-set", "cfg/models").read_text())
    before = copy.deepcopy(shipped)
    assert without_markers(shipped) == plain
    assert shipped == before
    assert [row[4] for row in rows_of(shipped) if row[2] != "HBS"] == [row[4] for row in rows_of(plain)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda config: config, "so-detr-n.yaml"),
        (lambda config: insert_thumbnail(config, 2), "so-detr-n-thumb2.yaml"),
        (lambda config: {**config, "yaml_file": "mine.yaml"}, "so-detr-n.yaml"),
        (lambda config: narrowed({**config, "yaml_file": "mine.yaml"}), "mine.yaml"),
    ],
)
def test_the_plain_model_is_called_by_its_name_where_it_ships(change, expected):
    assert without_markers(change(load_model_config("so-detr-n-set")))["yaml_file"] == expected


@pytest.mark.parametrize("base", BASES)
def test_a_marked_model_takes_a_thumbnail(base):
    changed = with_thumbnail(load_model_config(f"{base}-set"), {"thumbnail": 2})
    assert marked_levels(changed) == [0, 1, 2]
    assert rows_of(without_markers(changed)) == rows_of(load_model_config(f"{base}-thumb2"))


def test_rows_without_names_keep_their_keys():
    """In a YAML whose rows have numbers, the head behind a marker is called as it was with the marker."""
    config = small("rtdetr-n")
    rows = rows_of(config)
    number = {row[4]: index for index, row in enumerate(rows)}
    for row in rows:
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        sources = [number.get(source, source) for source in sources]
        row[0] = sources if isinstance(row[0], list) else sources[0]
        del row[4]
    place = len(rows) - 1
    config["head"].insert(-1, [number["p3"], 1, "HBS", []])
    config["head"][-1][0] = [place, *config["head"][-1][0][1:]]
    model = build_model(config)
    plain = build_model(without_markers(config))
    assert list(plain.state_dict()) == list(model.state_dict())
    assert [row.f for row in plain.model][-1] == [number["p3"], number["p4"], number["p5"]]


@pytest.mark.parametrize("name", BASES)
def test_parameters_keys_and_operations_are_the_plain_model_s(name):
    plain, model = (build_model(small(given)) for given in (name, f"{name}-set"))
    assert list(model.state_dict()) == list(plain.state_dict())
    expected, given = profile_model(plain, (320, 320)), profile_model(model, (320, 320))
    assert given.summary() == expected.summary()
    assert [layer.params for layer in given.layers if layer.module == "HBS"] == [0, 0, 0]


def test_weights_of_the_plain_model_and_of_the_marked_one_fill_each_other():
    plain, model = (build_model(small(name)) for name in ("so-detr-n", "so-detr-n-set"))
    assert load_weights(model, plain.state_dict()).complete
    image = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(image)[0], plain.eval()(image)[0], rtol=0, atol=0)
    assert load_weights(build_model(small("so-detr-n")), model.state_dict()).complete


def test_markers_hand_on_what_they_get():
    marker, features = BackgroundMarker(), torch.rand(1, 4, 3, 2)
    assert marker(features) is features
    assert marker.train()(features) is features
    assert not marker.state_dict()


def test_exported_graphs_are_the_plain_model_s(tmp_path):
    nodes = []
    for name in ("so-detr-n", "so-detr-n-set"):
        torch.manual_seed(0)
        graph = onnx.load(str(export_onnx(build_model(small(name)), tmp_path / f"{name}.onnx", 64))).graph
        nodes.append([(node.op_type, len(node.input), len(node.output)) for node in graph.node])
    assert nodes[0] == nodes[1]


# Training -------------------------------------------------------------------------------------------------------------


def planned(data, tmp_path, **options):
    return plan_training(
        {**TINY, "data": str(data), "project": str(tmp_path), "model": "so-detr-n-set.yaml", **options}
    )


def test_training_without_the_method_is_refused(tiny_data, tmp_path):
    with pytest.raises(UsageError) as error:
        planned(tiny_data, tmp_path)
    assert str(error.value) == (
        "so-detr-n-set.yaml, head row 26 (hbs3: HBS): the row is for training with the method set, which this run does "
        "not have. Add methods=set, or give a model without such rows."
    )
    with pytest.raises(UsageError, match="Add methods=so-detr-kd,set, or"):
        planned(tiny_data, tmp_path, methods="so-detr-kd")


def test_other_rows_may_name_a_method_too(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(registered_layers()["SPDConv"], "trained_by", "detail", raising=False)
    with pytest.raises(UsageError, match=r"\(detail: SPDConv\): the row is for training with the method detail"):
        planned(tiny_data, tmp_path, model="so-detr-n.yaml")


def test_a_checkpoint_with_markers_opens_and_may_not_train_alone(tiny_data, tmp_path):
    model = build_model(small("so-detr-n-set"))
    file = save_checkpoint(Checkpoint(model.state_dict(), describe_model(model)), tmp_path / "marked.pt")
    opened, _ = load_model(file)
    with torch.no_grad():
        assert opened.eval()(torch.rand(1, 3, 64, 64))[0].shape == (1, 20, 6)
    with pytest.raises(UsageError, match="Add methods=set"):
        planned(tiny_data, tmp_path, model=str(file))


def test_final_checkpoints_describe_the_model_without_markers(tmp_path):
    """The end of a run, with a method that takes the markers away: the weights stay, the YAML is the plain one."""

    class Method:
        def strip(self, model):
            remove_markers(model)

    model = build_model(small("so-detr-n-set"))
    checkpoint = Checkpoint(model.state_dict(), {**describe_model(model), "imgsz": 64}, {"epoch": 0})

    class Run:
        plan = type("Plan", (), {"methods": [Method()]})
        ema = type("Average", (), {"ema": model})
        last, best = (save_checkpoint(checkpoint, tmp_path / name) for name in ("last.pt", "best.pt"))
        args = type("Args", (), {"plots": False})

    TrainerHooks.final_eval(Run())
    for file in (Run.last, Run.best):
        written = read_checkpoint(file)
        assert written.training is None
        assert written.meta["imgsz"] == 64
        assert written.meta["yaml"]["yaml_file"] == "so-detr-n.yaml"
        assert rows_of(written.meta["yaml"]) == rows_of(load_model_config("so-detr-n"))
        assert list(written.weights) == list(build_model(small("so-detr-n")).state_dict())
        load_model(file)
