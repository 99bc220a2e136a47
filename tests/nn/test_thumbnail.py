"""Stems that shrink images: their numbers, their start, their place in a model YAML, and their exported graph."""

import copy

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import nn

from uavdet.assets import find_yaml
from uavdet.engine.families import build_model, load_model_config, with_thumbnail
from uavdet.engine.loading import load_weights
from uavdet.errors import CheckpointError, ConfigError, UsageError
from uavdet.export.onnx import export_onnx
from uavdet.export.operators import operators
from uavdet.model import UAVDet
from uavdet.nn.thumbnail import (
    AreaThumbnail,
    BicubicThumbnail,
    Thumbnail,
    find_thumbnail,
    input_stride,
    insert_thumbnail,
    thumbnail_factor,
)


def pictures(count=2, side=64):
    """Return smooth images with a colour cast, (count, 3, side, side) in [0, 1]."""
    torch.manual_seed(0)
    coarse = torch.rand(count, 3, side // 8, side // 8)
    smooth = F.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
    return smooth * torch.tensor([0.9, 0.7, 0.5]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("factor", "layers", "parameters", "shapes"),
    [
        (4, 2, 648, [(3, 2, 1), (3, 2, 1)]),
        (2, 2, 1800, [(5, 1, 2), (5, 2, 2)]),
        (4, 1, 225, [(5, 4, 2)]),
        (4, 5, 6840, [(7, 2, 3), (5, 2, 2), (3, 1, 1), (1, 1, 0), (1, 1, 0)]),
        (2, 5, 6840, [(7, 1, 3), (5, 2, 2), (3, 1, 1), (1, 1, 0), (1, 1, 0)]),
    ],
)
def test_the_paper_s_layers(factor, layers, parameters, shapes):
    stem = Thumbnail(3, factor, layers)
    assert sum(p.numel() for p in stem.parameters()) == parameters
    assert [(c.kernel_size[0], c.stride[0], c.padding[0]) for c in stem.convolutions] == shapes
    assert all(c.bias is None for c in stem.convolutions)
    assert sum(isinstance(m, nn.ReLU) for m in stem.modules()) == layers


@pytest.mark.parametrize(
    "stem", [lambda f: Thumbnail(3, f), AreaThumbnail, BicubicThumbnail, lambda f: Thumbnail(3, f, 5)]
)
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(64, 64), (128, 384), (320, 64)])
def test_thumbnails_have_exactly_the_size_divided_by_the_factor(stem, factor, size):
    assert stem(factor)(torch.rand(1, 3, *size)).shape == (1, 3, size[0] // factor, size[1] // factor)


@pytest.mark.parametrize("size", [(66, 64), (64, 65)])
def test_images_that_do_not_divide_are_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} pixels has no thumbnail"):
        Thumbnail(3, 4)(torch.rand(1, 3, *size))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("layers", [2, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_learned_one_starts_as_the_average(factor, layers, channels):
    image = torch.rand(2, channels, 32, 64)
    expected = image.double().view(2, channels, 32 // factor, factor, 64 // factor, factor).mean((3, 5))
    torch.testing.assert_close(Thumbnail(channels, factor, layers)(image).double(), expected, atol=1e-6, rtol=0)


def _with_dead_colour(start, draws=500):
    image, count = pictures(), 0
    for seed in range(draws):
        torch.manual_seed(seed)
        with torch.no_grad():
            count += bool((Thumbnail(3, 4, start=start)(image).amax((0, 2, 3)) == 0).any())
    return count / draws


def test_no_channel_starts_dead_in_500_draws():
    assert _with_dead_colour("average") == 0
    assert _with_dead_colour("random") > 0.02


def test_every_weight_learns_from_the_start():
    for factor in (2, 4):
        stem = Thumbnail(3, factor)
        stem(torch.rand(1, 3, 32, 32)).square().sum().backward()
        for convolution in stem.convolutions:
            assert (convolution.weight.grad != 0).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_area_is_the_mean_of_cells(factor):
    image = torch.rand(2, 3, 16, 32)
    expected = image.view(2, 3, 16 // factor, factor, 32 // factor, factor).mean((3, 5))
    torch.testing.assert_close(AreaThumbnail(factor)(image), expected)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(32, 32), (32, 96)])
def test_bicubic_is_pytorch_s_with_antialiasing(factor, size):
    image = torch.rand(2, 3, *size)
    settings = {"scale_factor": 1 / factor, "mode": "bicubic", "align_corners": False}
    expected = F.interpolate(image, antialias=True, **settings).clamp(0, 1)
    given = BicubicThumbnail(factor)(image)
    torch.testing.assert_close(given, expected, atol=2e-6, rtol=0)
    assert (given - F.interpolate(image, **settings).clamp(0, 1)).abs().max() > 0.1  # aliases


def test_bicubic_is_pillow_s():
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC), dtype=float)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    given = BicubicThumbnail(4)(image)[0].permute(1, 2, 0).numpy() * 255
    np.testing.assert_allclose(given, expected, atol=1.01)


