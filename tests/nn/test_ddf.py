"""Dual-domain fusion against its formulas in float64, and the properties that set the variants apart."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn

from uavdet.engine.profile import count_parameters, set_export
from uavdet.nn.ddf import DDF, EquivariantDDF, FrequencyKernel, FrequencyModulation, SPDConv


def _dense(conv: nn.Conv2d, x: np.ndarray) -> np.ndarray:
    weight = conv.weight.detach().double().numpy()[:, :, 0, 0]
    return np.einsum("oc,bchw->bohw", weight, x) + conv.bias.detach().double().numpy()[:, None, None]


def _random_gains(module: FrequencyModulation) -> None:
    nn.init.normal_(module.alpha)
    nn.init.normal_(module.beta)


def _modulation(module: FrequencyModulation, x: np.ndarray) -> np.ndarray:
    spectrum = np.fft.fft2(_dense(module.signal, x))
    branch = np.abs(np.fft.ifft2(_dense(module.response, x) * spectrum))
    return module.alpha.detach().double().numpy() * branch + module.beta.detach().double().numpy() * x


def _kernel(module: FrequencyKernel, x: np.ndarray) -> np.ndarray:
    projected = _dense(module.project_in, x)
    features = 0.5 * projected * (1 + erf(projected / np.sqrt(2)))
    scale = module.scale.weight.detach().double().numpy()[:, 0] * features
    scale = scale + module.scale.bias.detach().double().numpy()[:, None, None]
    return _dense(module.project_out, np.maximum(0, x + scale + _modulation(module.modulation, np.abs(features))))


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (20, 12)])
@pytest.mark.parametrize("export", [False, True])
def test_frequency_kernel_equals_the_formula(size, export):
    torch.manual_seed(0)
    module = FrequencyKernel(6)
    _random_gains(module.modulation)
    set_export(module, export)
    x = torch.randn(2, 6, *size)
    np.testing.assert_allclose(module(x).detach().numpy(), _kernel(module, x.double().numpy()), atol=1e-5)


@pytest.mark.parametrize("export", [False, True])
def test_ddf_sends_the_first_quarter_through_the_kernel(export):
    torch.manual_seed(0)
    module = DDF(16).eval()
    _random_gains(module.kernel.modulation)
    set_export(module, export)
    x = torch.randn(1, 16, 8, 12)
    mixed = module.mix_in(x)
    frequency = torch.from_numpy(_kernel(module.kernel, mixed[:, :4].detach().double().numpy())).float()
    expected = module.mix_out(torch.cat([frequency, mixed[:, 4:]], 1))
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [768, 384, 304])
def test_ddf_has_the_released_parameters_less_the_unused_convolution(channels):
    dead = {768: 3_840, 384: 1_920, 304: 1_520}[channels]
    released = {768: 1_335_552, 384: 336_000, 304: 211_280}[channels]
    assert count_parameters(DDF(channels)) == released - dead


def test_modulation_is_the_identity_at_first_and_only_its_gains_learn():
    module, x = FrequencyModulation(4), torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(module(x), x)
    module(x).square().sum().backward()
    assert module.alpha.grad.abs().sum() > 0
    assert module.beta.grad.abs().sum() > 0
    assert module.response.weight.grad.abs().sum() == 0
    assert module.signal.weight.grad.abs().sum() == 0


def _trained_like(module: EquivariantDDF) -> EquivariantDDF:
    nn.init.normal_(module.base_gain, std=0.5)
    nn.init.normal_(module.project_out.weight, std=0.5)
    return module.eval()


@pytest.mark.parametrize("export", [False, True])
def test_equivariant_ddf_commutes_with_shifts_and_flips(export):
    torch.manual_seed(0)
    module = _trained_like(EquivariantDDF(16))
    set_export(module, export)
    x = torch.randn(2, 16, 12, 16)
    moves = [lambda t: t.roll((3, 5), (2, 3)), lambda t: t.flip(2), lambda t: t.flip(3), lambda t: t.roll(8, 3)]
    for move in moves:
        torch.testing.assert_close(module(move(x)), move(module(x)), atol=2e-5, rtol=1e-4)


def test_released_frequency_branch_commutes_with_neither_shifts_nor_flips():
    torch.manual_seed(0)
    module, x = FrequencyModulation(8), torch.randn(1, 8, 16, 16)
    for move in (lambda t: t.roll(8, 3), lambda t: t.flip(3)):
        change = module.frequency_branch(move(x)) - move(module.frequency_branch(x))
        assert change.norm() > 0.1 * module.frequency_branch(x).norm()


def test_equivariant_ddf_means_the_same_at_every_size():
    torch.manual_seed(0)
    module = _trained_like(EquivariantDDF(8, bands=4))
    tile = torch.randn(1, 8, 16, 16)
    small, large = module(tile), module(tile.repeat(1, 1, 2, 2))
    # The filter's response is the same; its gains read band energies, whose bands hold other bins at other sizes.
    assert (large[..., :16, :16] - small).norm() / small.norm() < 0.02


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (12, 20)])
def test_equivariant_forms_agree_and_start_as_the_identity(size):
    torch.manual_seed(0)
    module, x = EquivariantDDF(16), torch.randn(2, 16, *size)
    torch.testing.assert_close(module(x), x)
    _trained_like(module)
    exported = set_export(copy.deepcopy(module), True)
    torch.testing.assert_close(exported(x), module(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("export", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_equivariant_ddf_is_finite_where_bands_have_no_bin(side, export):
    torch.manual_seed(0)
    module = _trained_like(EquivariantDDF(16))
    set_export(module, export)
    x = torch.randn(2, 16, side, side, requires_grad=True)
    module(x).square().sum().backward()
    assert torch.isfinite(module(x)).all()
    assert all(torch.isfinite(p.grad).all() for p in (x, *module.parameters()))


def test_equivariant_ddf_equals_its_formula():
    torch.manual_seed(0)
    module, x = _trained_like(EquivariantDDF(8, bands=4, hidden=5)), torch.randn(1, 8, 6, 10)
    u = _dense(module.project_in, x[:, :2].double().numpy())
    features = 0.5 * u * (1 + erf(u / np.sqrt(2)))
    spectrum = np.fft.fft2(features, norm="ortho")
    radius = np.hypot(np.fft.fftfreq(6)[:, None], np.fft.fftfreq(10)[None, :])
    basis = np.maximum(0, 1 - np.abs(np.minimum(radius / 0.5, 1) * 3 - np.arange(4)[:, None, None]))
    energy = np.einsum("bchw,khw->bck", np.abs(spectrum) ** 2, basis) / basis.sum((1, 2))
    gains = module.base_gain + module.adapt(torch.from_numpy(np.log(energy + 1e-6)).float())
    response = np.einsum("bck,khw->bchw", gains.detach().double().numpy(), basis)
    mixed = features + np.fft.ifft2(response * spectrum, norm="ortho").real
    expected = x.double().numpy()
    expected[:, :2] += _dense(module.project_out, mixed)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, atol=1e-5)


def test_equivariant_ddf_is_cheaper():
    assert count_parameters(EquivariantDDF(384)) < 0.1 * count_parameters(DDF(384))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDF(16, 0), "fraction"),
        (lambda: DDF(2, 0.1), "fraction"),
        (lambda: EquivariantDDF(16, bands=1), "bands"),
    ],
)
def test_unusable_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_space_to_depth_stacks_phases_in_the_released_order():
    module = SPDConv(1, 4)
    module.conv = nn.Identity()
    x = torch.arange(16.0).view(1, 1, 4, 4)
    expected = torch.stack([x[0, 0, r::2, c::2] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))])[None]
    torch.testing.assert_close(module(x), expected)


def test_bfloat16_autocast_runs_and_is_near():
    torch.manual_seed(0)
    for module in (DDF(16).eval(), _trained_like(EquivariantDDF(16))):
        x = torch.randn(1, 16, 8, 8)
        with torch.no_grad():
            expected = module(x)
            with torch.autocast("cpu", torch.bfloat16):
                given = module(x)
        assert (given - expected).abs().mean() < 0.05 * expected.abs().mean()
