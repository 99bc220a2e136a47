"""The files of a report: their numbers against the protocols', and what is drawn."""

import csv
import json

import cv2
import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from tests.realdata import REAL_DATA
from uavdet.evaluation.aitod import AiTod
from uavdet.evaluation.coco import Coco
from uavdet.evaluation.protocol import Score
from uavdet.evaluation.report import protocol_table, write_report
from uavdet.evaluation.run_files import read_run
from uavdet.evaluation.truth import GroundTruth, read_coco_truth

TABLES = {"metrics", "detections", "pr_curves", "ap_by_size", "ap_by_class", "confusion_matrix"}
PLOTS = {"pr_curves_plot", "confusion_matrix_plot", "worst"}


def read_rows(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_images(folder, truth):
    folder.mkdir()
    for image in truth.images:
        cv2.imwrite(str(folder / image.name), np.full((image.size[1], image.size[0], 3), 90, np.uint8))
    return {image.name: folder / image.name for image in truth.images}


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        (GroundTruth([], {0: "a"}), {}),
        (GroundTruth([make_image("a.jpg")], {0: "a"}), {}),
        (GroundTruth([make_image("a.jpg")], {0: "a"}), {"a.jpg": make_detections([[0, 0, 9, 9]])}),
        (GroundTruth([make_image("a.jpg", [[0, 0, 9, 9]])], {0: "a"}), {}),
    ],
    ids=["no image", "nothing", "false detections alone", "missed objects alone"],
)
def test_reports_of_next_to_nothing_are_written(tmp_path, truth, found):
    written = write_report(tmp_path / "report", truth, found, [Coco().score(truth, found)], {}, settings={})
    assert written.keys() == TABLES | PLOTS
    assert all(path.exists() for path in written.values())
    assert read_rows(written["pr_curves"])[0]["mean"] in ("", "0.0")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    truth = random_truth(images=14, most=12, seed=3)
    found = noisy_detections(truth, 3, extra=4)
    scores = [Coco().score(truth, found), AiTod().score(truth, found)]
    files = write_images(folder / "images", truth)
    settings = {"name": "plain", "model": "x.pt", "seed": 5}
    return truth, found, scores, write_report(folder / "report", truth, found, scores, files, settings=settings)


def test_metrics_are_recorded_with_their_settings(report):
    truth, _, scores, written = report
    record = json.loads(written["metrics"].read_text())
    assert (record["name"], record["model"], record["seed"]) == ("plain", "x.pt", 5)
    assert (record["images"], record["objects"]) == (14, sum(int((~i.crowd).sum()) for i in truth.images))
    for score in scores:
        entry = record["protocols"][score.protocol]
        assert entry["rules"] == score.rules
        assert entry["per_class"]["a"]["AP"] == score.per_class["a"]["AP"]
        for name, value in score.metrics.items():
            assert entry["metrics"][name] == (None if np.isnan(value) else value)


def test_the_run_can_be_scored_again(report):
    _, _, scores, written = report
    run = read_run(written["metrics"].parent.parent)
    assert Coco().score(run.truth, run.detections).metrics == pytest.approx(scores[0].metrics, nan_ok=True)


def test_curves_have_the_average_precision_of_coco_at_half(report):
    _, _, scores, written = report
    rows = read_rows(written["pr_curves"])
    assert [float(row["recall"]) for row in rows] == pytest.approx(np.linspace(0, 1, 101))
    assert set(rows[0]) == {"recall", "mean", "a", "b", "c"}  # d has no object
    for name, expected in [("mean", scores[0].metrics)] + [(n, scores[0].per_class[n]) for n in "abc"]:
        assert np.mean([float(row[name]) for row in rows]) == pytest.approx(expected["AP50"])


def test_sizes_are_those_of_coco_and_aitod(report):
    truth, _, scores, written = report
    rows = {(row["protocol"], row["size"]): row for row in read_rows(written["ap_by_size"])}
    metrics = {score.protocol: score.metrics for score in scores}
    assert len(rows) == 4 + 5
    for (protocol, size), row in rows.items():
        suffix = "" if size == "all" else f"_{size}"
        for kind in ("AP", "AR"):
            value = metrics[protocol][kind + suffix]
            assert (row[kind] == "") if np.isnan(value) else float(row[kind]) == pytest.approx(value)
        high = float(row["to_px2"] or "inf")
        inside = [(i.areas >= float(row["from_px2"])) & (i.areas <= high) & ~i.crowd for i in truth.images]
        assert int(row["objects"]) == sum(int(part.sum()) for part in inside)


