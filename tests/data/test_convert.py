"""`uavdet convert` from end to end: real folders, tiles, bad input, and nothing half-done."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.data.formats.pictures import save_picture, save_text
from tests.realdata import REAL_DATA
from uavdet.assets import asset_folder, read_yaml
from uavdet.cli import main
from uavdet.data.config import load_data_config
from uavdet.data.convert import convert
from uavdet.data.formats.base import available_formats
from uavdet.data.labels import list_images, read_split
from uavdet.errors import DataError, UsageError
from uavdet.evaluation.truth import read_coco_truth

needs_real_data = pytest.mark.skipif(REAL_DATA is None, reason="no real drone images at hand")


@pytest.fixture
def source(tmp_path):
    """Return a VisDrone folder of one image: a car, one over the border, one without area, others, a region."""
    save_picture(tmp_path / "in" / "images" / "a.jpg", 300, 100)
    rows = "10,20,30,40,1,4,0,1\n290,90,30,40,1,4,1,0\n5,5,0,4,1,1,0,0\n1,2,3,4,1,11,0,0\n0,0,50,60,0,0,0,0\n"
    save_text(tmp_path / "in" / "annotations" / "a.txt", rows)
    return tmp_path / "in"


def test_a_conversion_is_what_train_and_val_take(source, tmp_path):
    report = convert("visdrone", source, tmp_path / "out")
    counts = report.splits["val"]
    assert (counts.images, counts.objects, counts.ignored, counts.ignore_regions, counts.excluded) == (1, 2, 0, 1, 1)
    assert report.drops.places == {("val", "box without area"): f"{source / 'annotations' / 'a.txt'} line 3"}
    data = load_data_config(report.data)
    labels = read_split(list_images(data.require("val")), data.nc)
    assert labels.problems == []
    # (10 + 15) / 300, (20 + 20) / 100, 30 / 300, 40 / 100; and 10 x 10 px of the second
    expected = [[3, 25 / 300, 0.4, 0.1, 0.4], [3, 295 / 300, 0.95, 10 / 300, 0.1]]
    np.testing.assert_allclose(labels.images[0].rows, np.array(expected), atol=1e-7)
    truth = read_coco_truth(data.annotations["val"], data.names)
    np.testing.assert_array_equal(truth.images[0].boxes, [[10, 20, 40, 60], [290, 90, 320, 130]])
    np.testing.assert_array_equal(truth.images[0].areas, [1200, 1200])
    np.testing.assert_array_equal(truth.images[0].ignore_regions, [[0, 0, 50, 60]])
    assert (tmp_path / "out" / "images" / "val" / "a.jpg").readlink() == source / "images" / "a.jpg"
    head = report.data.read_text().splitlines()[:3]
    assert head[0] == "# VisDrone-DET, converted: uavdet convert format=visdrone"
    assert head[1] == "# url: https://github.com/VisDrone/VisDrone-Dataset"


def test_the_command_prints_a_table(source, tmp_path, capsys):
    assert main(["convert", "format=visdrone", f"source={source}", f"out={tmp_path / 'out'}", "link=False"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["split", "images", "objects", "ignored", "ignore", "regions", "excluded", "left", "out"]
    assert lines[3].split() == ["val", "1", "2", "0", "1", "1", "1"]
    assert ["car", "2"] in [line.split() for line in lines]
    assert f"Left out, val: 1 x box without area; first: {source / 'annotations' / 'a.txt'} line 3" in lines
    assert "val: 1 x object that reaches over the border: clipped in the label file, as annotated in the JSON" in lines
    assert lines[-1] == f"Use it with data={tmp_path / 'out' / 'data.yaml'}."
    assert not (tmp_path / "out" / "images" / "val" / "a.jpg").is_symlink()


def test_the_command_prints_json(source, tmp_path, capsys):
    assert main(["convert", "format=visdrone", f"source={source}", f"out={tmp_path / 'out'}", "json=True"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["splits"]["val"]["classes"]["car"] == 2
    assert result["dropped"] == [
        {
            "split": "val",
            "reason": "box without area",
            "count": 1,
            "first": f"{source / 'annotations' / 'a.txt'} line 3",
        }
    ]
    assert (result["format"], result["names"][0]) == ("visdrone", "pedestrian")


def test_strict_fails_on_any_drop_and_writes_nothing(source, tmp_path, capsys):
    words = ["convert", "format=visdrone", f"source={source}", f"out={tmp_path / 'out'}", "strict=True"]
    assert main(words) == 3
    assert "val: 1 x box without area (first: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    save_text(source / "annotations" / "a.txt", "10,20,30,40,1,4,0,1\n")
    assert main(words) == 0


def test_a_failure_leaves_nothing_half_done(source, tmp_path):
    save_picture(source / "images" / "b.jpg")
    save_text(source / "annotations" / "b.txt", "1,2,3\n")
    before = sorted(source.rglob("*"))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"b.txt line 1: 3 fields"):
        convert("visdrone", source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert sorted(source.rglob("*")) == before
    save_text(source / "annotations" / "b.txt", "")
    assert convert("visdrone", source, tmp_path / "out").splits["val"].images == 2  # an empty folder is taken


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"format": None}, UsageError, "No format was given"),
        ({"format": "visdrome"}, UsageError, "Unknown format 'visdrome'. Did you mean 'visdrone'"),
        ({"source": None}, UsageError, "No source was given"),
        ({"source": "nowhere"}, DataError, "nowhere does not exist. VisDrone-DET has VisDrone2019-DET-"),
        ({"source": "empty"}, DataError, r"Looked for: VisDrone2019-DET-.*Found: nothing"),
        ({"out": None}, UsageError, "No folder to write was given"),
        ({"out": "full"}, UsageError, "full is not empty"),
        ({"out": "full/x"}, UsageError, "x is a file"),
        ({"out": "in/new"}, UsageError, "lies inside the source"),
        ({"out": "full/x/y"}, DataError, "cannot be written to"),
        ({"tile": 100, "overlap": 100}, UsageError, "overlap=100 is not smaller than the tile"),
        ({"tile": (100, 9), "overlap": 1}, UsageError, "tile=100,9 is too small: images have at least 10 pixels"),
        (
            {"area": "polygon"},
            UsageError,
            "format=visdrone has no areas but those of boxes. area=polygon is for .*coco",
        ),
        ({"area": "mask"}, UsageError, "area='mask' is unknown"),
    ],
)
def test_bad_settings_are_refused(source, tmp_path, monkeypatch, changes, kind, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    save_text(tmp_path / "full" / "x", "")
    with pytest.raises(kind, match=message):
        convert(**{"format": "visdrone", "source": source, "out": "out", **changes})
    assert not (tmp_path / "out").exists()


def test_tiles_are_cut_between_reader_and_writer(source, tmp_path):
    save_text(source / "annotations" / "a.txt", "10,20,30,40,1,4,0,1\n90,10,20,20,1,5,0,0\n85,50,20,20,1,1,0,0\n")
    report = convert("visdrone", source, tmp_path / "out", tile=[100, 100], overlap=20)
    counts = report.splits["val"]
    # tiles begin at 0, 80, 160 and 200; the van is half in the first, the pedestrian three quarters
    assert (counts.images, counts.objects, counts.ignore_regions, counts.cut) == (4, 4, 1, 1)
    assert counts.classes == {"car": 1, "van": 1, "pedestrian": 2}
    assert "val: 1 x object of which a tile shows less than 70 %" in report.table()
    assert "tile=100,100 overlap=20" in report.data.read_text()
    assert sorted(path.name for path in (tmp_path / "out" / "images" / "val").iterdir()) == [
        "a__0_0.png", "a__160_0.png", "a__200_0.png", "a__80_0.png",
    ]  # fmt: skip
    data = load_data_config(report.data)
    labels = read_split(list_images(data.require("val")), data.nc)
    assert (labels.problems, [len(image.rows) for image in labels.images]) == ([], [2, 0, 0, 2])
    assert labels.images[0].shape == (100, 100)
    truth = read_coco_truth(data.annotations["val"], data.names)
    np.testing.assert_array_equal(truth.images[0].boxes, [[10, 20, 40, 60], [85, 50, 100, 70]])
    np.testing.assert_array_equal(truth.images[0].ignore_regions, [[90, 10, 100, 30]])


def test_images_without_annotations_and_splits_without_objects_are_noted(tmp_path):
    save_picture(tmp_path / "in" / "VisDrone2019-DET-test-challenge" / "images" / "a.jpg")
    save_picture(tmp_path / "in" / "VisDrone2019-DET-train" / "images" / "a.jpg")
    save_text(tmp_path / "in" / "VisDrone2019-DET-train" / "annotations" / "a.txt", "")
    report = convert("visdrone", tmp_path / "in", tmp_path / "out")
    assert report.notes == [
        "train has no objects at all: nothing can be learned or scored there.",
        "test-challenge has no annotations: its images lie in images/test-challenge, outside of data.yaml.",
    ]
    assert list(load_data_config(report.data).images) == ["train"]


def test_images_of_two_splits_are_noted(tmp_path):
    for stem in ("a", "b"):
        save_picture(tmp_path / "in" / "JPEGImages" / f"{stem}.jpg")
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        xml = f"<annotation><object><name>car</name>{box}</object></annotation>"
        save_text(tmp_path / "in" / "Annotations" / f"{stem}.xml", xml)
    save_text(tmp_path / "in" / "ImageSets" / "Main" / "trainval.txt", "a\nb\n")
    save_text(tmp_path / "in" / "ImageSets" / "Main" / "val.txt", "b\n")
    (note,) = convert("voc", tmp_path / "in", tmp_path / "out").notes
    file = tmp_path / "in" / "JPEGImages" / "b.jpg"
    assert note == f"1 of 1 images of val are in train, too (first: {file}): to train there is to have seen them."


def test_what_a_killed_conversion_left_is_named(source, tmp_path):
    (tmp_path / ".out-1.part").mkdir()
    report = convert("visdrone", source, tmp_path / "out")
    assert report.notes == [f"{tmp_path / '.out-1.part'} is of another conversion. Delete it, unless that still runs."]
    assert ".part" not in report.data.read_text()
    assert (tmp_path / ".out-1.part").is_dir()


@pytest.mark.parametrize("name", sorted(available_formats()))
def test_every_dataset_has_a_yaml_in_native_order(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind = available_formats()[name]
    assert kind.layout
    if kind.dataset:
        file = asset_folder("datasets") / f"{kind.dataset}.yaml"
        described = read_yaml(file)
        assert {"url", "licence", "layout", "format", "annotations"} <= set(described)
        assert described["format"] in available_formats()
        if kind.classes and described["format"] == name:
            assert tuple(load_data_config(file).names.values()) == kind.classes


@needs_real_data
def test_real_visdrone_rows_come_out_field_by_field(tmp_path):
    folder = REAL_DATA / "visdrone_format"
    report = convert("visdrone", folder, tmp_path / "out", strict=True)
    assert (report.splits["val"].images, len(report.drops)) == (24, 0)
    data = load_data_config(report.data)
    content = json.loads((tmp_path / "out" / "annotations" / "instances_val.json").read_text())
    labels = {entry.image.stem: entry for entry in read_split(list_images(data.require("val")), data.nc).images}
    flags = ("truncation", "occlusion", "score")
    for image in content["images"]:
        stem = image["file_name"].removesuffix(".jpg")
        text = (folder / "annotations" / f"{stem}.txt").read_text()
        rows = [[int(n) for n in line.rstrip(",").split(",")] for line in text.split()]
        sections = ("annotations", "ignore_regions", "excluded")
        mine = {key: [e for e in content[key] if e["image_id"] == image["id"]] for key in sections}
        objects = [row for row in rows if 1 <= row[5] <= 10]
        assert [(e["bbox"], e["category_id"], *(e[f] for f in flags)) for e in mine["annotations"]] == [
            (row[:4], row[5], row[6], row[7], row[4]) for row in objects
        ]
        assert [e["bbox"] for e in mine["ignore_regions"]] == [row[:4] for row in rows if row[5] == 0]
        assert [e["bbox"] for e in mine["excluded"]] == [row[:4] for row in rows if row[5] == 11]
        assert len(labels[stem].rows) == len({tuple(row[:6]) for row in objects if row[4]})


@needs_real_data
@pytest.mark.parametrize("form", ["hit-uav", "coco"])
def test_real_thermal_images_come_out_field_by_field(tmp_path, form):
    folder = REAL_DATA / "hituav"
    report = convert(form, folder, tmp_path / "out", strict=True)
    data, native = load_data_config(report.data), load_data_config(folder / "data.yaml")
    assert data.names == native.names
    for split in ("train", "val"):
        given = read_coco_truth(data.annotations[split], data.names).images
        expected = sorted(read_coco_truth(native.annotations[split], native.names).images, key=lambda image: image.name)
        assert [(image.name, image.size) for image in given] == [(image.name, image.size) for image in expected]
        for mine, theirs in zip(given, expected, strict=True):
            for key in ("boxes", "classes", "areas", "crowd", "ignore_regions"):
                np.testing.assert_array_equal(getattr(mine, key), getattr(theirs, key))
        labels = read_split(list_images(data.require(split)), data.nc)
        references = read_split(list_images(native.require(split)), native.nc)
        assert labels.problems == []
        for mine, theirs in zip(labels.images, references.images, strict=True):
            assert mine.image.name == theirs.image.name
            order = [np.lexsort(entry.rows.T.round(5)) for entry in (mine, theirs)]
            np.testing.assert_allclose(mine.rows[order[0]], theirs.rows[order[1]], atol=2e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_utf8_are_converted_and_printed(source, tmp_path):
    for folder, suffix in (("images", ".jpg"), ("annotations", ".txt")):
        (source / folder / f"a{suffix}").rename(source / folder / f"{os.fsdecode(bytes([255]))}{suffix}")
    words = ["convert", "format=visdrone", f"source={source}", f"out={tmp_path / 'out'}"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-m", "uavdet", *words], capture_output=True, env=environment, check=True)
    assert b"annotations/\\udcff.txt line 3" in done.stdout
    images = list_images([tmp_path / "out" / "images" / "val"])
    assert [len(labels.rows) for labels in read_split(images, 10).images] == [2]


def test_an_overlap_of_no_tiles_is_refused(capsys):
    assert main(["convert", "format=coco", "source=x", "out=y", "overlap=10"]) == 2
    assert "without tile=" in capsys.readouterr().err
