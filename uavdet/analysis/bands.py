"""`uavdet analyze bands`: AP by size without one frequency band of the features, as in SET's Fig. 1.

The features that enter the head are transformed, one radial band is taken out (or kept alone), and the unchanged head
detects from what is left. Filters with a real response leave every phase as it is, so this is the paper's way of
filtering amplitudes and transforming back with the old phases.

The background alone can be filtered because the annotations say where objects are. A detector does not know that, and
objects that stay sharp before a dull background are easier to find whichever band is gone: a gain there speaks for a
band only where it is larger than that of the other bands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uavdet.analysis.bands_figure import draw_bands
from uavdet.analysis.bands_report import BACKGROUND, MAP, BandFilter, BandsReport
from uavdet.analysis.levels import choose_levels, head_strides
from uavdet.analysis.radial_bands import Bands, bands_of, bin_energy
from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import open_model
from uavdet.analysis.table import write_rows
from uavdet.analysis.variants import Variants, find_sized_protocols, score_variants
from uavdet.arguments import defaults_of
from uavdet.losses.ignore import ignored_cells, regions_of_batch
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.spectral_enhancement.foreground import foreground_cells
from uavdet.nn.spectral import RealSpectrum


def split_map(features: Tensor, bands: Bands) -> tuple[list[Tensor], Tensor]:
    """Return the bands of a map, which add up to it, and the energy of each.

    Args:
        features: (B, C, H, W).
        bands: Where they lie.

    Returns:
        A map (B, C, H, W) float32 for each band, lowest first, and (bands,) float64 energies, all images together.
    """
    spectrum = RealSpectrum(features)
    responses = bands.responses(spectrum)
    energy = bin_energy(spectrum).double()
    sums = [(energy * response.reshape(-1, *energy.shape[1:])).sum() for response in responses]
    return [spectrum.filter(response) for response in responses], torch.stack(sums)


class BandFilters(Variants):
    """The head on filtered features; the backbone and the neck run once for all variants.

    Args:
        filters: The variants.
        bands: Where the bands lie.
        keep: Keep the band alone, in the place of taking it out.

    Attributes:
        energy: (levels, bands) energy of every image seen, after a pass.
    """

    def __init__(self, filters: Sequence[BandFilter], bands: Bands, *, keep: bool = False) -> None:
        self.filters, self.bands, self.keep = filters, bands, keep
        self.names = [one.name for one in filters]
        self.energy = torch.zeros(0)

    def watch(self, network: nn.Module) -> None:
        """Record what enters the head of a network."""
        self.head: nn.Module = network.model[-1]  # type: ignore[index,assignment]
        self.recorder = FeatureRecorder(network)
        self.energy = torch.zeros(0)

    def outputs(self, batch: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield what the head makes of the features with one band taken out, or of one band."""
        features = self.recorder.head_inputs
        parts, energies = zip(*(split_map(maps, self.bands) for maps in features), strict=True)
        energy = torch.stack(energies).cpu()
        self.energy = energy if not len(self.energy) else self.energy + energy
        background = [~kept_cells(batch, (maps.shape[2], maps.shape[3])) for maps in features]
        for one in self.filters:
            filtered = list(features)
            for level in one.levels:
                where = background[level] if one.region == BACKGROUND else None
                filtered[level] = filter_region(features[level], parts[level][one.band], where, keep=self.keep)
            with self.recorder.paused():
                yield one.name, self.head(filtered)


def filter_region(features: Tensor, band: Tensor, where: Tensor | None, *, keep: bool = False) -> Tensor:
    """Return a map without one of its bands, or the band alone; of cells outside a region the map as it is.

    The whole map is transformed, objects and all: cutting them out first would put edges of the cut into the high
    band.

    Args:
        features: (B, C, H, W).
        band: (B, C, H, W), a part of it.
        where: (B, 1, H, W) bool, the region; None is everywhere.
        keep: Keep the band alone.
    """
    filtered = (band if keep else features - band).to(features.dtype)
    return filtered if where is None else torch.where(where, filtered, features)


def kept_cells(batch: Mapping[str, Any], shape: tuple[int, int]) -> Tensor:
    """Return the cells that are no background: those of objects, and of ignored regions, where objects may be.

    Args:
        batch: Of a validation: `img`, `bboxes`, `batch_idx`, `ignore_bboxes` and `ignore_batch_idx`.
        shape: (h, w) of the map.

    Returns:
        (B, 1, h, w) bool.
    """
    image = batch["img"]
    boxes, index = (batch[name].to(image.device) for name in ("bboxes", "batch_idx"))
    kept = foreground_cells(boxes, index.view(-1), len(image), shape)
    ignored = ignored_cells(shape, regions_of_batch(dict(batch)))
    return kept if ignored is None else kept | ignored


def analyze_bands(options: Mapping[str, Any]) -> BandsReport:
    """Score a model without, or with nothing but, each frequency band of its features.

    Args:
        options: `model`, `data`; optionally `levels`, `each_level`, `bands`, `region`, `band_filter`, `protocol`,
            `samples`, and what else of `uavdet val` mode `analyze` has.

    Raises:
        UsageError: The model is an exported file, or an option cannot be used.
        ConfigError: The dataset YAML cannot be used.
        CheckpointError: The model cannot be read.
        DataError: The data is damaged, or holds no object.
    """
    options = {**defaults_of("analyze"), **options}
    bands = bands_of(options["bands"])
    find_sized_protocols(options["protocol"])
    model = open_model(options["model"])
    strides = head_strides(model.module)  # type: ignore[arg-type]
    filters = plan_filters(options, strides, len(bands.names))
    variants = BandFilters(filters, bands, keep=options["band_filter"] == "keep")
    with new_results("bands", options) as folder:
        with tempfile.TemporaryDirectory() as scratch:
            scores = score_variants(model, variants, options, Path(scratch))
        energy = (variants.energy / variants.energy.sum(1, keepdim=True)).tolist()
        report = BandsReport(
            scores, filters, bands, strides, energy, variants.keep, options["model"], options["data"], folder
        )
        write_rows(folder / "bands.csv", report.rows(), report.rows()[0])
        for protocol in scores.metrics:
            draw_bands(folder / f"bands-{protocol}.png", report, protocol, describe_subject(options))
    return report


def plan_filters(options: Mapping[str, Any], strides: Sequence[int], bands: int) -> list[BandFilter]:
    """Return the variants that the options ask for: each band in each region, of all levels and then of each alone.

    Raises:
        UsageError: The model has no such level.
    """
    chosen = choose_levels(options["levels"], strides)
    sets = [tuple(chosen)]
    if options["each_level"] and len(chosen) > 1:
        sets += [(level,) for level in chosen]
    regions = [MAP, BACKGROUND] if options["region"] == "both" else [options["region"]]
    return [BandFilter(levels, region, band) for levels in sets for band in range(bands) for region in regions]