def test_classes_have_their_counts_and_scores(report):
    truth, _, scores, written = report
    rows = {row["class"]: row for row in read_rows(written["ap_by_class"])}
    assert list(rows) == ["a", "b", "c", "d"]
    assert (rows["d"]["objects"], rows["d"]["images"], rows["d"]["coco/AP"]) == ("0", "0", "")
    counts = [int(((i.classes == 1) & ~i.crowd).sum()) for i in truth.images]
    assert (int(rows["b"]["objects"]), int(rows["b"]["images"])) == (sum(counts), sum(c > 0 for c in counts))
    assert float(rows["b"]["aitod/AP50"]) == pytest.approx(scores[1].per_class["b"]["AP50"])


def test_the_confusion_matrix_holds_every_object_once(report):
    truth, _, _, written = report
    rows = read_rows(written["confusion_matrix"])
    names = ["a", "b", "c", "d", "background"]
    assert [row["annotated \\ detected"] for row in rows] == names
    for category, row in enumerate(rows[:4]):
        total = sum(int(((i.classes == category) & ~i.crowd).sum()) for i in truth.images)
        assert sum(int(row[name]) for name in names) == total


def test_the_worst_images_are_drawn_in_order(report):
    *_, written = report
    names = sorted(path.name for path in written["worst"].iterdir())
    assert [name[:3] for name in names] == [f"{place:02d}_" for place in range(1, 9)]
    assert all(cv2.imread(str(written["worst"] / name)).shape[1] == 1280 for name in names)
    for plot in ("pr_curves_plot", "confusion_matrix_plot"):
        assert min(cv2.imread(str(written[plot])).shape[:2]) > 500


def test_worst_images_have_the_most_errors_and_only_images_with_errors_and_files_are_drawn(tmp_path):
    box, other, far = [0, 0, 30, 30], [100, 100, 130, 130], [300, 300, 330, 330]
    images = [make_image("fine.jpg", [box]), make_image("two.jpg", [box, other]), make_image("one.jpg", [box])]
    truth = GroundTruth([*images, make_image("absent.jpg", [box])], {0: "a"})
    files = {name: file for name, file in write_images(tmp_path / "images", truth).items() if name != "absent.jpg"}
    found = {"fine.jpg": make_detections([box]), "one.jpg": make_detections([box, far], [1, 1])}
    stale = tmp_path / "report" / "worst" / "05_old.jpg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    written = write_report(tmp_path / "report", truth, found, [], files, settings={})
    assert sorted(path.name for path in written["worst"].iterdir()) == ["01_two.jpg", "02_one.jpg"]


def test_without_plots_only_tables_are_written(tmp_path):
    truth = random_truth(images=3)
    written = write_report(tmp_path, truth, noisy_detections(truth), [], {}, settings={}, plots=False)
    assert written.keys() == TABLES
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz", ".csv"}


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
def test_real_images_are_drawn_with_their_ignore_regions(tmp_path):
    folder = REAL_DATA / "hituav"
    names = dict(enumerate(["Person", "Car", "Bicycle", "OtherVehicle"]))
    truth = read_coco_truth(folder / "annotations" / "instances_val.json", names)
    found = noisy_detections(truth, 0, extra=1, noise=1)
    found = {k: make_detections(v.boxes, v.scores, v.classes % 4) for k, v in found.items()}
    files = {image.name: folder / "images" / "val" / image.name for image in truth.images}
    written = write_report(tmp_path, truth, found, [Coco().score(truth, found)], files, settings={})
    assert len(list(written["worst"].glob("*.jpg"))) == 8


def test_no_scores_make_no_table():
    assert protocol_table([]) == ""


def test_protocols_stand_side_by_side():
    scores = [
        Score("coco", {"AP": 0.29123, "AP_small": float("nan")}, rules="100 detections"),
        Score("visdrone", {"AP": 1.0, "AP_macro": 0.0}, rules="500 detections"),
    ]
    assert protocol_table(scores).splitlines() == [
        "in percent  coco  visdrone",
        "AP          29.1     100.0",
        "AP_small     n/a         -",
        "AP_macro       -       0.0",
        "n/a: no such object in the ground truth.",
        "coco:     100 detections",
        "visdrone: 500 detections",
    ]


def test_six_protocols_fit_in_120_columns():
    names = ["coco", "coco500", "aitod", "visdrone", "tinyperson", "ultralytics"]
    metrics = {"AP": 0.1, "AP50_reasonable_1000": 0.123456}
    table = protocol_table([Score(name, metrics, rules="many words about rules " * 12) for name in names])
    assert max(map(len, table.splitlines())) <= 120
    assert "aitod:       many words" in table
