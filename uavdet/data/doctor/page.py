"""The diagnosis of a dataset as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from uavdet.data.doctor.boxes import AITOD_SIZES, COCO_SIZES, join_tables
from uavdet.data.doctor.duplicates import Pair
from uavdet.data.doctor.findings import count_kinds
from uavdet.data.doctor.pictures import draw_boxes, draw_heat_map, encode_picture, read_picture
from uavdet.data.doctor.plots import plot_classes, plot_counts, plot_sizes

if TYPE_CHECKING:
    from uavdet.data.doctor.diagnosis import Diagnosis

_LISTED_FINDINGS = 200
_SHOWN_PAIRS = 6
_SHOWN_SAMPLES = 3
_SAMPLE_SIDE, _PAIR_SIDE = 720, 360
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222a35; background: #fbfbfc; max-width: 1180px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #dde1e7; }
pre { background: #fff; border: 1px solid #dde1e7; padding: .8rem; overflow-x: auto; font-size: 12.5px; }
figure { display: inline-block; margin: .4rem .8rem .4rem 0; vertical-align: top; background: #fff;
         border: 1px solid #dde1e7; padding: .5rem; max-width: 100%; }
figure img, figure svg { max-width: 100%; height: auto; } figcaption { font-size: 12.5px; color: #525b68; }
li.stop { color: #9c1f18; } ul.places { font-size: 13px; overflow-wrap: anywhere; }
.good { color: #2c6e3f; } .bad { color: #9c1f18; }
"""


def write_page(diagnosis: Diagnosis) -> str:
    """Return the page: plots and pictures are in it, nothing is loaded from anywhere."""
    title = f"Dataset check: {diagnosis.config.yaml_file.name}"
    verdict = (
        '<p class="good">Training and scoring take this dataset as it is.</p>'
        if diagnosis.usable
        else '<p class="bad">Training or scoring refuses this dataset; the problems are listed below.</p>'
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(str(diagnosis.config.yaml_file))}</p>",
        verdict,
        "<h2>Advice</h2>",
        _list_advice(diagnosis),
        "<h2>Numbers</h2>",
        f"<pre>{escape(diagnosis.table())}</pre>",
        "<h2>Plots</h2>",
        *_draw_plots(diagnosis),
        *_draw_samples(diagnosis),
        *_draw_pairs(diagnosis),
        f"<h2>Problems ({len(diagnosis.findings):,})</h2>",
        _list_findings(diagnosis),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _list_advice(diagnosis: Diagnosis) -> str:
    advice = diagnosis.advice
    opening = "" if any(entry.change for entry in advice) else "<p>Nothing to change.</p>"
    items = "".join(
        f"<li>{'<b>' if a.change else ''}{escape(a.topic)}: {escape(a.action)}{'</b>' if a.change else ''}, because "
        f"{escape(a.reason)}.</li>"
        for a in advice
    )
    return f"{opening}<ul>{items}</ul>"


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(picture: np.ndarray, suffix: str = ".jpg") -> str:
    height, width = picture.shape[:2]
    return f'<img alt="" width="{width}" height="{height}" src="{encode_picture(picture, suffix)}">'


def _draw_plots(diagnosis: Diagnosis) -> list[str]:
    table = join_tables([split.table for split in diagnosis.splits.values()])
    if not len(table.boxes):
        return ["<p>There is no box to plot.</p>"]
    height, width = diagnosis.settings.imgsz
    sides = {
        "original pixels": np.sqrt(table.sides().prod(1)),
        f"at {width}x{height}": np.sqrt(table.sides((height, width)).prod(1)),
    }
    classes = {
        name: {label: count["objects"] for label, count in split["classes"].items()}
        for name, split in diagnosis.statistics.items()
        if split["images"]
    }
    return [
        _figure(plot_sizes(sides, _lines(AITOD_SIZES)), "Object sizes, with the limits of AI-TOD's classes"),
        _figure(plot_sizes(sides, _lines(COCO_SIZES)), "Object sizes, with the limits of COCO's classes"),
        _figure(plot_counts(table.counts, diagnosis.settings.queries), "Objects an image, all splits"),
        _figure(plot_classes(classes), "Objects of each class"),
        _figure(_image(draw_heat_map(table.boxes), ".png"), "Where the centres of objects lie in their images"),
    ]


