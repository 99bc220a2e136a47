"""ImageNet weights of timm models, translated to the backbone rows of our model YAMLs.

timm's ResNet-D is the "vd" ResNet of `uavdet.nn.resnet`, and its EfficientFormerV2 is that of
`uavdet.nn.efficientformer`. After loading, a backbone in eval mode computes timm's feature maps. Three things differ
between the two, and are reconciled here without changing that function:

- **Epsilon.** Ultralytics normalises with eps 1e-3, timm trained with 1e-5. Each loaded gain is multiplied by
  sqrt((var + 1e-3) / (var + 1e-5)): exact for every channel, also for nearly dead ones, and still right in training,
  while the batches' variance is near the one that was loaded. (Lowering `running_var` instead would need a clamp at
  zero, and would be undone by the first batches; setting eps would not survive a rebuild from the YAML.)
- **Bias tables.** EfficientFormerV2's 7x7 and 14x14 tables (224 pixels) are resampled to our base grids by the rule
  that `PositionBias` applies to any other size.
- **ResNet-18's first shortcut** is an identity in timm and a 1x1 convolution with normalisation in RT-DETR. It is set
  to compute the identity. In training mode its normalisation uses the batch's statistics, so it then standardises.

timm's networks saw images normalised by ImageNet's mean and deviation. Ours see values in [0, 1]; the normalisation
after the first convolution adapts to that in training, unless it is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv

from uavdet.errors import CheckpointError, suggest_name
from uavdet.nn.efficientformer import EfficientFormerStem, resize_bias
from uavdet.nn.resnet import BasicBlock, ResNetStage

TIMM_EPS = 1e-5
"""The epsilon of timm's batch normalisations in these models."""

TIMM_MODELS = ("resnet18d", "resnet50d", "efficientformerv2_s0")
"""The models that fit the YAMLs that ship; others of the two families fit rows of their shape."""

_CLASSIFIER = ("fc.", "head.", "head_dist.", "norm.")
"""Prefixes of the keys of timm's classifiers."""

_FILE_SUFFIXES = {".safetensors", ".pth", ".pt", ".bin"}


@dataclass(frozen=True)
class LoadReport:
    """What became of a source's weights; batch counters (`num_batches_tracked`) are left out everywhere.

    Attributes:
        loaded: Tensors of the backbone that were filled.
        total: Tensors that the backbone has.
        missing: Keys of the backbone that the source cannot have, as `absent_from_timm` declares.
        unused: Keys of the source's classifier, which a detector has no place for.
    """

    loaded: int
    total: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]


_RESNET_STEM = {
    "conv1.0": "stem1.conv",
    "conv1.1": "stem1.bn",
    "conv1.3": "stem2.conv",
    "conv1.4": "stem2.bn",
    "conv1.6": "stem3.conv",
    "bn1": "stem3.bn",
}

_RESNET_BLOCK = {
    "conv1": "conv1.conv",
    "bn1": "conv1.bn",
    "conv2": "conv2.conv",
    "bn2": "conv2.bn",
    "conv3": "conv3.conv",
    "bn3": "conv3.bn",
    "downsample.1": "shortcut.project.conv",
    "downsample.2": "shortcut.project.bn",
}


def _resnet_key(key: str) -> str | None:
    module, _, tensor = key.rpartition(".")
    if module in _RESNET_STEM:
        return f"{_RESNET_STEM[module]}.{tensor}"
    layer, _, rest = module.partition(".")
    block, _, part = rest.partition(".")
    if layer not in ("layer1", "layer2", "layer3", "layer4") or part not in _RESNET_BLOCK:
        return None
    return f"stage{int(layer[-1]) + 1}.{block}.{_RESNET_BLOCK[part]}.{tensor}"


def timm_resnet_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return our key for each key of a timm ResNet-D that has one: rows `stem1` to `stem3`, `stage2` to `stage5`."""
    return {key: ours for key in keys if (ours := _resnet_key(key))}


_EFFICIENTFORMER_PARTS = {
    "conv1": "0",
    "conv2": "1",
    "token_mixer": "attention.branch",
    "ls1": "attention",
    "mlp": "feedforward.branch",
    "ls2": "feedforward",
    "fc1": "0",
    "mid": "1",
    "fc2": "2",
    "attn": "attention",
    "stride_conv": "reduce",
    "q": "query",
    "k": "key",
    "v": "value",
    "v_local": "local",
    "talking_head1": "mix_before",
    "talking_head2": "mix_after",
    "proj": "project",
    "attention_biases": "position_bias.bias_table",
}


def _efficientformer_key(key: str) -> str | None:
    parts = key.split(".")
    if parts[0] == "stages" and len(parts) > 1 and parts[1].isdigit():
        parts[:2] = [f"stage{int(parts[1]) + 2}"]
    elif parts[0] != "stem":
        return None
    return ".".join(_EFFICIENTFORMER_PARTS.get(part, part) for part in parts)


def timm_efficientformer_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return our key for each key of a timm EfficientFormerV2 that has one: rows `stem`, `stage2` to `stage5`."""
    return {key: ours for key in keys if (ours := _efficientformer_key(key))}


