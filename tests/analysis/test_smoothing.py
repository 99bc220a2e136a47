"""`uavdet analyze smoothing`: its numbers against the Fourier sum written out, its blocks, and what it refuses."""

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.analysis.annotated import write_images
from tests.analysis.detectors import write_detector
from uavdet.analysis import smoothing_training
from uavdet.analysis.radial_bands import EnergyBands, FixedBands
from uavdet.analysis.samples import open_samples
from uavdet.analysis.smoothing import (
    AFTER,
    BEFORE,
    UNTRAINED,
    LevelSmoothing,
    SmoothingReport,
    analyze_smoothing,
    background_spectrum,
    measure_smoothing,
    ring_frequencies,
)
from uavdet.analysis.smoothing_training import batch_of, kept_cells, make_blocks, train_blocks
from uavdet.cli import main
from uavdet.errors import CheckpointError
from uavdet.methods.spectral_enhancement.blocks_file import FILE_NAME, save_blocks
from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing
from uavdet.nn.spectral import RealSpectrum

ROWS = [(0, 0.5, 0.25, 0.1, 0.2), (1, 0.9, 0.5, 0.1, 0.5)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the YAML of three images, one of them without an object."""
    return str(write_images(tmp_path_factory.mktemp("data"), {"a": ROWS, "b": [], "c": ROWS[:1]}))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_detector("rtdetr-n.yaml", tmp_path_factory.mktemp("detector") / "best.pt")


def samples_of(model, data, **options):
    return open_samples({"model": str(model), "data": data, "imgsz": [64, 128], "device": "cpu", **options})


# Spectra --------------------------------------------------------------------------------------------------------------


def energies(maps):
    """Return the energy of each frequency of (C, H, W), by the sum that defines the transform, and its radius."""
    channels, height, width = maps.shape
    found, radius = np.zeros((height, width)), np.zeros((height, width))
    y, x = np.mgrid[:height, :width]
    for v in range(height):
        for u in range(width):
            wave = np.exp(-2j * np.pi * (v * y / height + u * x / width))
            found[v, u] = (np.abs((maps * wave).sum((1, 2))) ** 2).sum() / (channels * (height * width) ** 2)
            radius[v, u] = math.hypot(min(v, height - v) / height, min(u, width - u) / width)
    return found, radius


@pytest.mark.parametrize("shape", [(2, 6, 6), (3, 5, 8), (1, 8, 7), (2, 2, 2)])
def test_energies_are_those_of_the_fourier_sum(shape):
    maps = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    spectrum = RealSpectrum(maps)
    found = background_spectrum(spectrum, FixedBands().responses(spectrum))
    energy, radius = energies(maps[0].double().numpy())
    bands = [energy[radius < 1 / 6 - 1e-9], energy[(radius > 1 / 6 - 1e-9) & (radius < 1 / 3 - 1e-9)]]
    bands.append(energy[radius > 1 / 3 - 1e-9])
    np.testing.assert_allclose(found.bands, [band.sum() for band in bands], atol=1e-7)
    assert found.bands.sum() == pytest.approx(maps.double().square().mean().item(), rel=1e-5)
    assert found.mean == pytest.approx(maps.double().mean((2, 3)).square().mean().item(), rel=1e-5)
    side = min(shape[1:])
    rings = [energy[np.rint(radius * side) == ring].mean() for ring in range(1, side // 2 + 1)]
    np.testing.assert_allclose(found.curve, rings, rtol=1e-4)
    np.testing.assert_allclose(ring_frequencies(*shape[1:]), [ring / side for ring in range(1, side // 2 + 1)])


def test_an_empty_background_has_no_shares():
    spectrum = RealSpectrum(torch.zeros(1, 2, 4, 4))
    found = background_spectrum(spectrum, EnergyBands().responses(spectrum))
    assert found.shares.tolist() == [0.0] * 4


def test_a_band_that_has_no_energy_has_no_factor():
    """A map of 2x2 cells has no frequency between 1/6 and 1/3, and none of the mid band's energy changes."""
    spectra = []
    for factor in (1, 3):
        spectrum = RealSpectrum(factor * torch.tensor([[[[1.0, 2.0], [4.0, 9.0]]]]))
        spectra.append(background_spectrum(spectrum, FixedBands().responses(spectrum)))
    level = LevelSmoothing("P5", 32, 5, ring_frequencies(2, 2), dict(zip((BEFORE, AFTER), spectra, strict=True)))
    np.testing.assert_allclose(level.times(AFTER), [9, np.nan, 9], rtol=1e-5)
    report = SmoothingReport([level], FixedBands(), 1, "of x.pt", Path("x"))
    assert [row["times_before"] is None for row in report.band_rows()] == [False, True, False] * 2
    assert report.table().splitlines()[3].endswith("0.0%     0.0%         -")


@pytest.mark.parametrize(("cycles", "band"), [(1, 0), (3, 1), (7, 2)])
def test_a_wave_lies_in_one_band(cycles, band):
    wave = torch.cos(2 * math.pi * cycles * torch.arange(16) / 16).view(1, 1, 1, 16).expand(1, 3, 16, 16)
    spectrum = RealSpectrum(wave)
    shares = background_spectrum(spectrum, FixedBands().responses(spectrum)).shares
    np.testing.assert_allclose(shares, np.eye(3)[band], atol=1e-9)


def constant(block, value):
    """Let a block add a number to the background."""
    nn.init.zeros_(block.expand.weight)
    nn.init.constant_(block.expand.bias, value)
    return block.requires_grad_(False)


def test_what_blocks_do_to_the_background_is_measured(detector, data):
    samples = samples_of(detector, data)
    untouched = {place: constant(block, 0.0) for place, block in make_blocks(samples).items()}
    raised = {place: constant(block, 5.0) for place, block in make_blocks(samples).items()}
    levels, images = measure_smoothing(samples, {UNTRAINED: untouched, AFTER: raised}, FixedBands())
    assert images == 2
    assert [level.name for level in levels] == ["P3", "P4", "P5"]
    for place, level in enumerate(levels):
        expected = {BEFORE: [], AFTER: []}
        for sample in samples:
            samples.model.predict(sample.image)
            maps = samples.recorder.head_inputs[place].double()
            kept = kept_cells(batch_of([sample]), tuple(maps.shape[2:]))
            for state, value in ((BEFORE, 0.0), (AFTER, 5.0)):
                expected[state].append(((maps + value) * ~kept).square().mean().item())
        for state, values in expected.items():
            assert level.states[state].bands.sum() == pytest.approx(np.mean(values), rel=1e-4)
        np.testing.assert_allclose(level.times(UNTRAINED), 1, rtol=1e-6)
        assert level.states[AFTER].shares[0] > level.states[BEFORE].shares[0]


def test_ignored_regions_are_no_background(detector, data):
    sample = next(iter(samples_of(detector, data)))
    batch = batch_of([sample, sample])
    plain = kept_cells(batch, (8, 16))
    batch |= {"ignore_bboxes": torch.tensor([[0.0, 0.5, 0.25, 1.0]]), "ignore_batch_idx": torch.tensor([1])}
    kept = kept_cells(batch, (8, 16))
    assert torch.equal(kept[0], plain[0])
    assert kept[1, 0, 4:, :4].all()
    assert not plain[1, 0, 4:, :4].any()


# Blocks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rtdetr-n.yaml", "so-detr-n-set.yaml", "yolo11n.yaml"])
def test_blocks_learn_and_the_detector_stays(name, data, tmp_path):
    samples = samples_of(write_detector(name, tmp_path / "x.pt"), data, imgsz=64)
    before = {key: value.clone() for key, value in samples.model.state_dict().items()}
    start, blocks = make_blocks(samples), train_blocks(samples, 2)
    assert list(blocks) == [0, 1, 2]
    for key, value in samples.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(module.training for module in samples.model.modules())
    for place, block in blocks.items():
        assert not torch.equal(block.reduce.weight, start[place].reduce.weight)
        assert all(torch.isfinite(parameter).all() for parameter in block.parameters())
    assert len(samples) == 2


def test_only_marked_levels_have_blocks(data, tmp_path):
    def mark(model):
        model.yaml["head"].insert(-1, ["p4", 1, "HBS", [], "hbs4"])
        model.yaml["head"][-1][0] = ["p3", "hbs4", "p5"]

    samples = samples_of(write_detector("so-detr-n.yaml", tmp_path / "x.pt", mark), data)
    blocks = make_blocks(samples)
    assert list(blocks) == [1]
    assert (blocks[1].channels, blocks[1].stride) == (96, 16)
    levels, _ = measure_smoothing(samples, {AFTER: blocks}, FixedBands())
    assert [level.name for level in levels] == ["P4"]


def test_the_loss_of_the_blocks_falls(data, tmp_path, monkeypatch):
    """The two images that hold objects are in every batch."""
    losses = []
    measured = smoothing_training._auxiliary_loss
    monkeypatch.setattr(
        smoothing_training, "_auxiliary_loss", lambda *given: losses.append(measured(*given)) or losses[-1]
    )
    train_blocks(samples_of(write_detector("yolo11n.yaml", tmp_path / "x.pt"), data, imgsz=64), 8)
    values = [float(loss.detach()) for loss in losses]
    assert values[-1] < values[0]


# The analysis ---------------------------------------------------------------------------------------------------------


def analyse(detector, data, folder, **options):
    given = {"model": str(detector), "data": data, "imgsz": 64, "project": str(folder), "device": "cpu"}
    return analyze_smoothing({**given, **options})


@pytest.mark.parametrize(("bands", "names"), [("thirds", 3), ("energy", 4), ([0.1, 0.2, 0.3, 0.4], 5)])
def test_files_and_figure(detector, data, tmp_path, bands, names):
    report = analyse(detector, data, tmp_path, steps=1, bands=bands)
    assert report.folder == tmp_path / "smoothing"
    rows = list(csv.DictReader((report.folder / "smoothing.csv").open()))
    assert len(rows) == 3 * 3 * names
    assert [row["state"] for row in rows[::names]] == [BEFORE, UNTRAINED, AFTER] * 3
    for start in range(0, len(rows), names):
        assert sum(float(row["share"]) for row in rows[start : start + names]) == pytest.approx(1, abs=1e-4)
    curves = list(csv.DictReader((report.folder / "curves.csv").open()))
    assert len(curves) == 3 * (4 + 2 + 1)
    assert float(curves[-1]["cycles_per_cell"]) == 0.5
    picture = cv2.imread(str(report.folder / "smoothing.png"))
    assert picture.shape[0] > 800
    assert picture.shape[1] > 1200
    assert json.loads(json.dumps(report.as_dict(), default=str))["blocks"] == report.origin
    assert "trained here for 1 batches, detector frozen" in report.table()


@pytest.mark.usefixtures("undrawn")
def test_blocks_beside_the_weights_are_taken(data, tmp_path):
    file = write_detector("rtdetr-n.yaml", tmp_path / "best.pt")
    blocks = make_blocks(samples_of(file, data))
    save_blocks(tmp_path / FILE_NAME, {1: constant(blocks[1], 1.0)}, "nearest")
    report = analyse(file, data, tmp_path)
    assert report.origin == f"of {tmp_path / FILE_NAME}"
    assert [(level.name, list(level.states)) for level in report.levels] == [("P4", [BEFORE, AFTER])]
    save_blocks(tmp_path / "other.pt", {0: blocks[0]})
    report = analyse(file, data, tmp_path, smoothing=str(tmp_path / "other.pt"))
    assert [level.name for level in report.levels] == ["P3"]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({0: BackgroundSmoothing(8, 8)}, "block for level 0 has 8 channels at stride 8, this model 96 channels at"),
        ({1: BackgroundSmoothing(96, 32)}, "stride 32, this model 96 channels at stride 16"),
        ({3: BackgroundSmoothing(96, 64)}, "this model no level 3"),
    ],
)
def test_blocks_of_another_network_are_refused(detector, data, tmp_path, blocks, said):
    file = save_blocks(tmp_path / "x.pt", blocks)
    with pytest.raises(CheckpointError, match=f"x.pt' belongs to another network.*{said}"):
        analyse(detector, data, tmp_path, smoothing=str(file))
    assert not (tmp_path / "smoothing").exists()


