"""The Fourier transform against NumPy in float64."""

import numpy as np
import pytest
import torch

from uavdet.nn import spectral
from uavdet.nn.spectral import (
    RealSpectrum,
    dft_matrices,
    half_spectrum_multiplicity,
    radial_bands,
    spectral_product_magnitude,
)

SIZES = [(1, 1), (8, 8), (5, 7), (6, 9), (80, 80), (12, 20)]


@pytest.mark.parametrize("length", [1, 2, 7, 80])
def test_dft_matrix_is_the_transform_of_the_identity(length):
    cosine, sine = dft_matrices(length, torch.zeros(1))
    expected = np.fft.fft(np.eye(length), norm="ortho")
    np.testing.assert_allclose(cosine.numpy(), expected.real, atol=1e-6)
    np.testing.assert_allclose(-sine.numpy(), expected.imag, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("matrix_form", [False, True])
def test_product_magnitude_equals_numpy(size, matrix_form):
    rng = np.random.default_rng(0)
    response, signal = rng.normal(size=(2, 3, *size)), rng.normal(2.0, 1.0, size=(2, 3, *size))
    expected = np.abs(np.fft.ifft2(response * np.fft.fft2(signal)))
    given = spectral_product_magnitude(
        torch.from_numpy(response).float(), torch.from_numpy(signal).float(), matrix_form=matrix_form
    )
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-5 * max(1.0, expected.max()))


@pytest.mark.parametrize("size", [*SIZES, (20, 160)])
def test_half_of_the_spectrum_gives_the_same(size, monkeypatch):
    rng = np.random.default_rng(0)
    response, signal = rng.normal(size=(2, 3, *size)), rng.normal(2.0, 1.0, size=(2, 3, *size))
    expected = np.abs(np.fft.ifft2(response * np.fft.fft2(signal)))
    monkeypatch.setattr(spectral, "HALF_SPECTRUM_WIDTH", 1)
    given = spectral_product_magnitude(
        torch.from_numpy(response).float(), torch.from_numpy(signal).float(), matrix_form=True
    )
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-5 * max(1.0, expected.max()))


def test_the_magnitude_stays_finite_where_its_square_overflows_half_precision():
    parts = torch.full((1, 1, 2, 2), 2800.0)  # squared: 7.8e6, and half precision ends at 65504
    assert (16.0 * ((parts.half() / 16.0) ** 2 * 2).sqrt()).isfinite().all()
    magnitude = spectral_product_magnitude(torch.ones_like(parts), parts, matrix_form=True)
    torch.testing.assert_close(magnitude, parts)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("matrix_form", [False, True])
def test_real_filter_equals_numpy(size, matrix_form):
    rng = np.random.default_rng(1)
    signal, response = rng.normal(size=(2, 3, *size)), rng.normal(size=(3, size[0], size[1] // 2 + 1))
    response = (response + response[:, (-np.arange(size[0])) % size[0]]) / 2  # even along the height
    expected = np.fft.irfft2(response * np.fft.rfft2(signal), s=size)
    spectrum = RealSpectrum(torch.from_numpy(signal).float(), matrix_form=matrix_form)
    given = spectrum.filter(torch.from_numpy(response).float())
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(spectrum.power().numpy(), np.abs(np.fft.rfft2(signal, norm="ortho")) ** 2, atol=1e-4)


def test_half_spectrum_counts_every_bin_of_the_full_one():
    for width in (1, 2, 5, 8):
        assert half_spectrum_multiplicity(width, torch.zeros(1)).sum() == width


@pytest.mark.parametrize("size", SIZES)
def test_bands_are_a_partition_of_unity_by_physical_frequency(size):
    bands = radial_bands(*size, 6, torch.zeros(1))
    torch.testing.assert_close(bands.sum(0), torch.ones(size[0], size[1] // 2 + 1))
    assert bands[0, 0, 0] == 1, "DC is the first band"


def test_bands_mean_the_same_frequency_at_every_size():
    small, large = (radial_bands(n, n, 5, torch.zeros(1)) for n in (16, 64))
    torch.testing.assert_close(small, large[:, ::4, ::4])


@pytest.mark.parametrize("matrix_form", [False, True])
def test_runs_in_float32_under_bfloat16_autocast(matrix_form):
    signal = torch.rand(1, 2, 12, 10, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        given = spectral_product_magnitude(signal, signal, matrix_form=matrix_form)
    assert given.dtype == torch.float32
    expected = np.abs(np.fft.ifft2(signal.double().numpy() * np.fft.fft2(signal.double().numpy())))
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-5 * expected.max())


def test_gradients_agree_between_the_forms():
    torch.manual_seed(0)
    response, signal = torch.randn(1, 2, 6, 8, requires_grad=True), torch.randn(1, 2, 6, 8, requires_grad=True)
    gradients = [
        torch.autograd.grad(
            spectral_product_magnitude(response, signal, matrix_form=m).square().sum(), (response, signal)
        )
        for m in (False, True)
    ]
    for fft, matrix in zip(*gradients, strict=True):
        torch.testing.assert_close(fft, matrix, atol=1e-4, rtol=1e-4)