def _lines(classes: dict[str, float]) -> dict[str, float]:
    """Return the lower limits of size classes as sides in pixels, without the lowest."""
    return {f"{name} {limit**0.5:.0f}": limit**0.5 for name, limit in classes.items() if limit}


def _draw_samples(diagnosis: Diagnosis) -> list[str]:
    """Return the images with the most objects and those with the smallest, boxes drawn."""
    samples = [
        (split.images[index], split.labels[index].rows[:, 1:].astype(np.float64))
        for split in diagnosis.splits.values()
        for index in split.readable
        if len(split.labels[index].rows)
    ]
    if not samples:
        return []
    dense = sorted(range(len(samples)), key=lambda i: -len(samples[i][1]))[:_SHOWN_SAMPLES]
    median_area = [float(np.median(boxes[:, 2:].prod(1))) * image.size[0] * image.size[1] for image, boxes in samples]
    small = [i for i in np.argsort(median_area, kind="stable") if i not in dense][:_SHOWN_SAMPLES]
    figures = ["<h2>Densest images, and those with the smallest objects</h2>"]
    for index in [*dense, *small]:
        image, boxes = samples[index]
        picture = read_picture(image.file, image.size, _SAMPLE_SIDE)
        if picture is not None:
            caption = f"{image.file}: {len(boxes)} objects, median side {median_area[index] ** 0.5:.1f} px"
            figures.append(_figure(_image(draw_boxes(picture, boxes)), caption))
    return figures


def _draw_pairs(diagnosis: Diagnosis) -> list[str]:
    found = diagnosis.duplicates
    pairs = [*found.across[:_SHOWN_PAIRS], *found.within][:_SHOWN_PAIRS]
    if not pairs and not found.identical:
        return []
    figures = ["<h2>Images that look alike, those of different splits first</h2>"]
    figures += [figure for pair in pairs if (figure := _draw_pair(diagnosis, pair))]
    groups = [", ".join(str(diagnosis.images[index].file) for index in group) for group in found.identical]
    return [*figures, _bullets((f"identical: {group}" for group in groups[:_LISTED_FINDINGS]), len(groups))]


def _draw_pair(diagnosis: Diagnosis, pair: Pair) -> str:
    chosen = [diagnosis.images[pair.first], diagnosis.images[pair.second]]
    pictures = [read_picture(image.file, image.size, _PAIR_SIDE) for image in chosen]
    shown = "".join(_image(picture) for picture in pictures if picture is not None)
    splits = [diagnosis.image_splits[pair.first], diagnosis.image_splits[pair.second]]
    names = " and ".join(f"{split}: {image.file.name}" for split, image in zip(splits, chosen, strict=True))
    return _figure(shown, f"{names} ({pair.distance} of 64 bits differ, correlation {pair.correlation:.2f})")


def _list_findings(diagnosis: Diagnosis) -> str:
    if not diagnosis.findings:
        return "<p>None.</p>"
    counts = ", ".join(f"{kind}: {count:,}" for kind, count in count_kinds(diagnosis.findings).items())
    items = "".join(
        f'<li class="{"stop" if f.stops else "odd"}">{escape(f.split)}, {escape(f.kind)}: {escape(str(f))}</li>'
        for f in diagnosis.findings[:_LISTED_FINDINGS]
    )
    more = len(diagnosis.findings) - _LISTED_FINDINGS
    rest = f"<p>and {more:,} more, all in doctor.json.</p>" if more > 0 else ""
    return f'<p>{escape(counts)}</p><ul class="places">{items}</ul>{rest}'


def _bullets(lines: Iterable[str], total: int) -> str:
    shown = [f"<li>{escape(line)}</li>" for line in lines]
    more = f"<li>and {total - len(shown)} more</li>" if total > len(shown) else ""
    return f'<ul class="places">{"".join(shown)}{more}</ul>' if shown else ""
