"""Our parser against Ultralytics' on its own YAMLs, and against the published networks."""

import copy

import pytest
import torch
import yaml
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import parse_model, yaml_model_load

from uavdet.assets import list_assets
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.profile import profile_model
from uavdet.errors import ConfigError
from uavdet.nn.build import build_network
from uavdet.nn.decoder import RTDETRDecoder
from uavdet.nn.rows import read_rows

STOCK = ["rtdetr-l.yaml", "rtdetr-x.yaml", "rtdetr-resnet50.yaml", "rtdetr-resnet101.yaml"]


@pytest.mark.parametrize("name", STOCK)
def test_stock_yamls_build_as_ultralytics_builds_them(name):
    config = {**yaml_model_load(name), "channels": 3}
    with torch.device("meta"):
        expected, expected_save = parse_model(copy.deepcopy(config), ch=3, verbose=False)
        given, save = build_network(copy.deepcopy(config), 3)
    shapes = [{key: tuple(value.shape) for key, value in net.state_dict().items()} for net in (expected, given)]
    assert list(shapes[0]) == list(shapes[1])
    assert shapes[0] == shapes[1]
    assert save == expected_save
    assert [row.f for row in given] == [row.f for row in expected]
    assert [row.np for row in given] == [row.np for row in expected]


# Released SO-DETR networks, 10 classes, fused; GFLOPs by thop's convention at 640 pixels.
@pytest.mark.parametrize(
    ("name", "params", "gflops"),
    [
        ("so-detr-r50.yaml", 44_385_922, 161.36),
        ("so-detr-r18.yaml", 20_381_496, 63.95),
        ("so-detr-ev2.yaml", 12_036_456, 32.98),
    ],
)
def test_published_networks_have_the_published_size(name, params, gflops):
    profile = profile_model(build_model(load_model_config(name), nc=10))
    assert profile.params_fused == params
    assert profile.gflops_fused == pytest.approx(gflops, rel=0.01)


# Rows of the released networks, unfused, less the convolution of DDF that nothing reads.
R18_ROWS = {
    "stem1": 928, "stem2": 9_280, "stem3": 18_560, "stage2": 152_192, "stage3": 525_568, "stage4": 2_099_712,
    "stage5": 8_393_728, "project5": 131_584, "encoder": 789_760, "lateral5": 66_048, "project4": 66_048,
    "fuse4": 657_920, "lateral4": 33_024, "detail": 295_168, "dual_domain": 336_000 - 1_920, "p3": 625_152,
    "down3": 590_336, "p4": 625_152, "down4": 590_336, "p5": 657_920, "decoder": 3_929_496,
}  # fmt: skip
R50_ROWS = {
    "stem1": 928, "stem2": 9_280, "stem3": 18_560, "stage2": 215_808, "stage3": 1_219_584, "stage4": 7_098_368,
    "stage5": 14_964_736, "project5": 524_800, "encoder": 789_760, "lateral5": 66_048, "project4": 262_656,
    "fuse4": 2_232_320, "lateral4": 33_024, "detail": 1_179_904, "dual_domain": 1_335_552 - 3_840, "p3": 2_363_392,
    "down3": 590_336, "p4": 2_166_784, "down4": 590_336, "p5": 2_232_320, "decoder": 7_322_658,
}  # fmt: skip
EV2_ROWS = {
    "project5": 45_568, "encoder": 789_760, "lateral5": 66_048, "project4": 25_088, "fuse4": 657_920,
    "lateral4": 33_024, "detail": 147_712, "dual_domain": 211_280 - 1_520, "p3": 604_672, "down3": 590_336,
    "p4": 625_152, "down4": 590_336, "p5": 657_920, "decoder": 3_929_496,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rows"), [("so-detr-r18", R18_ROWS), ("so-detr-r50", R50_ROWS), ("so-detr-ev2", EV2_ROWS)]
)
def test_rows_have_the_released_parameters(name, rows):
    with torch.device("meta"):
        network, _ = build_network({**load_model_config(name), "nc": 10})
    counts = {key: row.np for key, row in network.named_children() if row.np}
    backbone = {key: count for key, count in counts.items() if key not in rows}
    assert {key: counts[key] for key in rows} == rows
    assert sum(backbone.values()) == (3_269_072 if name == "so-detr-ev2" else 0)


@pytest.mark.parametrize("name", ["so-detr-n", "rtdetr-n"])
def test_nano_models_keep_their_budget(name):
    profile = profile_model(build_model(load_model_config(name), nc=80))
    assert profile.params <= 4_000_000
    assert profile.gflops <= 8.0


@pytest.mark.parametrize("name", sorted(list_assets("cfg/models")))
@pytest.mark.parametrize("cells", [(2, 2), (3, 5)])
def test_every_shipped_model_runs_at_any_multiple_of_its_stride(name, cells):
    model = build_model(load_model_config(name), nc=3, queries=20).eval()
    stride = int(model.stride.max())
    with torch.no_grad():
        rows, _ = model(torch.rand(2, 3, cells[0] * stride, cells[1] * stride))
    assert rows.shape == (2, 20, 6)
    assert torch.isfinite(rows).all()


def test_a_marker_row_shifts_no_name():
    config = load_model_config("so-detr-n")
    marked = copy.deepcopy(config)
    marked["backbone"].insert(0, [-1, 1, "nn.Identity", [], "thumbnail"])
    index = next(i for i, row in enumerate(marked["head"]) if row[-1] == "p3")
    marked["head"].insert(index + 1, ["p3", 1, "nn.Identity", [], "marker"])
    plain, with_markers = build_model(config, nc=2), build_model(marked, nc=2)
    assert list(plain.state_dict()) == list(with_markers.state_dict())
    with_markers.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(x)[0], with_markers.eval()(x)[0])