def identity_projection(rows: Mapping[str, nn.Module]) -> Conv | None:
    """Return the projection that stands where timm has an identity, if any: that of ResNet-18's first block."""
    stage = rows.get("stage2")
    if not isinstance(stage, ResNetStage) or not isinstance(stage[0], BasicBlock):
        return None
    projection: Conv = stage[0].shortcut.get_submodule("project")
    return projection if projection.conv.in_channels == projection.conv.out_channels else None


def absent_from_timm(rows: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Return the prefixes of our keys that no timm model can fill.

    They are the first shortcut of ResNet-18, and SO-DETR's output normalisations beside EfficientFormerV2. (timm's
    own last `norm` belongs to its classifier.)
    """
    if identity_projection(rows) is not None:
        return ("stage2.0.shortcut.",)
    return tuple(f"{name}." for name, row in rows.items() if isinstance(row, nn.BatchNorm2d))


def _drop_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if not key.endswith("num_batches_tracked")}


def _row_tensors(rows: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return parameters and buffers by `<row>.<key>`; they share memory with the rows."""
    return _drop_counters({f"{name}.{key}": t for name, row in rows.items() for key, t in row.state_dict().items()})


def _key_translator(rows: Mapping[str, nn.Module]) -> Callable[[Iterable[str]], dict[str, str]]:
    """Return the translation for the family of the rows.

    Raises:
        CheckpointError: The rows belong to neither family.
    """
    if any(isinstance(row, ResNetStage) for row in rows.values()):
        return timm_resnet_keys
    if any(isinstance(row, EfficientFormerStem) for row in rows.values()):
        return timm_efficientformer_keys
    raise CheckpointError(
        f"Backbone rows {', '.join(rows) or '(none)'} have no ImageNet weights. "
        f"Rows of ResNetStage and EfficientFormerStage have: {', '.join(TIMM_MODELS)}."
    )


def load_backbone_weights(backbone_rows: Mapping[str, nn.Module], source: str | Path) -> LoadReport:
    """Fill backbone rows with ImageNet weights from timm, so that in eval mode they compute timm's feature maps.

    Call it on a finished model: it reads the epsilon that each normalisation has by then.

    Args:
        backbone_rows: The backbone's rows by their names in the YAML: `stem1`, `stem2`, `stem3`, `pool`, `stage2` to
            `stage5` for ResNet; `stem`, `stage2` to `stage5` and, if there, `norm2` to `norm5` for EfficientFormerV2.
        source: A local file (.safetensors, .pth, .pt or .bin) with a timm state dict, or the name of a timm model,
            with or without a tag ('resnet18d', 'resnet18d.ra2_in1k'), which timm then downloads.

    Returns:
        What was loaded and what was not.

    Raises:
        CheckpointError: The source cannot be read or does not fit; nothing has been changed then.
    """
    translate = _key_translator(backbone_rows)  # first: a download for rows without a place would be for nothing
    ours, theirs = _row_tensors(backbone_rows), _drop_counters(read_timm_weights(source))
    names = translate(theirs)
    translated = {ours_key: theirs[key] for key, ours_key in names.items()}
    missing = _check_missing(ours.keys() - translated.keys(), absent_from_timm(backbone_rows), source)
    unused = tuple(sorted(key for key in theirs if key not in names and key.startswith(_CLASSIFIER)))
    _check_unplaced([key for key in theirs if names.get(key) not in ours and key not in unused], source)
    fitted = {key: _fit(key, tensor, ours[key], source) for key, tensor in translated.items()}
    for key, tensor in fitted.items():
        ours[key].copy_(tensor)
    _fold_epsilon(backbone_rows, fitted)
    projection = identity_projection(backbone_rows)
    if projection is not None:
        _set_identity(projection)
    return LoadReport(len(fitted), len(ours), missing, unused)


