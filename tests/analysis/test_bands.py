"""`uavdet analyze bands`: the filtered passes against those of the plain network, the report, and what is refused."""

import copy
import csv
import json

import cv2
import numpy as np
import pytest
import torch

from tests.analysis.annotated import write_images
from tests.analysis.detectors import write_detector
from uavdet.analysis.bands import BandFilter, BandFilters, analyze_bands, kept_cells, plan_filters
from uavdet.analysis.radial_bands import FixedBands
from uavdet.analysis.variants import INTACT, VariantScoring, score_variants
from uavdet.cli import main
from uavdet.data.scenes import SceneConfig, write_dataset
from uavdet.errors import DataError, UsageError
from uavdet.model import UAVDet

RUN = {"imgsz": 256, "batch": 3, "device": "cpu", "samples": 20}
MODEL = "so-detr-n-demo"
PROTOCOLS = ["aitod", "tinyperson"]
CLASSES = {"person": "Person", "car": "Car", "bicycle": "Bicycle", "truck": "OtherVehicle"}


class EmptyAndWhole(FixedBands):
    """A low band of everything, and a high one of nothing: no frequency is above 0.71."""

    def __init__(self):
        super().__init__((0.8,))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Return the data.yaml of four scenes in which the bundled weights find something."""
    config = SceneConfig(seed=5, size=(320, 256), objects=12, min_size=8, max_size=48)
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"val": 4}, config, CLASSES, ("thermal",))


@pytest.fixture(scope="module")
def report(scenes, tmp_path_factory):
    """Return the report of every band, region and level."""
    options = {"model": MODEL, "data": str(scenes), "project": str(tmp_path_factory.mktemp("bands"))}
    return analyze_bands({**RUN, **options, "each_level": True, "levels": ["8", "32"], "protocol": PROTOCOLS})


def test_removing_nothing_gives_the_intact_ap_bit_for_bit(scenes, tmp_path):
    variants = BandFilters([BandFilter((0, 1, 2), region, 1) for region in ("map", "background")], EmptyAndWhole())
    options = {**RUN, "data": str(scenes), "protocol": ["aitod"]}
    scores = score_variants(UAVDet(MODEL), variants, options, tmp_path)
    intact = scores.of("aitod", INTACT)
    assert intact["AP"].value > 0
    for name in variants.names:
        filtered = scores.of("aitod", name)
        assert [s.value for s in filtered.values()] == [s.value for s in intact.values()]
        assert all((s.difference, s.low, s.high) == (0, 0, 0) for s in filtered.values())


def test_the_intact_model_scores_as_val_does(scenes, tmp_path, report):
    options = {"imgsz": 256, "batch": 3, "device": "cpu", "plots": False, "verbose": False, "protocol": ["aitod"]}
    metrics = UAVDet(MODEL).val(data=scenes, project=tmp_path, **options)
    for name, score in report.scores.of("aitod", INTACT).items():
        assert score.value == pytest.approx(metrics[f"aitod/{name}"], abs=1e-12)


@pytest.mark.parametrize("name", ["rtdetr-l.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_stock_detectors_run_from_their_features(name, tiny_data, tmp_path):
    """The head on unfiltered features detects what the whole network detects, by way of the same post-processing."""
    file = write_detector(name, tmp_path / "x.pt")
    variants = BandFilters([BandFilter((0, 1, 2), "map", 1)], EmptyAndWhole())
    opened = UAVDet(file)
    options = {"data": tiny_data, "imgsz": 64, "batch": 3, "device": "cpu", "conf": 1e-5, "plots": False}
    validator = opened.make_validator(tmp_path, VariantScoring, **options)
    validator.variants = variants
    validator(model=copy.deepcopy(opened.module))
    found = validator.variant_detections[variants.names[0]]
    assert sum(len(one.scores) for one in found.values()) > 0
    for image, own in validator.detections.items():
        assert np.array_equal(own.boxes, found[image].boxes)
        assert np.array_equal(own.scores, found[image].scores)
        assert np.array_equal(own.classes, found[image].classes)


def test_a_stock_yolo_is_scored_on_squares_alone(tiny_data, tmp_path):
    variants = BandFilters([BandFilter((0,), "map", 0)], FixedBands())
    options = {**RUN, "data": str(tiny_data), "protocol": ["aitod"], "imgsz": [64, 128]}
    with pytest.raises(UsageError, match=r"imgsz=64,128 is not usable: a stock YOLO.*Give one side: imgsz=128"):
        score_variants(UAVDet("yolo11n.yaml"), variants, options, tmp_path)


def test_filters_reach_the_head_of_the_chosen_levels_only():
    network = UAVDet(MODEL).module.eval()
    variants = BandFilters([BandFilter((1,), "map", 0), BandFilter((0, 2), "background", 2)], FixedBands())
    variants.watch(network)
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.25]])
    batch = {"img": torch.rand(2, 3, 64, 64), "bboxes": boxes, "batch_idx": torch.ones(1)}
    with torch.no_grad():
        network(batch["img"])
        features = variants.recorder.head_inputs
        seen = []
        hook = variants.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        names = [name for name, _ in variants.outputs(batch)]
        hook.remove()
    assert names == ["1/map/0", "0,2/background/2"]
    assert [[torch.equal(a, b) for a, b in zip(maps, features, strict=True)] for maps in seen] == [
        [True, False, True],
        [False, True, False],
    ]
    # of the second image the cells of the object, rows 3 to 4 and columns 2 to 5 of 8, are as they were
    same = (seen[1][0] == features[0]).all(1)
    assert same[1, 3:5, 2:6].all()
    assert not same[1, 0].any()
    assert not same[0].any()
    # the recorder still has the features of the network
    assert all(a is b for a, b in zip(variants.recorder.head_inputs, features, strict=True))


def test_no_object_is_background_and_no_ignored_region():
    batch = {
        "img": torch.zeros(2, 3, 64, 64),
        "bboxes": torch.tensor([[0.25, 0.25, 0.25, 0.25]]),
        "batch_idx": torch.zeros(1),
        "ignore_bboxes": torch.tensor([[0.5, 0.5, 1.0, 1.0]]),
        "ignore_batch_idx": torch.ones(1),
    }
    kept = kept_cells(batch, (8, 8))
    expected = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    expected[0, :, 1:3, 1:3] = True
    expected[1, :, 4:, 4:] = True
    assert torch.equal(kept, expected)
    empty = {"img": batch["img"], "bboxes": torch.zeros(0, 4), "batch_idx": torch.zeros(0)}
    assert not kept_cells(empty, (8, 8)).any()


def test_filters_are_each_band_in_each_region_of_all_levels_then_of_each():
    options = {"levels": ["8", "32"], "each_level": True, "region": "both"}
    filters = plan_filters(options, [8, 16, 32], 2)
    assert [one.name for one in filters[:4]] == ["0,2/map/0", "0,2/background/0", "0,2/map/1", "0,2/background/1"]
    assert [one.levels for one in filters[4::4]] == [(0,), (2,)]
    assert len(plan_filters({"levels": ["8"], "each_level": True, "region": "map"}, [8, 16, 32], 3)) == 3


def test_the_csv_has_a_row_for_each_filter_and_size(report):
    rows = list(csv.DictReader((report.folder / "bands.csv").open()))
    assert len(rows) == len(report.rows()) > 0
    aitod = [row for row in rows if row["protocol"] == "aitod"]
    sizes = [metric.name for metric in report.scores.metrics["aitod"]]
    assert len(aitod) == 3 * 3 * 2 * len(sizes)
    assert {row["levels"] for row in rows} == {"P3+P5", "P3", "P5"}
    for row in aitod:
        difference = float(row["filtered"]) - float(row["intact"])
        assert float(row["difference"]) == pytest.approx(difference, abs=2e-6)
    shares = {row["band"]: float(row["energy_share"]) for row in aitod if row["levels"] == "P3"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


def test_objects_are_counted_by_size(report, scenes):
    annotations = json.loads((scenes.parent / "annotations" / "instances_val.json").read_text())["annotations"]
    sides = np.sqrt([one["area"] for one in annotations if not one.get("iscrowd")])
    counted = {metric.size: metric.objects for metric in report.scores.metrics["aitod"]}
    assert counted["all"] == len(sides)
    assert counted["small"] == ((sides >= 16) & (sides <= 32)).sum()


def test_figures_are_drawn_for_each_protocol(report):
    for protocol in PROTOCOLS:
        picture = cv2.imread(str(report.folder / f"bands-{protocol}.png"))
        assert picture.std() > 5
    table = report.table()
    assert "high, background, P5" in table
    assert "tinyperson, 4 images: AP in %, and points from it without a band" in table


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("bands", ["energy", "0.2"])
def test_the_command_prints_json(bands, scenes, tmp_path, capsys):
    words = ["analyze", "bands", f"model={MODEL}", f"data={scenes}", f"project={tmp_path}", "imgsz=128"]
    words += [f"bands={bands}", "band_filter=keep", "levels=16", "region=map", "samples=10", "device=cpu", "json=True"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["filter"] == "keep"
    assert len(printed["bands"]) == (4 if bands == "energy" else 2)
    assert {row["levels"] for row in printed["rows"]} == {"P4"}
    assert {path.name for path in (tmp_path / "bands").iterdir()} == {"bands.csv", "bands-aitod.png"}


def test_data_without_objects_is_refused(tmp_path):
    data = write_images(tmp_path, {"a": [], "b": []}, CLASSES.values())
    options = {**RUN, "model": MODEL, "data": str(data), "project": str(tmp_path / "r")}
    with pytest.raises(DataError, match=r"data.yaml: 'val:' has no object, so there is nothing to score"):
        analyze_bands(options)
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Return data that cannot be used, by its word: of grey images, and with a class that there is not."""
    folder = tmp_path_factory.mktemp("refused")
    grey = write_images(folder / "grey", {"a": [(0, 0.5, 0.5, 0.1, 0.1)]}, CLASSES.values(), channels=1)
    bad = write_images(folder / "bad", {"a": [(7, 0.5, 0.5, 0.1, 0.1)]}, CLASSES.values())
    return {"data=GREY": f"data={grey}", "data=BAD": f"data={bad}"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["model=MODEL"], 2, "No dataset was given"),
        (["model=MODEL", "data=gone.yaml"], 2, "gone.yaml"),
        (["model=MODEL", "data=DATA", "split=test"], 2, "has no 'test:' entry"),
        (["model=MODEL", "data=GREY"], 2, "The model takes images of 3 channels, "),
        (["model=MODEL", "data=BAD"], 3, "error: val: 1 of 1 images cannot be used"),
        (["model=MODEL", "data=DATA", "levels=7"], 2, "levels=7 is no level of the model"),
        (["model=MODEL", "data=DATA", "bands=0.4,0.1"], 2, "edges that rise between 0 and 0.5"),
        (["model=MODEL", "data=DATA", "bands=middle"], 2, "It is thirds, energy, or edges in cycles a cell"),
        (["model=MODEL", "data=DATA", "region=sky"], 2, "one of both, map, background"),
        (["model=MODEL", "data=DATA", "band_filter=blur"], 2, "one of remove, keep"),
        (["model=MODEL", "data=DATA", "protocol=visdrone"], 2, "has no AP by size of objects"),
        (["model=MODEL", "data=DATA", "protocol=cocoo"], 2, "Did you mean 'coco'"),
        (["model=MODEL", "data=DATA", "source=x"], 2, "'source' means nothing to analyze bands"),
        (["model=gone.pt", "data=DATA"], 4, "'gone.pt' does not exist"),
        (["model=x.onnx", "data=DATA"], 4, "x.onnx"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    words, code, message, scenes, refused, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    known = {"model=MODEL": f"model={MODEL}", "data=DATA": f"data={scenes}", **refused}
    assert main(["analyze", "bands", *(known.get(word, word) for word in words)]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert not list(tmp_path.iterdir())
