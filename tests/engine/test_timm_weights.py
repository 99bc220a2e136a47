import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics.utils.torch_utils import initialize_weights

from uavdet.engine.timm_weights import load_backbone_weights, timm_efficientformer_keys, timm_resnet_keys
from uavdet.errors import CheckpointError
from uavdet.nn.registry import registered_layers

timm = pytest.importorskip("timm")

CREATE_MODEL = timm.create_model
TAPS = ("stage2", "stage3", "stage4", "stage5")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test reaches the network: timm may create models, not download weights."""

    def create(name, pretrained=False, **settings):
        assert not pretrained
        return CREATE_MODEL(name, **settings)

    monkeypatch.setattr(timm, "create_model", create)


def resnet_rows(kind, blocks):
    widths = (64, 128, 256, 512)
    stages = [(f"stage{i + 2}", "ResNetStage", [widths[i], blocks[i], min(i + 1, 2), kind]) for i in range(4)]
    stem = [(f"stem{i + 1}", "ConvReLU", [(32, 32, 64)[i], 3, (2, 1, 1)[i]]) for i in range(3)]
    return [*stem, ("pool", None, None), *stages]


def s0_rows(base_grid=20):
    return [
        ("stem", "EfficientFormerStem", [32]),
        ("stage2", "EfficientFormerStage", [32, [4, 4], "same"]),
        ("stage3", "EfficientFormerStage", [48, [4, 4], "conv"]),
        ("stage4", "EfficientFormerStage", [96, [4, 3, 3, 3, 4, 4], "conv", 2, 2, base_grid]),
        ("stage5", "EfficientFormerStage", [176, [4, 3, 3, 4], "attention", 2, 1, base_grid]),
    ]


def build(rows):
    """Build backbone rows by name as a model does, their normalisations at Ultralytics' epsilon."""
    torch.manual_seed(1)
    network, channels = {}, 3
    for name, module, args in rows:
        if module is None:
            network[name] = nn.MaxPool2d(3, 2, 1)
        else:
            network[name], channels = registered_layers()[module].from_yaml(channels, args)
    if "stem" in network:
        network |= {f"norm{i + 2}": nn.BatchNorm2d(width) for i, width in enumerate((32, 48, 96, 176))}
    initialize_weights(nn.ModuleDict(network).eval())
    assert {m.eps for row in network.values() for m in row.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    return network


def tensors_of(network):
    return nn.ModuleDict(network).state_dict()


def stage_maps(network, x):
    maps = []
    with torch.no_grad():
        for name, row in network.items():
            if not name.startswith("norm"):
                x = row(x)
            if name in TAPS:
                maps.append(x)
    return maps


def timm_model(name, size=224, **settings):
    """Return a timm model whose every tensor is random (as created, gains of zero hide whole branches).

    The running statistics are those of a batch of noise, so that values stay of the order of 1 and no branch drowns.
    """
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = 1.0
    for key, tensor in model.named_parameters():
        if key.endswith("gamma"):
            nn.init.uniform_(tensor, 0.2, 0.5)
        if key.endswith("attention_biases"):
            nn.init.normal_(tensor)
    with torch.no_grad():
        model.train()(torch.rand(2, 3, size, size))
    return model.eval()


def save(model, path):
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


R18, R50 = resnet_rows("basic", (2, 2, 2, 2)), resnet_rows("bottleneck", (3, 4, 6, 3))


@pytest.mark.parametrize(
    ("name", "settings", "rows", "size", "suffix", "missing", "unused"),
    [
        ("resnet18d", {}, R18, (1, 64, 96), ".safetensors", 5, 2),
        ("resnet18d", {}, R18, (3, 65, 33), ".pth", 5, 2),
        ("resnet50d", {}, R50, (1, 64, 96), ".bin", 0, 2),
        # The base grid of timm's own size, so that the tables need no resampling.
        ("efficientformerv2_s0", {"img_size": 96}, s0_rows(3), (3, 96, 96), ".safetensors", 16, 8),
        ("efficientformerv2_s0", {"img_size": 640}, s0_rows(), (1, 640, 640), ".pth", 16, 8),
    ],
)
def test_loaded_rows_compute_timms_maps(tmp_path, name, settings, rows, size, suffix, missing, unused):
    """Compared in float64: random deep networks amplify float32's rounding to about 1e-4 of the largest value."""
    model, network = timm_model(name, settings.get("img_size", 96), **settings), build(rows)
    path = save(model, tmp_path / f"weights{suffix}")
    for module in (model, *network.values()):
        module.double()
    report = load_backbone_weights(network, path)
    x = torch.rand(size[0], 3, *size[1:], dtype=torch.float64)
    with torch.no_grad():
        expected = model.forward_intermediates(x, intermediates_only=True)[-4:]
    for ours, theirs in zip(stage_maps(network, x), expected, strict=True):
        assert theirs.std() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)
    tensors = sum(not key.endswith("num_batches_tracked") for key in tensors_of(network))
    assert (report.loaded, report.total) == (tensors - missing, tensors)
    assert (len(report.missing), len(report.unused)) == (missing, unused)


