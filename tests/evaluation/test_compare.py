"""`uavdet compare`: from run folders to tables and JSON, and the runs that it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.pycocotools_oracle import make_detections, make_image, noisy_detections, random_truth
from uavdet.cli import main
from uavdet.errors import DataError, UsageError
from uavdet.evaluation.coco import Coco
from uavdet.evaluation.compare import group_runs, read_runs
from uavdet.evaluation.report import write_report
from uavdet.evaluation.truth import GroundTruth

TRUTH = random_truth(images=8, most=10, seed=2)


def write_run(folder, truth=TRUTH, seed=0, name=None, noise=3.0):
    found = noisy_detections(truth, seed, noise=noise)
    scores = [Coco().score(truth, found)]
    write_report(folder / "report", truth, found, scores, {}, settings={"name": name}, plots=False)
    return str(folder)


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Let what a comparison writes lie in the test's folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path / "plain", seed=0, name="plain"),
        write_run(tmp_path / "plain2", seed=1, name="plain"),
        write_run(tmp_path / "set", seed=2, name="set", noise=1.0),
    ]


def fail(capsys, *words):
    """Return the exit code and the only line of the error."""
    code = main(["compare", *words])
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return code, error


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_runs_are_refused(capsys, runs, count):
    code, error = fail(capsys, *runs[:count])
    assert code == UsageError.exit_code
    assert "takes two or more" in error


def test_a_folder_that_is_no_run_is_refused(capsys, runs, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "does not exist" in fail(capsys, runs[0], str(tmp_path / "absent"))[1]
    code, error = fail(capsys, runs[0], str(tmp_path / "empty"))
    assert code == DataError.exit_code
    assert f"Run '{tmp_path / 'empty'}' has no report/metrics.json" in error


def test_a_run_given_twice_is_refused(capsys, runs):
    assert "is given twice" in fail(capsys, runs[0], runs[0] + "/")[1]
    assert "is given twice" in fail(capsys, runs[0], runs[0] + "/report")[1]


def test_unknown_protocols_are_refused(capsys, runs):
    code, error = fail(capsys, *runs, "protocol=coco,cocoo")
    assert code == UsageError.exit_code
    assert "Unknown protocol 'cocoo'. Did you mean 'coco" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: replace(t, images=t.images[1:]), "they have 8 and 7 images"),
        (
            lambda t: replace(t, images=[replace(t.images[0], name="z.jpg"), *t.images[1:]]),
            "one has the image 0.jpg where the other has z.jpg",
        ),
        (lambda t: replace(t, names={**t.names, 0: "z"}), r"their classes are \['a', 'b', 'c', 'd'\] and \['z'"),
        (
            lambda t: replace(t, images=[replace(t.images[0], boxes=t.images[0].boxes + 1), *t.images[1:]]),
            "the annotations of 0.jpg differ",
        ),
        (lambda t: replace(t, images=[*t.images[:-1], replace(t.images[-1], size=(9, 9))]), "their annotations differ"),
    ],
    ids=["fewer images", "other images", "classes", "boxes", "size"],
)
def test_runs_on_different_truths_are_refused(tmp_path, change, message):
    first, other = write_run(tmp_path / "a"), write_run(tmp_path / "b", change(TRUTH))
    with pytest.raises(DataError, match=rf"'{first}' and '{other}' were not scored on the same truth: {message}"):
        read_runs([first, other])


def test_runs_without_images_are_refused(tmp_path):
    empty = GroundTruth([], {0: "a"})
    with pytest.raises(DataError, match="has no image"):
        read_runs([write_run(tmp_path / "a", empty), write_run(tmp_path / "b", empty)])


def test_the_same_dataset_elsewhere_is_the_same_truth(tmp_path):
    moved = replace(TRUTH, images=[replace(image, name=f"/data/{image.name}") for image in TRUTH.images])
    assert len(read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", moved)])) == 2


def test_runs_of_one_name_are_one_arm_and_unnamed_ones_are_apart(runs, tmp_path):
    unnamed = [write_run(tmp_path / name) for name in ("val", "val2")]
    arms = group_runs(read_runs([*runs, *unnamed]))
    assert {name: len(members) for name, members in arms.items()} == {"plain": 2, "set": 1, "val": 1, "val2": 1}


def test_json_holds_arms_and_differences(capsys, runs):
    assert main(["compare", *runs, "samples=50", "seed=1", "json=True", "protocol=coco,aitod"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["runs"] == {"plain": runs[:2], "set": runs[2:]}
    assert (record["images"], record["samples"], record["seed"]) == (8, 50, 1)
    assert list(record["protocols"]) == ["coco", "aitod"]
    coco = record["protocols"]["coco"]
    values = [Coco().score(r.truth, r.detections).metrics["AP"] for r in read_runs(runs)]
    plain, other = coco["arms"]["plain"]["AP"], coco["arms"]["set"]["AP"]
    assert plain["values"] == pytest.approx(values[:2])
    assert plain["std"] == pytest.approx(np.std(values[:2], ddof=1))
    assert other["std"] is None
    difference = coco["differences"][0]
    assert (difference["arm"], difference["baseline"], difference["metric"]) == ("set", "plain", "AP")
    assert difference["difference"] == pytest.approx(values[2] - np.mean(values[:2]))
    low, high = difference["interval"]
    assert low <= difference["difference"] <= high


def test_identical_runs_differ_by_nothing(capsys, tmp_path):
    folders = [write_run(tmp_path / name, seed=4) for name in ("a", "b")]
    assert main(["compare", *folders, "samples=30", "json=True"]) == 0
    for difference in json.loads(capsys.readouterr().out)["protocols"]["coco"]["differences"]:
        if difference["samples"]:
            assert (difference["difference"], difference["interval"], difference["below_zero"]) == (0, [0, 0], 0)


def test_tables_for_people(capsys, runs):
    assert main(["compare", *runs, "samples=20", "protocol=coco,visdrone,ultralytics"]) == 0
    text = capsys.readouterr().out
    assert f"plain: 2 runs ({runs[0]}, {runs[1]})" in text
    assert "set - plain, 20 paired samples of images and runs" in text
    assert "±" in text
    assert text.count("No intervals") == 1
    assert "No intervals: ultralytics is not resampled" in text


def test_one_box_in_the_table_is_worked_out(capsys, tmp_path):
    """One object, found by one run and not by the other: 100 % and 0 %, in every sample."""
    box = [[0, 0, 10, 10]]
    truth = GroundTruth([make_image("a.jpg", box)], {0: "a"})
    for name, found in {"none": {}, "all": {"a.jpg": make_detections(box)}}.items():
        write_report(tmp_path / name / "report", truth, found, [], {}, settings={"name": name}, plots=False)
    assert main(["compare", str(tmp_path / "none"), str(tmp_path / "all"), "samples=9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "AP          0.00  100.00" in lines
    assert "AP        +100.00  [+100.00, +100.00]    0.0 %" in lines
    assert not any(line.startswith("AP_large") for line in lines)


def test_seeds_of_one_arm_have_no_difference(capsys, runs):
    assert main(["compare", *runs[:2], "samples=5"]) == 0
    assert "All runs are called 'plain'" in capsys.readouterr().out


def test_the_same_images_in_another_order_are_the_same_truth(capsys, runs, tmp_path):
    turned = GroundTruth(TRUTH.images[::-1], TRUTH.names, TRUTH.category_ids)
    again, found = tmp_path / "turned", noisy_detections(TRUTH, 0, noise=3.0)  # the detections of the first run
    scores = [Coco().score(turned, found)]
    write_report(again / "report", turned, found, scores, {}, settings={"name": "turned"}, plots=False)
    assert main(["compare", runs[0], str(again), "samples=20", "json=True"]) == 0
    differences = json.loads(capsys.readouterr().out)["protocols"]["coco"]["differences"]
    assert all(d["interval"] == [0, 0] for d in differences if d["samples"])


def test_runs_of_one_name_and_other_networks_are_no_arm(capsys, tmp_path):
    folders = []
    for index, network in enumerate(("so-detr-n.yaml", "rtdetr-n.yaml")):
        folder, found = tmp_path / f"r{index}", noisy_detections(TRUTH, index, noise=3.0)
        settings = {"name": "arm", "network": network}
        write_report(folder / "report", TRUTH, found, [Coco().score(TRUTH, found)], {}, settings=settings, plots=False)
        folders.append(str(folder))
    code, error = fail(capsys, *folders)
    assert code == UsageError.exit_code
    assert "network=so-detr-n.yaml and rtdetr-n.yaml" in error


def test_settings_that_differ_between_arms_are_named(capsys, tmp_path):
    for name, iou in (("all", None), ("fewer", 0.7)):
        found = noisy_detections(TRUTH, 0, noise=3.0)
        settings = {"name": name, "iou": iou, "conf": 0.001}
        write_report(tmp_path / name / "report", TRUTH, found, [], {}, settings=settings, plots=False)
    assert main(["compare", str(tmp_path / "all"), str(tmp_path / "fewer"), "samples=5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "iou differs: all None, fewer 0.7" in lines
    assert not any(line.startswith("conf differs") for line in lines)
