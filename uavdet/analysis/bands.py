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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uavdet.analysis.bands_figure import draw_bands
from uavdet.analysis.levels import choose_levels, head_strides, level_names
from uavdet.analysis.radial_bands import Bands, bands_of, bin_energy
from uavdet.analysis.results import describe_subject, new_results
from uavdet.analysis.samples import open_model
from uavdet.analysis.table import write_rows
from uavdet.analysis.variants import INTACT, Variants, VariantScores, find_sized_protocols, score_variants
from uavdet.arguments import defaults_of
from uavdet.losses.ignore import ignored_cells, regions_of_batch
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.spectral_enhancement.foreground import foreground_cells
from uavdet.nn.spectral import RealSpectrum

MAP, BACKGROUND = "map", "background"


@dataclass(frozen=True)
class BandFilter:
    """One variant: a band of some levels, taken out or kept alone.

    Attributes:
        levels: Places of the levels, finest first.
        region: Where: the whole map, or the background alone.
        band: Place of the band, lowest first.
    """

    levels: tuple[int, ...]
    region: str
    band: int

    @property
    def name(self) -> str:
        """A name that no other filter of a run has."""
        return f"{','.join(map(str, self.levels))}/{self.region}/{self.band}"


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


@dataclass(frozen=True)
class BandsReport:
    """What was measured.

    Attributes:
        scores: Of the intact model and of every filter.
        filters: The variants.
        bands: Where the bands lie.
        strides: Of the model's levels, in pixels.
        energy: (levels, bands) share of each level's energy.
        keep: Whether the band was kept alone.
        model: The model, as given.
        data: The dataset, as given.
        folder: Where the figures and `bands.csv` are.
    """

    scores: VariantScores
    filters: list[BandFilter]
    bands: Bands
    strides: list[int]
    energy: list[list[float]]
    keep: bool
    model: str
    data: str
    folder: Path

    def levels_of(self, one: BandFilter) -> str:
        """Return the levels of a filter as text."""
        return level_names(one.levels, self.strides)

    def energy_of(self, one: BandFilter) -> float:
        """Return the share of the energy that a filter's band has, a mean over its levels."""
        return sum(self.energy[level][one.band] for level in one.levels) / len(one.levels)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each protocol, filter and size; values in [0, 1], None where there is none."""
        found = []
        for protocol, metrics in self.scores.metrics.items():
            intact = self.scores.of(protocol, INTACT)
            for one in self.filters:
                scores = self.scores.of(protocol, one.name)
                for metric in metrics:
                    score = scores[metric.name]
                    found.append(
                        {
                            "protocol": protocol,
                            "levels": self.levels_of(one),
                            "region": one.region,
                            "band": self.bands.names[one.band],
                            "from_to": f"{self.bands.describe(one.band)} {self.bands.unit}",
                            "energy_share": self.energy_of(one),
                            "metric": metric.name,
                            "objects": metric.objects,
                            "intact": intact[metric.name].value,
                            "filtered": score.value,
                            "difference": score.difference,
                            "low": score.low,
                            "high": score.high,
                        }
                    )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "model": self.model,
            "data": self.data,
            "images": self.scores.images,
            "filter": "keep" if self.keep else "remove",
            "bands": [f"{n}: {self.bands.describe(i)} {self.bands.unit}" for i, n in enumerate(self.bands.names)],
            "energy": {f"stride {s}": shares for s, shares in zip(self.strides, self.energy, strict=True)},
            "rows": self.rows(),
            "save_dir": self.folder,
        }

    def table(self) -> str:
        """Return the differences as text for people."""
        lines = []
        verb = "with nothing but" if self.keep else "without"
        for protocol, metrics in self.scores.metrics.items():
            intact = self.scores.of(protocol, INTACT)
            lines.append(f"{protocol}, {self.scores.images} images: AP in %, and points from it {verb} a band")
            lines.append(_line(["", *(metric.size for metric in metrics)]))
            lines.append(_line(["intact", *(f"{100 * intact[metric.name].value:.1f}" for metric in metrics)]))
            for one in self.filters:
                scores = self.scores.of(protocol, one.name)
                head = f"{self.bands.names[one.band]}, {one.region}, {self.levels_of(one)}"
                lines.append(_line([head, *(f"{100 * scores[metric.name].difference:+.1f}" for metric in metrics)]))
            lines.append("")
        return "\n".join([*lines, f"Figures and bands.csv (with 95 % intervals): {self.folder}"])


def _line(cells: Sequence[str]) -> str:
    return f"{cells[0]:36} " + " ".join(f"{cell:>10}" for cell in cells[1:])


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