def test_features_only_models_agree_too():
    """`features_only=True` gives the maps that `forward_intermediates` gives."""
    model, x = timm_model("resnet18d", 64), torch.rand(1, 3, 64, 64)
    features = timm.create_model("resnet18d", pretrained=False, features_only=True).eval()
    features.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("fc.")})
    with torch.no_grad():
        for one, other in zip(features(x), model.forward_intermediates(x, intermediates_only=True), strict=True):
            assert torch.equal(one, other)


def test_nearly_dead_channels_keep_their_gain(tmp_path):
    model, network = timm_model("resnet18d", 64), build(R18)
    model.bn1.running_var[::4] = 1e-7  # far below either epsilon
    load_backbone_weights(network, save(model, tmp_path / "weights.pth"))
    norm, x = network["stem3"].bn, torch.rand(1, 64, 5, 5)
    torch.testing.assert_close(norm(x), timm_norm(model.bn1, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.running_var, model.bn1.running_var)


def timm_norm(norm, x):
    scale = norm.weight.double() / (norm.running_var.double() + 1e-5).sqrt()
    shifted = x.double() - norm.running_mean.double().view(-1, 1, 1)
    return (shifted * scale.view(-1, 1, 1) + norm.bias.double().view(-1, 1, 1)).float()


def test_tables_are_resampled_with_aligned_corners(tmp_path):
    model, network = timm_model("efficientformerv2_s0"), build(s0_rows())  # 224 pixels: 7x7 and 14x14
    load_backbone_weights(network, save(model, tmp_path / "weights.pth"))
    state, source = tensors_of(network), model.state_dict()
    for ours, theirs in (
        ("stage4.blocks.4.attention.branch.position_bias.bias_table", "stages.2.blocks.4.token_mixer.attention_biases"),
        ("stage5.blocks.3.attention.branch.position_bias.bias_table", "stages.3.blocks.3.token_mixer.attention_biases"),
        ("stage5.downsample.attention.position_bias.bias_table", "stages.3.downsample.attn.attention_biases"),
    ):
        side = int(source[theirs].shape[1] ** 0.5)
        table = source[theirs].view(8, side, side)
        corners = [table[:, i, j] for i in (0, -1) for j in (0, -1)]
        for corner, expected in zip([state[ours][:, i, j] for i in (0, -1) for j in (0, -1)], corners, strict=True):
            torch.testing.assert_close(corner, expected, rtol=0, atol=1e-5)
        place = 5 * (side - 1) / (state[ours].shape[1] - 1)  # entry 5 of row 0, between two entries of timm's
        left = table[:, 0, int(place)] * (1 - place % 1) + table[:, 0, int(place) + 1] * (place % 1)
        torch.testing.assert_close(state[ours][:, 0, 5], left, rtol=0, atol=1e-5)


def test_output_norms_stay_as_they_were(tmp_path):
    network = build(s0_rows())
    before = copy.deepcopy({k: v for k, v in tensors_of(network).items() if k.startswith("norm")})
    report = load_backbone_weights(network, save(timm_model("efficientformerv2_s0"), tmp_path / "weights.pth"))
    assert all(torch.equal(tensors_of(network)[key], value) for key, value in before.items())
    assert {key.split(".")[0] for key in report.missing} == {"norm2", "norm3", "norm4", "norm5"}
    assert {key.split(".")[0] for key in report.unused} == {"head", "head_dist", "norm"}


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {"model": {f"module.{k}": s[k] for k in s}}])
def test_state_dicts_inside_training_checkpoints_are_found(tmp_path, wrap):
    torch.save(wrap(timm_model("resnet18d", 64).state_dict()), tmp_path / "weights.pth")
    assert load_backbone_weights(build(R18), tmp_path / "weights.pth").loaded > 0