def test_refusals_of_the_command(detector, data, tmp_path, capsys):
    blocks = save_blocks(tmp_path / "x.pt", {0: BackgroundSmoothing(96, 8)})
    other = write_images(tmp_path / "other", {"a": ROWS}, names=("cat", "dog"))
    given = [f"data={data}", "imgsz=64", f"project={tmp_path / 'runs'}"]
    for words, code, said in [
        ([f"model={detector}", f"data={data}", "steps=0"], 2, "steps=0"),
        ([f"model={detector}", *given, f"smoothing={tmp_path / 'gone.pt'}"], 4, "gone.pt' does not exist"),
        ([f"model={detector}", *given, f"smoothing={detector}"], 4, "best.pt' holds no smoothing blocks"),
        ([f"model={detector}", *given, f"smoothing={blocks}", "steps=5"], 2, "steps=5 has no effect"),
        ([f"model={detector}", *given, "bands=0.3,0.2"], 2, "bands=0.3,0.2 is not allowed"),
        ([f"model={detector}", *given[1:], f"data={other}"], 2, "cat"),
    ]:
        assert main(["analyze", "smoothing", *words]) == code
        text = capsys.readouterr().err
        assert said in text
        assert "Traceback" not in text
    assert not list(Path(tmp_path / "runs").glob("*"))


@pytest.mark.usefixtures("undrawn")
def test_the_command_prints_json(detector, data, tmp_path, capsys):
    blocks = save_blocks(tmp_path / "x.pt", {0: BackgroundSmoothing(96, 8)})
    words = [f"model={detector}", f"data={data}", "imgsz=64", f"project={tmp_path}", f"smoothing={blocks}"]
    assert main(["analyze", "smoothing", *words, "json=True"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["levels"]["P3"]["before"]["share"].keys() == {"low", "mid", "high"}