def test_plain_resizes_hold_no_state():
    assert not AreaThumbnail(4).state_dict()
    assert not BicubicThumbnail(2).state_dict()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["Thumbnail", [3]], "factor=3 is not usable: give 2 or 4"),
        (["Thumbnail", [4, 3]], "layers=3 is not usable: give 1, 2 or 5"),
        (["Thumbnail", [4, 2, "zero"]], "start='zero' is not usable: give average or random"),
        (["AreaThumbnail", [8]], "factor=8 is not usable"),
        (["BicubicThumbnail", []], "missing 1 required positional argument"),
    ],
)
def test_rows_that_cannot_be_built_name_the_row(row, reason):
    config = load_model_config("rtdetr-n")
    config["backbone"].insert(0, [-1, 1, *row, "thumbnail"])
    with pytest.raises(ConfigError, match=r"backbone row 0 \(thumbnail: ") as caught:
        build_model(config, nc=2)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("base", ["n", "r18"])
@pytest.mark.parametrize("factor", [2, 4])
def test_the_shipped_yamls_are_the_plain_ones_with_a_thumbnail(base, factor):
    plain = yaml.safe_load(find_yaml(f"so-detr-{base}", "cfg/models").read_text())
    shipped = yaml.safe_load(find_yaml(f"so-detr-{base}-thumb{factor}", "cfg/models").read_text())
    assert shipped == insert_thumbnail(plain, factor)
    assert thumbnail_factor(shipped) == factor
    assert input_stride(shipped) == 32 * factor


@pytest.mark.parametrize("kind", ["learned", "area", "bicubic"])
@pytest.mark.parametrize("name", ["so-detr-n", "rtdetr-n"])
def test_plain_weights_fill_all_but_the_thumbnail(name, kind):
    config = load_model_config(name)
    torch.manual_seed(0)
    plain = build_model(config, nc=2, queries=30)
    model = build_model(insert_thumbnail(config, 4, kind), nc=2, queries=30)
    report = load_weights(model, plain.state_dict())
    learned = ["model.thumbnail.layers.conv1.weight", "model.thumbnail.layers.conv2.weight"]
    assert report.missing == report.thumbnail == (learned if kind == "learned" else [])
    assert not report.unused
    assert report.complete == (kind != "learned")
    assert "the thumbnail (2 tensors) is new" in str(report) or kind != "learned"
    image, stem = torch.rand(1, 3, 256, 256), find_thumbnail(model)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(image)[0], plain.eval()(stem(image))[0])


def test_a_part_of_a_thumbnail_does_not_do():
    model = build_model(load_model_config("so-detr-n-thumb4"), nc=2)
    weights = dict(model.state_dict())
    del weights["model.thumbnail.layers.conv2.weight"]
    with pytest.raises(CheckpointError, match=r"first missing is 'model\.thumbnail\.layers\.conv2"):
        load_weights(model, weights)
    other = build_model(load_model_config("so-detr-n-thumb2"), nc=2)
    with pytest.raises(CheckpointError, match=r"first missing is 'model\.thumbnail"):
        load_weights(other, model.state_dict())