@pytest.mark.parametrize(
    ("translate", "key", "expected"),
    [
        (timm_resnet_keys, "conv1.0.weight", "stem1.conv.weight"),
        (timm_resnet_keys, "conv1.4.running_var", "stem2.bn.running_var"),
        (timm_resnet_keys, "bn1.bias", "stem3.bn.bias"),
        (timm_resnet_keys, "layer1.0.conv2.weight", "stage2.0.conv2.conv.weight"),
        (timm_resnet_keys, "layer4.2.bn3.weight", "stage5.2.conv3.bn.weight"),
        (timm_resnet_keys, "layer2.0.downsample.1.weight", "stage3.0.shortcut.project.conv.weight"),
        (timm_resnet_keys, "layer2.0.downsample.2.bias", "stage3.0.shortcut.project.bn.bias"),
        (timm_resnet_keys, "fc.weight", None),
        (timm_efficientformer_keys, "stem.conv2.bn.weight", "stem.1.bn.weight"),
        (timm_efficientformer_keys, "stages.1.downsample.conv.conv.bias", "stage3.downsample.conv.conv.bias"),
        (
            timm_efficientformer_keys,
            "stages.3.downsample.attn.q.proj.bn.bias",
            "stage5.downsample.attention.query.project.bn.bias",
        ),
        (timm_efficientformer_keys, "stages.0.blocks.1.ls2.gamma", "stage2.blocks.1.feedforward.gamma"),
        (timm_efficientformer_keys, "stages", None),
        (timm_efficientformer_keys, "stages.first.weight", None),
        (timm_efficientformer_keys, "norm.weight", None),
        (timm_efficientformer_keys, "head.bias", None),
    ],
)
def test_keys_are_translated(translate, key, expected):
    assert translate([]) == {}
    assert translate([key]) == ({} if expected is None else {key: expected})


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("resnet50d", R18, "no place for"),
        ("resnet34d", R18, r"no place for: layer1\.2"),
        ("resnet18d", R50, "no weights for stage2.0.conv3"),
        ("seresnext26d_32x4d", resnet_rows("bottleneck", (2, 2, 2, 2)), r"no place for: layer1\.0\.se"),
        ("resnet18", R18, "no weights for stage3.0.shortcut"),
        ("resnet18d", s0_rows(), "no weights for"),
        ("efficientformerv2_s0", R18, "no weights for"),
        ("efficientformerv2_s1", s0_rows(), "no weights for stage4.blocks.4.attention"),
        ("resnet18d", resnet_rows("basic", (2, 2, 2, 2))[:-1], r"no place for: layer4"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_changes(tmp_path, name, rows, message):
    network = build(rows)
    before = copy.deepcopy(tensors_of(network))
    path = save(timm.create_model(name, pretrained=False), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=message):
        load_backbone_weights(network, path)
    assert all(torch.equal(value, before[key]) for key, value in tensors_of(network).items())


def test_weights_of_another_shape_are_refused(tmp_path):
    state = timm_model("resnet18d", 64).state_dict()
    state["conv1.0.weight"] = torch.zeros(32, 1, 3, 3)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"\(32, 1, 3, 3\) for stem1.conv.weight, which is \(32, 3, 3, 3\)"):
        load_backbone_weights(build(R18), tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "cannot be read"),
        (b"not weights", "cannot be read"),
        ({}, "no state dict"),
        ({"epoch": 3}, "no state dict"),
        (nn.Linear(1, 1), "cannot be read"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_without_weights_are_refused(tmp_path, content, message, suffix):
    path = tmp_path / f"weights{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
        message = "cannot be read" if suffix == ".safetensors" else message
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone_weights(build(R18), path)
    assert "\n" not in str(caught.value)


def test_rows_of_no_family_are_refused():
    with pytest.raises(CheckpointError, match=r"\(none\) have no ImageNet weights"):
        load_backbone_weights({}, "resnet18d")
    with pytest.raises(CheckpointError, match="pool have no ImageNet weights"):
        load_backbone_weights({"pool": nn.MaxPool2d(2)}, "resnet18d")


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(CheckpointError, match="Did you mean 'resnet18d'"):
        load_backbone_weights(build(R18), "resnet18dd")


def test_failed_downloads_name_the_way_out(monkeypatch):
    def refuse(name, pretrained):
        assert pretrained
        raise OSError("no route to the hub.\nand many more lines")

    monkeypatch.setattr(timm, "create_model", refuse)
    message = "'resnet18d.ra2_in1k' could not be downloaded (no route to the hub). Download it where there is a network"
    with pytest.raises(CheckpointError) as caught:
        load_backbone_weights(build(R18), "resnet18d.ra2_in1k")
    assert str(caught.value).startswith(message)
    assert "local .safetensors" in str(caught.value)


def test_names_are_fetched_from_timm(monkeypatch):
    model = timm_model("resnet18d", 64)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: model)
    assert load_backbone_weights(build(R18), "resnet18d").unused == ("fc.bias", "fc.weight")


def test_a_path_is_never_taken_for_a_name():
    with pytest.raises(CheckpointError, match="does not exist"):
        load_backbone_weights(build(R18), Path("resnet18d"))
