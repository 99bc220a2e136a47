import math
import warnings

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import BaseModel

from uavdet.nn.efficientformer import (
    AttentionDownsample,
    PositionBias,
    TalkingHeadsAttention,
    expand_bias,
    resize_bias,
)
from uavdet.nn.registry import registered_layers

S0 = [
    ("stem", "EfficientFormerStem", [32]),
    ("stage2", "EfficientFormerStage", [32, [4, 4], "same"]),
    ("stage3", "EfficientFormerStage", [48, [4, 4], "conv"]),
    (
        "stage4",
        "EfficientFormerStage",
        [96, [4, 3, 3, 3, 4, 4], "conv", {"attention_blocks": 2, "attention_stride": 2}],
    ),
    ("stage5", "EfficientFormerStage", [176, [4, 3, 3, 4], "attention", {"attention_blocks": 2}]),
]
CHANNELS, STRIDES = (32, 48, 96, 176), (4, 8, 16, 32)
SIZES = [(32, 32), (64, 96), (96, 160), (160, 96), (320, 416)]


class Backbone(nn.Module):
    """The rows of S0 in a chain; returns the four stages' maps."""

    def __init__(self):
        super().__init__()
        self.model, channels = nn.Sequential(), 3
        for name, module, args in S0:
            row, channels = registered_layers()[module].from_yaml(channels, args)
            self.model.add_module(name, row)

    def forward(self, x):
        x = self.model[0](x)
        return [x := stage(x) for stage in self.model[1:]]


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    backbone = Backbone().eval()
    for name, tensor in backbone.named_parameters():  # the initial values would hide biases and branches
        if "bias_table" in name:
            nn.init.normal_(tensor)
        if "gamma" in name:
            nn.init.uniform_(tensor, 0.2, 0.5)
    return backbone


def test_s0_has_the_published_parameter_count(backbone):
    output_norms = sum(p.numel() for channels in CHANNELS for p in nn.BatchNorm2d(channels).parameters())
    assert sum(p.numel() for p in backbone.parameters()) + output_norms == 3_269_072
    tables = [p for name, p in backbone.named_parameters() if "bias_table" in name]
    assert sorted(t.numel() for t in tables) == [8 * 400] * 4 + [8 * 1600]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_maps_have_their_strides_at_every_multiple_of_32(backbone, size, batch):
    with torch.no_grad():
        maps = backbone(torch.rand(batch, 3, *size))
    assert [m.shape for m in maps] == [
        (batch, c, size[0] // s, size[1] // s) for c, s in zip(CHANNELS, STRIDES, strict=True)
    ]
    assert all(m.isfinite().all() for m in maps)


def naive_bias(table, stride):
    h, w = table.shape[1:]
    rows = []
    for query_y in range(0, h, stride):
        for query_x in range(0, w, stride):
            keys = [table[:, abs(query_y - y), abs(query_x - x)] for y in range(h) for x in range(w)]
            rows.append(torch.stack(keys, -1))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (2, 2), (3, 5), (6, 4), (7, 7)])
def test_bias_of_every_pair_is_that_of_its_distance(grid, stride):
    table = torch.rand(2, *grid, dtype=torch.float64)
    expected = naive_bias(table, stride)
    assert torch.equal(expand_bias(table, stride), expected)
    assert expected.shape == (2, math.ceil(grid[0] / stride) * math.ceil(grid[1] / stride), grid[0] * grid[1])


def naive_resize(table, rows, columns):
    """Bilinear with aligned corners, in float64."""
    out = torch.empty(len(table), rows, columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            y = i * (table.shape[1] - 1) / (rows - 1) if rows > 1 else 0.0
            x = j * (table.shape[2] - 1) / (columns - 1) if columns > 1 else 0.0
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, table.shape[1] - 1), min(x0 + 1, table.shape[2] - 1)
            top = table[:, y0, x0] * (1 - x + x0) + table[:, y0, x1] * (x - x0)
            bottom = table[:, y1, x0] * (1 - x + x0) + table[:, y1, x1] * (x - x0)
            out[:, i, j] = top * (1 - y + y0) + bottom * (y - y0)
    return out


@pytest.mark.parametrize("base", [(7, 7), (20, 20), (1, 3)])
@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (10, 13), (20, 20), (40, 24)])
def test_bias_is_resampled_with_aligned_corners(base, grid):
    table = torch.randn(3, *base, dtype=torch.float64)
    resized = resize_bias(table, *grid)
    assert resized.dtype == torch.float32
    # float32 places a sample to about 1e-6 of a cell, and neighbouring entries differ by a few units
    torch.testing.assert_close(resized.double(), naive_resize(table, *grid), rtol=0, atol=1e-5)
    torch.testing.assert_close(resized[:, 0, 0], table[:, 0, 0].float())
    if min(grid) > 1:
        torch.testing.assert_close(resized[:, -1, -1], table[:, -1, -1].float(), rtol=0, atol=1e-5)