def test_rows_without_names_keep_their_numbers_as_names():
    config = load_model_config("rtdetr-n")
    names = [row[4] for row in [*config["backbone"], *config["head"]]]
    unnamed = copy.deepcopy(config)
    for row in [*unnamed["backbone"], *unnamed["head"]]:
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        sources = [names.index(source) if isinstance(source, str) else source for source in sources]
        row[:] = [sources if isinstance(row[0], list) else sources[0], *row[1:4]]
    unnamed["head"][-1].append("decoder")  # one name makes it ours
    plain, model = build_model(unnamed, nc=2), build_model(insert_thumbnail(unnamed, 2), nc=2)
    assert [key for key in model.state_dict() if "thumbnail" not in key] == list(plain.state_dict())
    assert load_weights(model, plain.state_dict()).missing == [
        "model.thumbnail.layers.conv1.weight",
        "model.thumbnail.layers.conv2.weight",
    ]
    image, stem = torch.rand(1, 3, 128, 128), find_thumbnail(model)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(image)[0], plain.eval()(stem(image))[0])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "so-detr-n",
            {"thumbnail_kind": "area"},
            "thumbnail_kind=area has no effect without a factor. Add thumbnail=4",
        ),
        ("so-detr-n", {"thumbnail": 4, "thumbnail_kind": "area", "thumbnail_layers": 1}, "thumbnail_layers=1 has no"),
        ("so-detr-n-thumb4", {"thumbnail_kind": "area"}, "so-detr-n.yaml, and thumbnail=4 thumbnail_kind=area"),
        ("so-detr-n-thumb4", {"thumbnail": 2}, r"so-detr-n-thumb4\.yaml begins with Thumbnail \[4\]"),
        ("so-detr-n-thumb4", {"thumbnail": 4, "thumbnail_layers": 5}, "one too many"),
        ("rtdetr-l", {"thumbnail": 4}, r"rtdetr-l\.yaml is a stock one of Ultralytics"),
        ("yolo11n", {"thumbnail": 2}, r"yolo11n\.yaml is a stock one of Ultralytics"),
    ],
)
def test_thumbnails_that_cannot_be_are_refused(model, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        with_thumbnail(load_model_config(model), options)
    assert "\n" not in str(caught.value)


def test_the_trunk_costs_a_tenth_behind_4x_and_less_than_a_third_behind_2x():
    model = UAVDet("so-detr-r18.yaml")
    plain, half, quarter = (model.info(nc=10, thumbnail=factor).gflops_all for factor in (None, 2, 4))
    assert plain / quarter > 10
    assert plain / half > 3.4


def test_asking_for_the_thumbnail_that_is_there_changes_nothing():
    config = load_model_config("so-detr-n-thumb4")
    assert with_thumbnail(config, {"thumbnail": 4}) is config
    assert with_thumbnail(config, {}) is config


@pytest.mark.parametrize(
    ("kind", "own", "dynamic"),
    [("learned", {"Conv", "Relu"}, False), ("area", {"AveragePool"}, False), ("bicubic", {"Conv", "Clip"}, True)],
)
def test_the_thumbnail_is_part_of_the_exported_graph(tmp_path, kind, own, dynamic):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    config = load_model_config("so-detr-n")
    model = build_model(insert_thumbnail(config, 4, kind), nc=3, queries=30).eval()
    for parameter in find_thumbnail(model).parameters():
        nn.init.uniform_(parameter, 0.0, 0.05)
    image = torch.rand(1, 3, 256, 384)
    file = export_onnx(model, tmp_path / "x.onnx", [256, 384], dynamic=dynamic)
    graph = onnx.load(str(file))
    plain = build_model(config, nc=3, queries=30).eval()
    without = onnx.load(str(export_onnx(plain, tmp_path / "plain.onnx", [64, 96], dynamic=dynamic)))
    added = operators(graph) - operators(without)
    assert own <= operators(graph)
    assert added <= {"AveragePool", "Clip"}
    assert not operators(graph) & {"DFT", "Einsum", "If", "NonZero"}
    assert {"stride": "128"}.items() <= {entry.key: entry.value for entry in graph.metadata_props}.items()
    rows = onnxruntime.InferenceSession(str(file)).run(None, {"images": image.numpy()})[0]
    with torch.no_grad():
        expected = model(image)[0].numpy()
    np.testing.assert_allclose(np.sort(rows[0, :, 4]), np.sort(expected[0, :, 4]), atol=2e-4)
    distance = np.abs(rows[0][:, None, :4] - expected[0][None, :, :4]).max(-1)
    assert np.quantile(distance.min(1), 0.9) < 1e-3
