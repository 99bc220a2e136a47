"""Smoothing blocks as files: what comes back, and what is refused."""

import pytest
import torch

from uavdet.errors import CheckpointError
from uavdet.methods.spectral_enhancement.blocks_file import FILE_NAME, load_blocks, save_blocks
from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing


def blocks():
    torch.manual_seed(0)
    return {0: BackgroundSmoothing(8, 8), 2: BackgroundSmoothing(16, 32.0, 2, "7", final_relu=True)}


def test_blocks_come_back_as_they_were(tmp_path):
    saved = blocks()
    file = save_blocks(tmp_path / FILE_NAME, saved, "nearest")
    loaded, mask = load_blocks(str(file))
    assert mask == "nearest"
    assert list(loaded) == [0, 2]
    for level, block in loaded.items():
        features, kept = torch.rand(2, block.channels, 5, 4), torch.rand(2, 1, 5, 4) < 0.3
        assert torch.equal(block(features, kept), saved[level](features, kept))
        assert not block.training
        assert not any(parameter.requires_grad for parameter in block.parameters())
        for name in ("channels", "stride", "reduction", "kernel", "final_relu"):
            assert getattr(block, name) == getattr(saved[level], name)


def test_no_blocks_are_a_file_too(tmp_path):
    assert load_blocks(save_blocks(tmp_path / FILE_NAME, {})) == ({}, "overlap")


def test_the_file_is_data_and_no_program(tmp_path):
    content = torch.load(save_blocks(tmp_path / FILE_NAME, blocks()), weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in content["weights"].values())
    assert content["meta"]["levels"][0]["stride"] == 8


def changed(file, change):
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["weights"].pop("0.reduce.weight"),
        lambda c: c["weights"]["2.expand.bias"].fill_(float("nan")),
        lambda c: c["meta"]["levels"][0].pop("kernel"),
        lambda c: c["meta"]["levels"][0].update(stride=16, kernel="7"),
        lambda c: c["meta"].pop("mask"),
        lambda c: c["meta"].update(mask="nearst"),
        lambda c: c.pop("weights"),
        lambda c: c["meta"].update(levels=[1, 2]),
    ],
)
def test_contents_that_do_not_fit_are_refused(tmp_path, change):
    file = save_blocks(tmp_path / FILE_NAME, blocks())
    changed(file, change)
    with pytest.raises(CheckpointError, match=f"{FILE_NAME}' does not hold what it describes.*methods=set"):
        load_blocks(file)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "x.pt"
    with pytest.raises(CheckpointError, match=r"x\.pt' does not exist"):
        load_blocks(file)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_blocks(file)
    file.write_text("no blocks")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_blocks(file)
    torch.save({"format": "uavdet", "weights": {}}, file)
    with pytest.raises(CheckpointError, match=r"x\.pt' holds no smoothing blocks"):
        load_blocks(file)
    torch.save(torch.nn.Identity(), file)
    with pytest.raises(CheckpointError, match="is damaged or holds no smoothing blocks"):
        load_blocks(file)
