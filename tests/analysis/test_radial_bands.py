"""Radial frequency bands against NumPy's transform in float64."""

import numpy as np
import pytest
import torch

from uavdet.analysis.bands import filter_region, split_map
from uavdet.analysis.radial_bands import EnergyBands, FixedBands, bands_of
from uavdet.errors import UsageError
from uavdet.nn.spectral import RealSpectrum

SHAPES = [(1, 1, 1, 1), (1, 2, 1, 5), (2, 3, 8, 8), (3, 2, 7, 12), (1, 4, 20, 15)]
BANDS = [FixedBands(), FixedBands((0.25,)), FixedBands((0.05, 0.1, 0.2, 0.4)), EnergyBands()]


def features(shape, seed=0, dtype=torch.float32):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.5).to(dtype)


def full_frequency(height, width):
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bands_are_a_partition(bands, shape):
    maps = features(shape)
    responses = bands.responses(RealSpectrum(maps))
    assert len(responses) == len(bands.names)
    total = sum(responses)
    assert torch.equal(total, torch.ones_like(total))
    assert all(((mask == 0) | (mask == 1)).all() for mask in responses)
    parts, energy = split_map(maps, bands)
    torch.testing.assert_close(sum(parts), maps, rtol=0, atol=2e-6)
    assert energy.sum().item() == pytest.approx(maps.double().square().sum().item(), rel=1e-5)
    for part, own in zip(parts, energy, strict=True):  # Parseval
        assert own.item() == pytest.approx(part.double().square().sum().item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edges", [(1 / 6, 1 / 3), (0.2,)])
def test_fixed_bands_agree_with_numpy(shape, edges):
    maps = features(shape)
    spectrum = np.fft.fft2(maps.numpy().astype(np.float64))
    radius = full_frequency(*shape[2:])
    bounds = [-1.0, *(edge - 1e-12 for edge in edges), 9.0]
    for place, part in enumerate(split_map(maps, FixedBands(edges))[0]):
        kept = (radius >= bounds[place]) & (radius < bounds[place + 1])
        expected = np.fft.ifft2(spectrum * kept)
        assert np.abs(expected.imag).max() < 1e-12
        np.testing.assert_allclose(part.numpy(), expected.real, atol=2e-6)


def rings_by_hand(image, shares):
    """Return the band of each bin of one image (C, H, W), ring by ring, in float64."""
    power = (np.abs(np.fft.fft2(image.astype(np.float64))) ** 2).sum(0)
    radius = full_frequency(*image.shape[1:]).round(9)
    band, below = np.zeros(radius.shape, int), 0.0
    for ring in np.unique(radius):
        here = power[radius == ring].sum() / power.sum()
        band[radius == ring] = 0 if ring == 0 else sum(below + here / 2 >= share for share in shares)
        below += here
    return band


@pytest.mark.parametrize("shape", SHAPES[2:])
def test_energy_bands_agree_with_rings_counted_by_hand(shape):
    maps = features(shape)
    parts, _ = split_map(maps, EnergyBands())
    for image in range(shape[0]):
        band = rings_by_hand(maps[image].numpy(), (0.4, 0.6, 0.9))
        spectrum = np.fft.fft2(maps[image].numpy().astype(np.float64))
        for place, part in enumerate(parts):
            np.testing.assert_allclose(part[image].numpy(), np.fft.ifft2(spectrum * (band == place)).real, atol=2e-6)


def test_energy_bands_of_nothing_are_all_low():
    responses = EnergyBands().responses(RealSpectrum(torch.zeros(2, 3, 8, 8)))
    assert [mask.mean().item() for mask in responses] == [1.0, 0.0, 0.0, 0.0]


def test_a_constant_map_is_low_in_every_way():
    for bands in BANDS:
        parts, _ = split_map(torch.full((1, 2, 8, 8), 3.0), bands)
        torch.testing.assert_close(parts[0], torch.full((1, 2, 8, 8), 3.0))


def test_an_empty_band_takes_nothing_away():
    maps = features((2, 3, 8, 8))
    parts, energy = split_map(maps, FixedBands((0.49,)))
    assert energy[1] > 0
    nothing = torch.zeros_like(parts[0])
    assert torch.equal(filter_region(maps, nothing, None), maps)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_region_alone_is_filtered(keep, dtype):
    maps = features((2, 3, 8, 8), dtype=dtype)
    where = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    high = split_map(maps, FixedBands())[0][2]
    filtered = filter_region(maps, high, where, keep=keep)
    assert filtered.dtype == dtype
    expected = (high if keep else maps.float() - high).to(dtype)
    everywhere = where.expand_as(maps)
    assert torch.equal(filtered[~everywhere], maps[~everywhere])
    assert torch.equal(filtered[everywhere], expected[everywhere])


@pytest.mark.parametrize(
    ("given", "names", "described"),
    [
        ("thirds", ["low", "mid", "high"], ["0 to 0.167", "0.167 to 0.333", "above 0.333"]),
        ([0.1, 0.25], ["low", "mid", "high"], ["0 to 0.1", "0.1 to 0.25", "above 0.25"]),
        ([0.1], ["0 to 0.1", "above 0.1"], ["0 to 0.1", "above 0.1"]),
        ("energy", ["low", "mid", "upper mid", "high"], ["0 to 40", "40 to 60", "60 to 90", "90 to 100"]),
    ],
)
def test_bands_have_names_and_bounds(given, names, described):
    bands = bands_of(given)
    assert bands.names == names
    assert [bands.describe(place) for place in range(len(names))] == described


@pytest.mark.parametrize(
    "given", [[], [0.0, 0.2], [0.3, 0.2], [0.2, 0.2], [0.5], [-0.1], [0.1, 0.2, 0.3, 0.35, 0.4, 0.45]]
)
def test_other_edges_are_refused(given):
    with pytest.raises(UsageError, match=r"thirds, energy, or up to five edges that rise between 0 and 0\.5"):
        bands_of(given)