def test_base_grid_takes_the_table_as_it_is():
    bias = PositionBias(2, 4)
    nn.init.normal_(bias.bias_table)
    assert torch.equal(bias(4, 4), naive_bias(bias.bias_table, 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_attention_is_the_formula(stride):
    torch.manual_seed(0)
    layer = TalkingHeadsAttention(16, base_grid=3, stride=stride, depth=4).eval().double()
    nn.init.normal_(layer.position_bias.bias_table)
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)
    grid = x if stride == 1 else layer.reduce(x)
    q, k, v = (f(grid).reshape(2, 8, -1, grid[0, 0].numel()) for f in (layer.query, layer.key, layer.value))
    bias = naive_bias(naive_resize(layer.position_bias.bias_table, *grid.shape[2:]), 1)
    mix = [m.weight[:, :, 0, 0] for m in (layer.mix_before, layer.mix_after)]
    scores = torch.einsum("bhcq,bhck->bhqk", q, k) / 2 + bias
    scores = torch.einsum("gh,bhqk->bgqk", mix[0], scores) + layer.mix_before.bias.view(-1, 1, 1)
    weights = torch.einsum("gh,bhqk->bgqk", mix[1], scores.softmax(-1)) + layer.mix_after.bias.view(-1, 1, 1)
    value = torch.einsum("bhqk,bhck->bhcq", weights, v).reshape(2, -1, *grid.shape[2:])
    value = value + layer.local(layer.value(grid))
    if stride == 2:
        value = nn.functional.interpolate(value, size=(5, 7), mode="bilinear")
    torch.testing.assert_close(layer(x), layer.project(nn.functional.gelu(value)), rtol=1e-5, atol=1e-6)


def test_attention_downsample_queries_stand_on_even_cells():
    """A query that ignores its surroundings and a bias that sees only distance 0 pick the values of the even cells."""
    layer = AttentionDownsample(4, 4, base_grid=5, depth=4).eval()
    for conv in (layer.query.project.conv, layer.local.conv):
        nn.init.zeros_(conv.weight)
    with torch.no_grad():
        layer.position_bias.bias_table.fill_(-100).view(8, -1)[:, 0] = 0
        x = torch.rand(1, 4, 5, 5)
        expected = layer.project(nn.functional.gelu(layer.value(x[:, :, ::2, ::2])))
        torch.testing.assert_close(layer(x), expected)


def test_gradients_reach_every_parameter(backbone):
    backbone.train()
    sum(m.square().mean() for m in backbone(torch.rand(2, 3, 96, 64))).backward()
    without = [name for name, p in backbone.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_changes_of_precision_do_not_go_stale(backbone, device):
    size = (1, 3, 64, 96)
    with torch.no_grad():
        backbone(torch.rand(size))
        backbone.half().to(device)
        assert {m.dtype for m in backbone(torch.rand(size, dtype=torch.half, device=device))} == {torch.half}
        backbone.bfloat16()
        assert {m.dtype for m in backbone(torch.rand(size, dtype=torch.bfloat16, device=device))} == {torch.bfloat16}


def test_weights_loaded_after_a_forward_are_used(backbone):
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = backbone(x)[-1]
        tables = {k: torch.randn_like(v) for k, v in backbone.state_dict().items() if "bias_table" in k}
        backbone.load_state_dict(tables, strict=False)
        assert not torch.allclose(backbone(x)[-1], before)


def test_bfloat16_autocast_is_near_float32(backbone):
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        expected = backbone(x)
        with torch.autocast("cpu", torch.bfloat16):
            maps = backbone(x)
    for single, half in zip(expected, maps, strict=True):
        assert (single - half).abs().mean() < 0.05 * single.abs().mean()


def test_fusing_leaves_the_backbone_as_the_release_counts_it(backbone):
    model = BaseModel.__new__(BaseModel)
    nn.Module.__init__(model)
    model.model = backbone.model
    before = sum(p.numel() for p in model.parameters())
    model.fuse(verbose=False)
    assert sum(p.numel() for p in model.parameters()) == before


@pytest.mark.parametrize("size", [(640, 640), (320, 416)])
def test_onnx_matches(backbone, tmp_path, size):
    onnxruntime = pytest.importorskip("onnxruntime")
    path, x = str(tmp_path / "backbone.onnx"), torch.rand(1, 3, *size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that become constants: they are meant to
        torch.onnx.export(backbone, (x,), path, dynamo=False, opset_version=17, input_names=["x"])
        expected = backbone(x)
    exported = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
    for ours, theirs in zip(expected, exported, strict=True):
        assert (ours - torch.from_numpy(theirs)).abs().max() < 1e-5 * ours.abs().max()


def test_positional_and_named_args_agree():
    build = registered_layers()["EfficientFormerStage"].from_yaml
    named, _ = build(48, S0[3][2])
    positional, channels = build(48, [96, [4, 3, 3, 3, 4, 4], "conv", 2, 2])
    assert channels == 96
    assert {k: v.shape for k, v in named.state_dict().items()} == {
        k: v.shape for k, v in positional.state_dict().items()
    }


@pytest.mark.parametrize(
    ("module", "in_channels", "args", "message"),
    [
        ("EfficientFormerStage", 8, [], "missing"),
        ("EfficientFormerStage", 8, [8, [4], "pool"], "Known: same, conv, attention"),
        ("EfficientFormerStage", 8, [16, [4], "same"], "8 channels into 16"),
        ("EfficientFormerStage", 8, [8, [4], "same", 2], "1 blocks"),
        ("EfficientFormerStage", 8, [8, [4], "same", {"attention": 2}], "attention"),
        ("EfficientFormerStage", [8, 8], [8, [4], "same"], "one source row"),
        ("EfficientFormerStem", [8, 8], [8], "one source row"),
    ],
)
def test_unusable_args_are_refused(module, in_channels, args, message):
    with pytest.raises((TypeError, ValueError), match=message):
        registered_layers()[module].from_yaml(in_channels, args)
