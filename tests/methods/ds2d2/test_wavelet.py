"""Wavelet bands against the 2 x 2 formulas, energies and PyWavelets."""

import sys

import numpy as np
import pytest
import pywt
import torch
import torch.nn.functional as F

from uavdet.errors import MissingDependencyError, UsageError
from uavdet.methods.ds2d2.wavelet import find_wavelet


def maps(height, width, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)


def blocks(x, padding):
    """Yield each block of a map with its place: row, column, a, b, c, d; written out."""
    height, width = x.shape
    for i in range((height + 1) // 2):
        for j in range((width + 1) // 2):
            values = []
            for y, z in ((2 * i, 2 * j), (2 * i, 2 * j + 1), (2 * i + 1, 2 * j), (2 * i + 1, 2 * j + 1)):
                inside = y < height and z < width
                nearest = x[min(y, height - 1), min(z, width - 1)]
                values.append(nearest if inside or padding == "replicate" else 0.0)
            yield i, j, *values


@pytest.mark.parametrize("padding", ["replicate", "zero"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 6), (5, 4), (4, 3), (7, 5)])
def test_haar_is_the_formula_of_each_block(size, padding):
    x = maps(*size)
    low, high = find_wavelet("haar", padding).decompose(x)
    assert low.shape == (2, 3, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert high.shape == (2, 3, 3, *low.shape[2:])
    for i, j, a, b, c, d in blocks(x[1, 2].numpy(), padding):
        assert low[1, 2, i, j] == pytest.approx((a + b + c + d) / 2, abs=1e-12)
        expected = [(a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2]
        assert high[1, 2, :, i, j].tolist() == pytest.approx(expected, abs=1e-12)


def test_haar_keeps_the_energy():
    x = maps(16, 12)
    low, high = find_wavelet("haar").decompose(x)
    assert low.square().sum() + high.square().sum() == pytest.approx(x.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("name", ["db1", "db2", "sym4", "coif1", "bior2.2", "rbio1.3"])
def test_other_bases_are_pywavelets_centred_on_the_blocks(name):
    x = maps(20, 24, channels=1)[:1]
    low, high = find_wavelet(name, "zero").decompose(x)
    assert low.shape[2:] == (10, 12)
    reach = (pywt.Wavelet(name).dec_len - 2) // 2
    shift = reach % 2  # PyWavelets keeps every second value of its own grid; zeros before the map move it onto ours
    theirs, details = pywt.dwt2(np.pad(x[0, 0].numpy(), shift), name, mode="zero")
    first = (reach + shift) // 2
    for ours, reference in zip((low[0, 0], *high[0, 0]), (theirs, *details), strict=True):
        np.testing.assert_allclose(ours, reference[first : first + 10, first : first + 12], atol=1e-12)


def test_the_slices_and_the_filters_of_haar_agree():
    x = maps(6, 9)
    for ours, theirs in zip(find_wavelet("haar").decompose(x), find_wavelet("db1").decompose(x), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["haar", "db3", "sym5", "bior4.4", "coif3"])
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (20, 13)])
def test_a_constant_map_has_no_high_frequencies(name, size):
    assert find_wavelet(name).high_frequency(torch.ones(1, 2, *size)).abs().max() < 1e-5


def test_the_high_frequency_map_is_the_enlarged_sum_of_the_bands():
    x = maps(6, 8)
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    expected = F.interpolate(2 * (a - (a + b + c + d) / 4), (6, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(find_wavelet("haar").high_frequency(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_in_and_comes_out(dtype):
    high = find_wavelet("db2").high_frequency((maps(7, 7) * 1e3).to(dtype))
    assert high.dtype is dtype
    assert torch.isfinite(high).all()


def test_unknown_wavelets_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"^ds2d2.wavelet=bd2 is no wavelet. Did you mean 'db2'\? Give haar, or .*"):
        find_wavelet("bd2", setting="ds2d2.wavelet")
    with pytest.raises(UsageError, match="is no wavelet"):
        find_wavelet("morl")  # a continuous one


def test_only_families_that_can_be_used_are_offered():
    with pytest.raises(UsageError, match=r"families haar, db, sym, coif, bior, rbio, dmey: wavelet=db2"):
        find_wavelet("bd2")


def test_haar_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    assert find_wavelet("haar").filters is None
    with pytest.raises(MissingDependencyError, match=r"wavelet=db2 needs PyWavelets.*pip install PyWavelets"):
        find_wavelet("db2")