def _check_missing(keys: Iterable[str], declared: tuple[str, ...], source: str | Path) -> tuple[str, ...]:
    """Return the missing keys, sorted; raise if one of them is not declared."""
    missing = tuple(sorted(keys))
    undeclared = [key for key in missing if not key.startswith(declared)]
    if undeclared:
        raise CheckpointError(
            f"'{source}' has no weights for {_first(undeclared)}. It is another model, or not one of timm. "
            f"Known to fit: {', '.join(TIMM_MODELS)}."
        )
    return missing


def _check_unplaced(keys: Iterable[str], source: str | Path) -> None:
    """Raise if keys of the source have no place here: it is a deeper model, or has parts that ours has not."""
    unplaced = sorted(keys)
    if unplaced:
        raise CheckpointError(
            f"'{source}' has weights that this backbone has no place for: {_first(unplaced)}. "
            f"Give the weights of the same variant: {', '.join(TIMM_MODELS)}."
        )


def _first(keys: list[str], count: int = 3) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more


def _fit(key: str, tensor: Tensor, target: Tensor, source: str | Path) -> Tensor:
    """Return a source tensor in the shape of `target`, a bias table resampled; raise if it does not fit."""
    if key.endswith("bias_table"):
        side = math.isqrt(tensor.numel() // target.shape[0])
        if tensor.shape == (target.shape[0], side * side):
            return resize_bias(tensor.view(-1, side, side), *target.shape[1:])
    elif tensor.shape == target.shape:
        return tensor
    raise CheckpointError(
        f"'{source}' has {tuple(tensor.shape)} for {key}, which is {tuple(target.shape)} here. "
        f"Give the weights of the same variant: {', '.join(TIMM_MODELS)}."
    )


@torch.no_grad()
def _fold_epsilon(rows: Mapping[str, nn.Module], loaded: Mapping[str, Tensor]) -> None:
    """Rescale the gains of the loaded normalisations, so that our epsilon gives what timm's gave."""
    for name, row in rows.items():
        for path, module in row.named_modules(prefix=name):
            if isinstance(module, nn.BatchNorm2d) and f"{path}.running_var" in loaded:
                variance = loaded[f"{path}.running_var"].to(module.weight.device, torch.float64)
                module.weight.mul_(((variance + module.eps) / (variance + TIMM_EPS)).sqrt().to(module.weight.dtype))


@torch.no_grad()
def _set_identity(projection: Conv) -> None:
    """Make a 1x1 convolution with normalisation compute the identity in eval mode."""
    nn.init.dirac_(projection.conv.weight)
    projection.bn.reset_parameters()  # mean 0, variance 1, gain 1, shift 0
    projection.bn.weight.fill_(math.sqrt(1 + projection.bn.eps))


def read_timm_weights(source: str | Path) -> dict[str, Tensor]:
    """Return a timm state dict from a local file, or from timm's hub by the name of a model.

    Raises:
        CheckpointError: The file is missing, unreadable or holds something else; the name is unknown; or the download
            failed.
    """
    path = Path(source).expanduser()
    if isinstance(source, Path) or path.suffix in _FILE_SUFFIXES or path.is_file():
        return _read_file(path)
    return _download(str(source))


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"'{path}' does not exist. Give a file with a timm state dict, or a timm model's name.")
    try:
        content = _read_tensors(path)
    except Exception as error:  # each format has its own errors for a damaged file
        raise CheckpointError(
            f"'{path}' cannot be read as weights ({_first_line(error)}). "
            f"Give a .safetensors file, or a .pth file that holds tensors only."
        ) from error
    return _state_dict_of(content, path)


def _read_tensors(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict that a file holds, by itself or under the name that training scripts give it."""
    for name in ("state_dict_ema", "model_ema", "state_dict", "model"):  # averaged weights first, as timm reads them
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError(f"'{path}' holds no state dict. Save one with torch.save(model.state_dict(), path).")
    return {key.removeprefix("module."): tensor for key, tensor in content.items()}


def _download(name: str) -> dict[str, Tensor]:
    import timm

    if not timm.is_model(name):
        raise CheckpointError(
            f"'{name}' is neither a file nor a timm model.{suggest_name(name, TIMM_MODELS)} "
            f"Give a file, or one of: {', '.join(TIMM_MODELS)}."
        )
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises its own kinds, by version, for every cause
        raise CheckpointError(
            f"'{name}' could not be downloaded ({_first_line(error)}). "
            f"Download it where there is a network, and pass the local .safetensors or .pth file instead."
        ) from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error, which may run over many, or its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), "").rstrip(".") or type(error).__name__
