"""Windows of maps around objects: what they hold, their spectra against numpy, and where background is looked for."""

import numpy as np
import pytest
import torch

from uavdet.analysis.samples import Sample
from uavdet.analysis.windows import background_centres, crop_windows, log_spectra, radial_profile, window_side


def sample_of(boxes, regions=None, content=(0.0, 0.0, 1.0, 1.0)):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    regions = None if regions is None else torch.tensor(regions, dtype=torch.float32)
    nothing = torch.zeros(1, 3, 64, 64), np.zeros((64, 64, 3), np.uint8)
    classes = torch.zeros(len(boxes), dtype=torch.long)
    return Sample("x", nothing[0], boxes, classes, np.ones(len(boxes)), (1.0, 1.0), content, regions, nothing[1])


@pytest.mark.parametrize(("stride", "side"), [(4, 32), (8, 16), (12, 10), (16, 8), (32, 8), (128, 8)])
def test_windows_span_128_pixels_and_at_least_8_cells(stride, side):
    assert window_side(stride) == side


def test_no_point_has_no_window():
    assert crop_windows(torch.rand(3, 8, 8), np.zeros((0, 2)), 4).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.0, 0.0), (0.999, 0.01), (1.0, 1.0)])
@pytest.mark.parametrize("shape", [(6, 10), (3, 3)])
def test_windows_are_mirrored_at_the_border(centre, shape):
    maps = torch.randn(2, *shape)
    side = 4
    padded = np.pad(maps.numpy(), ((0, 0), (side, side), (side, side)), mode="symmetric")
    row, column = (min(int(centre[axis] * shape[1 - axis]), shape[1 - axis] - 1) for axis in (1, 0))
    top, left = row + side - side // 2, column + side - side // 2
    expected = padded[:, top : top + side, left : left + side]
    window = crop_windows(maps, np.array([centre]), side)
    np.testing.assert_array_equal(window[0].numpy(), expected)
    assert (window[0, :, side // 2, side // 2] == maps[:, row, column]).all()


def spectra_by_numpy(windows):
    """Return log amplitudes (N, C, n, n) and energies (N, C), written out in float64."""
    values, side = windows.double().numpy(), windows.shape[-1]
    line = np.sin(np.pi * np.arange(side) / side) ** 2
    hann = np.outer(line, line)
    means = (values * hann).sum((2, 3)) / hann.sum()
    tapered = (values - means[..., None, None]) * hann
    amplitudes = np.abs(np.fft.fft2(tapered)) / np.sqrt((hann**2).sum())
    return np.fft.fftshift(np.log10(np.maximum(amplitudes, 1e-6)), axes=(2, 3)), (tapered**2).sum((2, 3))


@pytest.mark.parametrize("side", [8, 16])
def test_spectra_agree_with_numpy(side):
    torch.manual_seed(0)
    windows = torch.randn(5, 7, side, side) * torch.rand(5, 7, 1, 1) + 3
    logs, energies = spectra_by_numpy(windows)
    middle = np.ones((side, side), bool)
    middle[side // 2, side // 2] = False  # the mean is taken off: what is left there is rounding
    strongest = logs[np.arange(5), energies.argmax(1)]
    np.testing.assert_allclose(log_spectra(windows)[:, middle], strongest[:, middle], atol=1e-4)
    np.testing.assert_allclose(log_spectra(windows, "mean")[:, middle], logs.mean(1)[:, middle], atol=1e-3)


def test_a_constant_channel_is_not_the_strongest_however_high():
    windows = torch.full((1, 2, 8, 8), 100.0)
    windows[0, 1] = torch.randn(8, 8)
    np.testing.assert_allclose(log_spectra(windows), log_spectra(windows[:, 1:]))


@pytest.mark.parametrize(("across", "down"), [(2, 0), (0, 3), (4, 4)])
def test_a_wave_is_found_at_its_frequency(across, down):
    place = torch.arange(16.0)
    wave = torch.cos(2 * torch.pi * (across * place + down * place[:, None]) / 16)
    spectrum = log_spectra(wave[None, None])[0]
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    assert sorted([abs(row - 8), abs(column - 8)]) == sorted([across, down])
    assert (np.hypot(row - 8, column - 8).round()) == np.hypot(across, down).round()


@pytest.mark.parametrize("side", [8, 16, 32])
def test_white_noise_has_its_deviation_at_every_frequency_and_in_every_window(side):
    torch.manual_seed(0)
    windows = 0.5 * torch.randn(400, 1, side, side)
    amplitude = np.sqrt((10 ** (2 * log_spectra(windows))).mean(0))
    ring = np.abs(np.arange(side) - side // 2)
    assert amplitude[np.maximum(ring[:, None], ring) >= 3].mean() == pytest.approx(0.5, rel=0.02)


def test_profiles_are_means_over_rings():
    spectra = np.zeros((2, 4, 4))
    spectra[0] = [[9, 9, 5, 9], [9, 2, 1, 2], [6, 1, 7, 1], [9, 2, 1, 2]]
    # one cycle: the four neighbours and the four diagonals, whose sqrt(2) is nearer to 1; two: the two ends of the
    # axes, and the places two across and one down, whose sqrt(5) is nearer to 2
    expected = [(4 * 1 + 4 * 2) / 8, (5 + 6 + 4 * 9) / 6]
    np.testing.assert_allclose(radial_profile(spectra), [expected, [0, 0]])


def test_background_keeps_away_from_objects_regions_and_padding():
    random = np.random.default_rng(0)
    sample = sample_of([[0.25, 0.5, 0.1, 0.1]], [[0.7, 0.0, 1.0, 1.0]], (0.0, 0.25, 1.0, 0.75))
    centres = background_centres(sample, (32, 32), 8, 10_000, random)
    assert len(centres)
    low, high = centres - 2.5 / 32, centres + 2.5 / 32  # the inner half of the window: two cells around the middle one
    assert ((high[:, 0] <= 0.2) | (low[:, 0] >= 0.3) | (high[:, 1] <= 0.45) | (low[:, 1] >= 0.55)).all()
    assert (high[:, 0] <= 0.7).all()
    assert (low[:, 0] >= 0).all()
    assert ((low[:, 1] >= 0.25) & (high[:, 1] <= 0.75)).all()
    assert len(np.unique(centres, axis=0)) == len(centres)


def test_background_is_drawn_anew_but_the_same_in_every_run():
    sample = sample_of([[0.5, 0.5, 0.1, 0.1]])
    drawn = [background_centres(sample, (16, 24), 8, 5, np.random.default_rng(0)) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].shape == (5, 2)


def test_a_crowded_image_has_no_background():
    sample = sample_of([[0.5, 0.5, 0.9, 0.9]])
    assert background_centres(sample, (8, 8), 8, 5, np.random.default_rng(0)).shape == (0, 2)