DECODER = [["stem"], 1, "RTDETRDecoder", ["nc", 16, 9, 4, 2, 1], "decoder"]


def test_building_runs_the_rows_without_a_trace():
    torch.manual_seed(0)
    network, _ = build_network(_config(DECODER))
    after = torch.rand(1)
    torch.manual_seed(0)
    conv = Conv(3, 8, 3, 2)
    torch.testing.assert_close(network.state_dict()["stem.conv.weight"], conv.conv.weight)
    RTDETRDecoder(2, [8], 16, 9, 4, 2, 1)
    assert torch.equal(after, torch.rand(1))
    assert all(module.training for module in network.modules())
    assert network.stem.bn.num_batches_tracked == 0
    assert network.decoder.shapes == []


def _config(*head, backbone=None):
    return {
        "nc": 2,
        "yaml_file": "my.yaml",
        "backbone": backbone or [[-1, 1, "Conv", [8, 3, 2], "stem"]],
        "head": list(head),
    }


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"nc": 2, "yaml_file": "my.yaml"}, ["my.yaml", "backbone"]),
        (_config([-1, 1, "DDFF", [], "x"]), ["my.yaml", "head row 1", "unknown module 'DDFF'", "Did you mean 'DDF'"]),
        (_config([-1, 1, "Conv"]), ["head row 1", "[from, repeats, module, args, name]"]),
        (_config([-1, 1, "Conv", [8], "stem"]), ["'stem' is taken"]),
        (_config([-1, 1, "Conv", [8], "a.b"]), ["holds a dot"]),
        (_config([-1, 1, "Conv", [8], "half"]), ["'half' is taken"]),
        (_config([-1, 1, "Conv", [8], ""]), ["empty"]),
        (_config(["stm", 1, "Conv", [8], "x"]), ["source row 'stm'", "Did you mean 'stem'"]),
        (_config([5, 1, "Conv", [8], "x"]), ["source row '5'"]),
        (_config([[["stem"]], 1, "Concat", [1], "x"]), ["source row '['stem']'"]),
        (_config([-1, 0, "Conv", [8], "x"]), ["repeats=0"]),
        (_config([-1, 1, "Conv", [], "x"]), ["head row 1 (x: Conv)", "args are []"]),
        (_config([["stem"], 1, "Conv", [8], "x"]), ["one source row"]),
        (_config([-1, 1, "Concat", [1], "x"]), ["list of source rows"]),
        (_config([-1, 2, "DDF", [], "x"]), ["repeats=2"]),
        (_config([-1, 1, "DDF", [7.5], "x"]), ["fraction=7.5"]),
        (_config([["stem"], 1, "RTDETRDecoder", ["nc", {"expansion": 0.5}], "x"]), ["expansion=0.5"]),
        (_config([["stem"], 1, "RTDETRDecoder", ["nc", {"expansin": 1}], "x"]), ["expansin"]),
        (_config([["stem"], 1, "RTDETRDecoder", ["nc", 16, 0, 4, 2, 1], "x"]), ["head row 1", "queries=0"]),
        (_config([["stem"], 1, "RTDETRDecoder", ["nc", 16, 9, 4, 2, 0], "x"]), ["head row 1", "layers=0"]),
        (_config([["stem"], 1, "RTDETRDecoder", ["nc", 16, 9, 4, 0, 1], "x"]), ["head row 1 (x: RTDETRDecoder)"]),
        (_config([-1, 1, "Conv", [8], "x"]), ["head row 1 (x: Conv)", "no decoder", "RTDETRDecoder"]),
        (_config(DECODER, [-1, 1, "nn.Identity", [], "x"]), ["head row 2 (x: nn.Identity)", "no decoder"]),
        (_config(DECODER, backbone=[[-1, 1, "Conv", [0], "stem"]]), ["backbone row 0 (stem: Conv)", "0 channels"]),
        (_config([-1, 1, "SPDConv", [0], "x"], DECODER), ["head row 1 (x: SPDConv)", "0 channels"]),
        (_config(DECODER, backbone=[[-1, 1, "Conv", [-8], "stem"]]), ["backbone row 0 (stem: Conv)", "-8 channels"]),
        (_config([-2, 1, "Conv", [8], "x"], DECODER), ["head row 1", "source row '-2'"]),
        (
            _config([-1, 1, "Conv", [8, 3, 2], "small"], [["stem", "small"], 1, "Concat", [1], "x"], DECODER),
            ["head row 2 (x: Concat)", "8x32x32, 8x16x16", "must match"],
        ),
        (_config([["stem", "stem"], 1, "Concat", [2], "x"], DECODER), ["head row 1 (x: Concat)", "16 channels"]),
        ({**_config(DECODER), "nc": 0}, ["my.yaml", "nc=0"]),
        ({**_config(DECODER), "nc": None}, ["my.yaml", "nc=None"]),
        ({**_config(DECODER), "scales": {"n": [1, 1, 8]}, "scale": "z"}, ["my.yaml", "scale='z'"]),
    ],
)
def test_bad_rows_are_named(config, parts):
    with pytest.raises(ConfigError) as caught:
        build_network(config)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["nc: 2", "- 1", "nc: [", "nc: two\nbackbone: []"])
def test_bad_model_files_are_refused(tmp_path, text):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="my"):
        build_model(load_model_config(file))


def test_unknown_model_names_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'so-detr-n\.yaml'"):
        load_model_config("so-detr-m.yaml")


def test_shipped_yamls_name_every_row():
    for file in list_assets("cfg/models").values():
        rows = read_rows(yaml.safe_load(file.read_text()))
        assert not [row.name for row in rows if row.name.isdigit()], file
