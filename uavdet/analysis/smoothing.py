"""`uavdet analyze smoothing`: the background's spectrum before and after smoothing, as in SET's Fig. 7 (CVPR 2025).

Before is the background of a level that enters the head, `P * (1 - M)`: cells of objects and of ignored regions are
zero. After is the background that a smoothing block makes of it. Energies are squared amplitudes of the Fourier
transform, divided by the number of values of the map, so that those of all bands add up to its mean square (Parseval).

The paper gives one number, 0.3787 of low frequencies before and 0.5205 after, and no unit. Its low band ends, as in
Fig. 1, at 40 % of the energy: the number is a share. Shares are what the table compares. A block may well lower the
share of high frequencies without taking any away, by adding low ones; the factor by which a band's energy changes
stands beside it. The outlines of what is left out have frequencies of their own, the more so the higher the mean of the
background is: where a block raises it, they are a part of what all bands gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from ultralytics.utils import LOGGER

from uavdet.analysis.radial_bands import Bands, bands_of, bin_energy, radial_frequency
from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import Samples, open_samples
from uavdet.analysis.smoothing_figure import draw_smoothing
from uavdet.analysis.smoothing_report import (
    AFTER,
    BAND_HEADER,
    BEFORE,
    CURVE_HEADER,
    UNTRAINED,
    BackgroundSpectrum,
    LevelSmoothing,
    SmoothingReport,
)
from uavdet.analysis.smoothing_training import batch_of, kept_cells, make_blocks, train_blocks
from uavdet.analysis.table import write_rows
from uavdet.arguments import defaults_of
from uavdet.assets import find_weights
from uavdet.errors import CheckpointError, UsageError
from uavdet.methods.spectral_enhancement.blocks_file import FILE_NAME, load_blocks
from uavdet.methods.spectral_enhancement.foreground import Mask
from uavdet.methods.spectral_enhancement.smoothing import BackgroundSmoothing
from uavdet.nn.spectral import RealSpectrum, half_spectrum_multiplicity

_ALL_IMAGES = 10**9


def analyze_smoothing(options: Mapping[str, Any]) -> SmoothingReport:
    """Compare the background's spectrum before and after smoothing, at every level that has a block.

    The blocks are those of `smoothing=FILE`, else those that a run with methods=set has written beside the weights,
    else new ones that are trained for `steps` batches of the training split with the detector frozen.

    Args:
        options: See `uavdet.analysis.command.run_analyze`.

    Raises:
        UsageError: An option cannot be used or has no effect.
        ConfigError: The dataset YAML cannot be used.
        CheckpointError: The model or the blocks cannot be read, or belong to different networks.
        DataError: A split holds no object, or a damaged file.
    """
    given, options = options, {**defaults_of("analyze"), **options}
    bands = bands_of(options["bands"])
    file = _blocks_file(options)
    if file is not None and given.get("steps") is not None:
        raise UsageError(f"steps={options['steps']} has no effect: {file} has trained blocks. Drop steps.")
    samples = open_samples(options)
    with new_results("smoothing", options) as folder:
        stages, mask, origin = _blocks(file, samples, options)
        levels, images = measure_smoothing(samples, stages, bands, mask)
        report = SmoothingReport(levels, bands, images, origin, folder)
        write_rows(folder / "smoothing.csv", report.band_rows(), BAND_HEADER)
        write_rows(folder / "curves.csv", report.curve_rows(), CURVE_HEADER)
        draw_smoothing(folder / "smoothing.png", report, describe_subject(options))
    return report


def _blocks_file(options: Mapping[str, Any]) -> Path | None:
    """Return the file of trained blocks: the one given, or that beside the weights; None where there is none."""
    if options["smoothing"]:
        return Path(options["smoothing"]).expanduser()
    beside = Path(find_weights(str(options["model"]))).expanduser().parent / FILE_NAME
    return beside if Path(str(options["model"])).suffix in {".pt", ".safetensors"} and beside.is_file() else None


Stages = dict[str, dict[int, BackgroundSmoothing]]
"""Blocks by the place of their level, by the state that they bring about."""


def _blocks(file: Path | None, samples: Samples, options: Mapping[str, Any]) -> tuple[Stages, Mask, str]:
    """Return the blocks, how they know the foreground, and where they come from."""
    if file is not None:
        blocks, mask = load_blocks(file)
        check_blocks(file, blocks, samples)
        return {AFTER: {place: block.to(samples.device) for place, block in blocks.items()}}, mask, f"of {file}"
    samples.check_classes(str(options["model"]))
    learning = open_samples({**options, "split": "train", "images": _ALL_IMAGES})
    steps = options["steps"]
    LOGGER.info(f"No {FILE_NAME} beside the model: training smoothing blocks, {steps} batches, detector frozen")
    origin = f"trained here for {steps} batches, detector frozen"
    return {UNTRAINED: make_blocks(samples), AFTER: train_blocks(learning, steps)}, "overlap", origin


def check_blocks(file: Path, blocks: Mapping[int, BackgroundSmoothing], samples: Samples) -> None:
    """Refuse blocks of another network.

    Raises:
        CheckpointError: A level is missing, or has other channels or another stride.
    """
    maps = samples.recorder.head_inputs
    for place, block in blocks.items():
        known = (maps[place].shape[1], samples.strides[place]) if place < len(maps) else None
        if known != (block.channels, block.stride):
            here = f"{known[0]} channels at stride {known[1]}" if known else f"no level {place}"
            raise CheckpointError(
                f"'{file}' belongs to another network: its block for level {place} has {block.channels} channels at "
                f"stride {block.stride}, this model {here}. Give the file of the same run: smoothing=FILE."
            )


@torch.no_grad()
def measure_smoothing(
    samples: Samples, stages: Stages, bands: Bands, mask: Mask = "overlap"
) -> tuple[list[LevelSmoothing], int]:
    """Return the spectra of each level's background in each state, and the number of images.

    Args:
        samples: The detector and its images.
        stages: Blocks by state; the state before is added.
        bands: Where the bands lie. Bands by shares of energy are those of the background before.
        mask: How the foreground is known; see `foreground_cells`.
    """
    places = sorted(stages[AFTER])
    found: dict[tuple[int, str], list[BackgroundSpectrum]] = {}
    shapes: dict[int, tuple[int, int]] = {}
    images = 0
    for sample in samples:
        images += 1
        samples.model.predict(sample.image)  # type: ignore[operator]
        maps, batch = samples.recorder.head_inputs, batch_of([sample])
        for place in places:
            shapes[place] = (maps[place].shape[2], maps[place].shape[3])
            kept = kept_cells(batch, shapes[place], mask)
            spectra = _spectra(maps[place], kept, {state: blocks[place] for state, blocks in stages.items()}, bands)
            for state, spectrum in spectra:
                found.setdefault((place, state), []).append(spectrum)
    levels = [
        LevelSmoothing(
            samples.levels[place],
            samples.strides[place],
            stages[AFTER][place].reduce.kernel_size[0],
            ring_frequencies(*shapes[place]),
            {state: _average(found[place, state]) for state in (BEFORE, *stages)},
        )
        for place in places
    ]
    return levels, images


def _spectra(
    maps: Tensor, kept: Tensor, blocks: Mapping[str, BackgroundSmoothing], bands: Bands
) -> Iterator[tuple[str, BackgroundSpectrum]]:
    """Yield the spectrum of a level's background before, and behind each block; the bands are the same for all."""
    before = RealSpectrum(torch.where(kept, 0, maps))
    responses = bands.responses(before)
    yield BEFORE, background_spectrum(before, responses)
    for state, block in blocks.items():
        yield state, background_spectrum(RealSpectrum(torch.where(kept, 0, block(maps, kept))), responses)


