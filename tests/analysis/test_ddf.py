"""`uavdet analyze ddf`: the branch against the blocks' formulas, the model without it, the report, what is refused."""

import copy
import csv
import json

import cv2
import numpy as np
import pytest
import torch

from tests.analysis.detectors import awaken, write_detector
from uavdet.analysis.ddf import ZeroedBranches, analyze_ddf
from uavdet.analysis.frequency_branch import FrequencyBlock, frequency_blocks, look_at_branch, without_branches
from uavdet.analysis.variants import compare_variants
from uavdet.cli import main
from uavdet.evaluation.protocol import find_protocols
from uavdet.evaluation.truth import GroundTruth, ImageDetections, ImageTruth
from uavdet.model import UAVDet
from uavdet.nn.ddf import DDF, EquivariantDDF

MODELS = ("DDF", "EquivariantDDF")


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Return a detector with each kind of block, its branch awake."""
    folder = tmp_path_factory.mktemp("detectors")
    return {kind: write_detector("so-detr-n.yaml", folder / f"{kind}.pt", awaken, block=kind) for kind in MODELS}


@pytest.fixture(scope="module")
def report(detectors, tiny_data, tmp_path_factory):
    options = {"data": str(tiny_data), "imgsz": 64, "device": "cpu", "samples": 10, "images": 3, "batch": 2}
    project = str(tmp_path_factory.mktemp("ddf"))
    return {kind: analyze_ddf({**options, "model": str(file), "project": project}) for kind, file in detectors.items()}


def block_of(kind, channels=12):
    torch.manual_seed(1)
    block = (DDF if kind == "DDF" else EquivariantDDF)(channels).eval()
    awaken(block)
    return block


def silence(model):
    """Turn every frequency branch off by its parameters."""
    for module in model.modules():
        if hasattr(module, "alpha") and isinstance(module.alpha, torch.nn.Parameter):
            torch.nn.init.zeros_(module.alpha)
        if hasattr(module, "base_gain"):
            torch.nn.init.zeros_(module.base_gain)
            torch.nn.init.zeros_(module.adapt[2].weight)
            torch.nn.init.zeros_(module.adapt[2].bias)


@pytest.mark.parametrize("kind", MODELS)
def test_a_zeroed_branch_is_one_whose_scale_is_zero(kind, detectors):
    network = UAVDet(detectors[kind]).module.eval()
    silent = copy.deepcopy(network)
    silence(silent)
    image = torch.rand(2, 3, 64, 96)
    variants = ZeroedBranches([found.name for found in frequency_blocks(network)])
    variants.watch(network)
    with torch.no_grad():
        before = network(image)[0]
        ((name, outputs),) = variants.outputs({"img": image})
        assert name == "dual_domain"
        assert torch.equal(outputs[0], silent(image)[0])
        assert torch.equal(network(image)[0], before)
        assert not torch.equal(outputs[0], before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_released_block_s_branches_are_alpha_and_beta_times_theirs(dtype):
    block, given = block_of("DDF").to(dtype), torch.randn(2, 12, 8, 6).to(dtype)
    look = look_at_branch(FrequencyBlock("x", block), given)
    modulation = block.kernel.modulation
    with torch.no_grad():
        magnitude = torch.nn.functional.gelu(block.kernel.project_in(block.mix_in(given)[:, :3])).abs()
        response, signal = (layer(magnitude).double().numpy() for layer in (modulation.response, modulation.signal))
    branch = np.abs(np.fft.ifft2(response * np.fft.fft2(signal)))
    alpha, beta = (scale.detach().double().numpy() for scale in (modulation.alpha, modulation.beta))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    np.testing.assert_allclose(look.frequency.detach().double().numpy(), alpha * branch, **tolerance)
    np.testing.assert_allclose(look.spatial.detach().double().numpy(), beta * magnitude.double().numpy(), **tolerance)
    own, other = ((part.double().numpy() ** 2).sum((1, 2, 3)) for part in (look.frequency, look.spatial))
    np.testing.assert_allclose(look.share.numpy(), own / (own + other))
    assert look.gains is None


def test_the_equivariant_block_s_branch_is_the_features_times_its_gains():
    block, given = block_of("EquivariantDDF"), torch.randn(2, 12, 9, 8)
    look = look_at_branch(FrequencyBlock("x", block), given)
    with torch.no_grad():
        features = torch.nn.functional.gelu(block.project_in(given[:, :3]))
    torch.testing.assert_close(look.spatial, features)
    radius = np.hypot(np.fft.fftfreq(9)[:, None], np.fft.fftfreq(8)[None])
    position = np.clip(radius / 0.5, 0, 1) * (block.bands - 1)
    hats = np.maximum(0, 1 - np.abs(position - np.arange(block.bands)[:, None, None]))
    response = np.einsum("bck,khw->bchw", look.gains.detach().double().numpy(), hats)
    expected = np.fft.ifft2(np.fft.fft2(features.double().numpy()) * response).real
    np.testing.assert_allclose(look.frequency.detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_the_effect_is_the_energy_that_goes_with_the_branch(kind):
    block, given = block_of(kind), torch.randn(2, 12, 8, 8)
    silent = copy.deepcopy(block)
    silence(silent)
    with torch.no_grad():
        output, plain = block(given).double(), silent(given).double()
    expected = (output - plain).square().sum((1, 2, 3)) / output.square().sum((1, 2, 3))
    torch.testing.assert_close(look_at_branch(FrequencyBlock("x", block), given).effect, expected)
    assert (expected > 0).all()
    assert look_at_branch(FrequencyBlock("x", silent), given).effect.tolist() == [0, 0]
    assert look_at_branch(FrequencyBlock("x", silent), given).share.tolist() == [0, 0]


def test_a_branch_comes_back_after_an_error():
    block = block_of("DDF")
    with pytest.raises(RuntimeError), without_branches([FrequencyBlock("x", block)]):
        raise RuntimeError
    assert "frequency_branch" not in vars(block.kernel.modulation)


def test_models_with_several_blocks_lose_each_and_all():
    assert ZeroedBranches(["a"]).names == ["a"]
    assert ZeroedBranches(["a", "b"]).names == ["a", "b", "all blocks"]
    network = torch.nn.Sequential(block_of("DDF"), block_of("EquivariantDDF")).eval()
    variants = ZeroedBranches([found.name for found in frequency_blocks(network)])
    variants.watch(network)
    given = torch.randn(1, 12, 8, 8)
    with torch.no_grad():
        outputs = dict(variants.outputs({"img": given}))
        silence(network)
        assert torch.equal(outputs["all blocks"], network(given))
    assert len({float(value.sum()) for value in outputs.values()}) == 3


@pytest.mark.parametrize("kind", MODELS)
def test_the_report_holds_scales_energies_and_ap(kind, report, detectors):
    one = report[kind]
    rows = list(csv.DictReader((one.folder / "branches.csv").open()))
    owner = frequency_blocks(UAVDet(detectors[kind]).module)[0].owner
    if kind == "DDF":
        alpha = [float(row["value"]) for row in rows if row["value_of"] == "alpha"]
        np.testing.assert_allclose(alpha, owner.alpha.detach().flatten().numpy(), rtol=1e-5)
        assert len(rows) == 2 * len(alpha)
    else:
        assert len(rows) == owner.base_gain.numel()
        assert {row["band"] for row in rows} == {str(band) for band in range(owner.bands)}
    energies = list(csv.DictReader((one.folder / "energy.csv").open()))
    assert len(energies) == 3
    assert all(0 < float(row["share"]) < 1 for row in energies)
    assert all(float(row["effect"]) > 0 for row in energies)
    scores = list(csv.DictReader((one.folder / "ap.csv").open()))
    assert [row["metric"] for row in scores] == [metric.name for metric in one.scores.metrics["aitod"]]
    assert {row["zeroed"] for row in scores} == {"dual_domain"}
    assert "dual_domain: " + ("alpha" if kind == "DDF" else "gains") in one.table()
    assert one.as_dict()["blocks"]["dual_domain"]["images"] == 3


@pytest.mark.parametrize("kind", MODELS)
def test_figures_are_drawn(kind, report):
    for name in ("ddf-aitod.png", "maps-dual_domain.png"):
        assert cv2.imread(str(report[kind].folder / name)).std() > 5


@pytest.mark.usefixtures("undrawn")
def test_the_command_prints_json(detectors, tiny_data, tmp_path, capsys):
    words = ["analyze", "ddf", f"model={detectors['EquivariantDDF']}", f"data={tiny_data}", f"project={tmp_path}"]
    assert main([*words, "imgsz=64", "images=1", "samples=5", "device=cpu", "json=True"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["blocks"]["dual_domain"]["images"] == 1
    assert printed["rows"][0]["zeroed"] == "dual_domain"


def test_differences_are_those_of_ap_with_intervals_over_images():
    """Two images of one object each: a variant that loses one of them loses half of what is found."""
    boxes = np.array([[10.0, 10.0, 16.0, 16.0]])
    one = np.zeros(1, np.int64)
    images = [
        ImageTruth(name, (64, 64), boxes, one, np.array([36.0]), np.zeros(1, bool), np.zeros((0, 4)))
        for name in ("a", "b")
    ]
    found = ImageDetections(boxes, np.array([0.9]), one)
    nothing = ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    detections = {"intact": {"a": found, "b": found}, "half": {"a": found, "b": nothing}}
    scores = compare_variants(find_protocols(["aitod"]), GroundTruth(images, {0: "x"}), detections, 400)
    assert [(m.name, m.size, m.range, m.objects) for m in scores.metrics["aitod"]] == [
        ("AP", "all", "every size", 2),
        ("AP_vt", "very tiny", "up to 8 px", 2),
    ]
    half = scores.of("aitod", "half")["AP_vt"]
    assert half.value == pytest.approx(51 / 101)  # recall 0.5 of 101 points
    assert half.difference == pytest.approx(-50 / 101)
    assert (half.low, half.high) == (-1.0, 0.0)  # samples of image b alone, and of image a alone


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["model=rtdetr-n.yaml", "data=DATA"], 2, "has no dual-domain fusion block, so there is no frequency branch"),
        (["model=yolo11n.yaml", "data=DATA"], 2, "has no dual-domain fusion block"),
        (["model=MODEL"], 2, "No dataset was given"),
        (["model=MODEL", "data=DATA", "protocol=ultralytics"], 2, "has no AP by size of objects"),
        (["model=MODEL", "data=DATA", "levels=8"], 2, "'levels' means nothing to analyze ddf"),
        (["model=MODEL", "data=DATA", "imgsz=100"], 2, "imgsz=100"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line(
    words, code, message, detectors, tiny_data, capsys, tmp_path_factory, monkeypatch
):
    monkeypatch.chdir(tmp_path_factory.mktemp("nothing"))
    known = {"MODEL": detectors["EquivariantDDF"], "DATA": tiny_data}
    given = [f"{key}={known.get(value, value)}" for key, _, value in (word.partition("=") for word in words)]
    assert main(["analyze", "ddf", *given]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
