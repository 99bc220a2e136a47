import math

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import BaseModel

from uavdet.nn.registry import registered_layers
from uavdet.nn.resnet import BasicBlock, BottleneckBlock, ConvReLU, ResNetStage

STEM = [("ConvReLU", 3, [32, 3, 2]), ("ConvReLU", 32, [32, 3, 1]), ("ConvReLU", 32, [64, 3, 1])]
R18 = [("ResNetStage", c // 2 if c > 64 else 64, [c, 2, 1 if c == 64 else 2, "basic"]) for c in (64, 128, 256, 512)]
R50 = [
    ("ResNetStage", 2 * c if c > 64 else 64, [c, n, 1 if c == 64 else 2, "bottleneck"])
    for c, n in ((64, 3), (128, 4), (256, 6), (512, 3))
]


def build(module, in_channels, args):
    return registered_layers()[module].from_yaml(in_channels, args)


# Counts of the released SO-DETR networks, unfused.
@pytest.mark.parametrize(
    ("row", "parameters", "out"),
    [
        (STEM[0], 928, 32),
        (STEM[1], 9280, 32),
        (STEM[2], 18560, 64),
        (R18[0], 152192, 64),
        (R18[1], 525568, 128),
        (R18[2], 2099712, 256),
        (R18[3], 8393728, 512),
        (R50[0], 215808, 256),
        (R50[1], 1219584, 512),
        (R50[2], 7098368, 1024),
        (R50[3], 14964736, 2048),
    ],
    ids=lambda value: str(value),
)
def test_rows_have_the_published_parameter_counts(row, parameters, out):
    module, channels = build(*row)
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert channels == out


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 8), (33, 45)])
@pytest.mark.parametrize(
    ("module", "args", "stride", "out"),
    [
        ("ConvReLU", [8, 3, 2], 2, 8),
        ("ConvReLU", [8, 1, 1], 1, 8),
        ("ResNetStage", [8, 1, 1, "basic"], 1, 8),
        ("ResNetStage", [8, 2, 2, "basic"], 2, 8),
        ("ResNetStage", [8, 2, 2, "bottleneck"], 2, 32),
    ],
)
def test_maps_have_the_ceiling_of_size_over_stride(module, args, stride, out, size, batch):
    layer, channels = build(module, 5, args)
    maps = layer.eval()(torch.rand(batch, 5, *size))
    assert maps.shape == (batch, out, *(math.ceil(side / stride) for side in size))
    assert channels == out
    assert (maps >= 0).all()


def test_only_the_first_block_projects_and_strides():
    stage = ResNetStage(64, 64, 3, 2, "bottleneck")
    assert [isinstance(block.shortcut, nn.Identity) for block in stage] == [False, True, True]
    strides = [[c.stride[0] for c in block.modules() if isinstance(c, nn.Conv2d)] for block in stage]
    assert strides == [[1, 2, 1, 1], [1, 1, 1], [1, 1, 1]]  # on the 3x3, not on the first 1x1


@pytest.mark.parametrize(("kind", "block"), [("basic", BasicBlock), ("bottleneck", BottleneckBlock)])
def test_shortcut_alone_is_an_average_then_a_projection(kind, block):
    stage = ResNetStage(4, 4, 1, 2, kind).eval()
    last = stage[0].conv2 if block is BasicBlock else stage[0].conv3
    nn.init.zeros_(last.bn.weight)  # silences the other branch
    x = torch.rand(1, 4, 5, 5, dtype=torch.float64)
    kernel = stage.double()[0].shortcut.project.conv.weight[:, :, 0, 0]
    cells = [[x[0, :, i : i + 2, j : j + 2].mean((1, 2)) for j in (0, 2, 4)] for i in (0, 2, 4)]
    average = torch.stack([torch.stack(row, -1) for row in cells], -2)
    expected = torch.einsum("oc,chw->ohw", kernel, average) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(stage(x)[0], expected.clamp_min(0))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_ultralytics_fuses_every_normalisation(kind, stride):
    model = BaseModel.__new__(BaseModel)
    nn.Module.__init__(model)
    model.model = nn.Sequential(ConvReLU(3, 8, 3, 2), ResNetStage(8, 8, 2, stride, kind)).eval()
    x = torch.rand(1, 3, 33, 45)
    with torch.no_grad():
        before = model.model(x)
        model.fuse(verbose=False)
        torch.testing.assert_close(model.model(x), before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_odd_sizes_export(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    stage, x = ResNetStage(8, 8, 1, 2, "basic").eval(), torch.rand(1, 8, 9, 7)
    path = str(tmp_path / "stage.onnx")
    torch.onnx.export(stage, (x,), path, dynamo=False, opset_version=17, input_names=["x"])
    (exported,) = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(exported), stage(x).detach(), rtol=1e-4, atol=1e-5)


def test_runs_under_bfloat16_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert ResNetStage(8, 8, 1, 2, "basic")(torch.rand(1, 8, 9, 7)).isfinite().all()


@pytest.mark.parametrize(
    ("module", "in_channels", "args", "message"),
    [
        ("ResNetStage", 8, [], "missing"),
        ("ResNetStage", 8, [8, 2, 2, "wide"], "Kinds: basic, bottleneck"),
        ("ResNetStage", 8, [8, 0, 2, "basic"], "1 or more"),
        ("ResNetStage", [8, 8], [8, 2, 2, "basic"], "one source row"),
        ("ConvReLU", [8, 8], [8, 3, 2], "one source row"),
    ],
)
def test_unusable_args_are_refused(module, in_channels, args, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build(module, in_channels, args)