def background_spectrum(spectrum: RealSpectrum, responses: list[Tensor]) -> BackgroundSpectrum:
    """Return the energy of a map in bands and by radial frequency.

    Args:
        spectrum: Of one map, (1, C, H, W).
        responses: Masks of the bands that broadcast to (H, W // 2 + 1).
    """
    height, width = spectrum.height, spectrum.width
    energy = bin_energy(spectrum)[0].double().cpu().numpy() / (spectrum.real.shape[1] * height * width)
    masks = [response.reshape(height, -1).double().cpu().numpy() for response in responses]
    bins = half_spectrum_multiplicity(width, spectrum.real).double().cpu().numpy() * np.ones((height, 1))
    ring = np.rint(radial_frequency(height, width) * min(height, width)).astype(int)
    rings = range(1, len(ring_frequencies(height, width)) + 1)
    curve = np.array([energy[ring == place].sum() / bins[ring == place].sum() for place in rings])
    return BackgroundSpectrum(np.array([(energy * mask).sum() for mask in masks]), float(energy[0, 0]), curve)


def ring_frequencies(height: int, width: int) -> np.ndarray:
    """Return the radial frequencies of a map's rings: 1, 2, ... cycles a shorter side, up to 0.5 cycles a cell.

    Zero frequency and the corners of the spectrum are on no ring.
    """
    side = min(height, width)
    return np.arange(1, side // 2 + 1) / side


def _average(spectra: list[BackgroundSpectrum]) -> BackgroundSpectrum:
    return BackgroundSpectrum(
        np.mean([spectrum.bands for spectrum in spectra], axis=0),
        float(np.mean([spectrum.mean for spectrum in spectra])),
        np.mean([spectrum.curve for spectrum in spectra], axis=0),
    )
