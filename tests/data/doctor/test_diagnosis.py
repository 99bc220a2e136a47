"""Whole datasets: sound, damaged in every way, empty, and real."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.doctor.conftest import picture, write_picture
from tests.realdata import REAL_DATA
from uavdet.data.doctor.diagnosis import examine
from uavdet.errors import ConfigError

BOX = "0 .5 .5 .4 .4\n"


def kinds(diagnosis):
    return {(finding.split, finding.kind, finding.stops) for finding in diagnosis.findings}


def test_no_yaml_is_an_error(tmp_path):
    for data in ("", str(tmp_path / "gone.yaml")):
        with pytest.raises(ConfigError):
            examine(data)


def test_a_dataset_without_images_is_told_and_not_a_crash(write_dataset, tmp_path):
    data = write_dataset({"train": {}, "val": {}})
    (tmp_path / "images" / "train").mkdir(parents=True)
    diagnosis = examine(data)
    assert not diagnosis.usable
    assert kinds(diagnosis) == {("train", "missing split", True), ("val", "missing split", True)}
    assert "holds no images" in str(diagnosis.findings[0])
    assert "does not exist" in str(diagnosis.findings[1])
    assert diagnosis.advice == []
    assert "What stops training" in diagnosis.table()


def test_a_missing_split_stops_where_training_needs_it(write_dataset):
    data = write_dataset({"train": {"a.jpg": BOX}}, test="images/nowhere")
    diagnosis = examine(data)
    assert kinds(diagnosis) == {("val", "missing split", True), ("test", "missing split", False)}
    assert "has no 'val:' entry" in diagnosis.table()


def test_images_that_are_all_damaged(write_dataset, tmp_path):
    data = write_dataset({"train": {"a.jpg": BOX, "b.png": BOX}, "val": {"c.jpg": BOX}})
    for file in (tmp_path / "images").rglob("*.*"):
        file.write_bytes(file.read_bytes()[:300])
    diagnosis = examine(data)
    assert [split["unreadable"] for split in diagnosis.statistics.values()] == [2, 1]
    assert diagnosis.statistics["train"]["objects"] == 0
    assert not diagnosis.usable
    json.dumps(diagnosis.as_dict())


def test_a_sound_dataset_has_no_finding(write_dataset):
    files = {f"{n}.jpg": "".join(f"{c} .{c + 3} .5 .3 .4\n" for c in (0, 1)) for n in range(60)}
    diagnosis = examine(write_dataset({"train": files, "val": {"v.jpg": BOX}}))
    assert diagnosis.usable
    assert diagnosis.findings == []
    assert not any(entry.change for entry in diagnosis.advice)
    assert "No problem was found." in diagnosis.table()
    assert "Advice: nothing to change." in diagnosis.table()


def test_damage_of_every_kind_is_counted_once(write_dataset, tmp_path):
    data = write_dataset(
        {
            "train": {
                "good.jpg": BOX,
                "cut.jpg": BOX,
                "bad.jpg": "0 .5 .5 .1 .1\n9 .5 .5 .1 .1\n0 .5 .5 0 .1\n0 1.5 .5 .1 .1\n0 .5\n",
                "twice.jpg": BOX + BOX,
                "edge.jpg": "0 .05 .5 .4 .4\n",
                "unlabelled.jpg": None,
                "empty.jpg": "",
                "deep.png": BOX,
                "turned.jpg": BOX,
            },
            "val": {"a.jpg": BOX, "latin.jpg": BOX},
        }
    )
    train, labels = tmp_path / "images" / "train", tmp_path / "labels"
    (train / "cut.jpg").write_bytes((train / "cut.jpg").read_bytes()[:-300])
    Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)).save(train / "deep.png")
    image = Image.fromarray(picture(99))
    exif = image.getexif()
    exif[274] = 6
    image.save(train / "turned.jpg", exif=exif)
    (labels / "train" / "orphan.txt").write_text(BOX)
    (labels / "val" / "latin.txt").write_bytes(b"\xff\xfe0")
    (train / "png.jpg").write_bytes(write_picture(tmp_path / "x.png", 50).read_bytes())
    shutil.copy(train / "good.jpg", tmp_path / "images" / "val" / "copy.jpg")
    diagnosis = examine(data)
    assert kinds(diagnosis) == {
        ("train", "unreadable image", True),
        ("train", "unknown class", True),
        ("train", "inverted or empty box", True),
        ("train", "box outside the image", True),
        ("train", "malformed row", True),
        ("train", "repeated row", False),
        ("train", "clipped box", False),
        ("train", "more than 8 bits", False),
        ("train", "wrong suffix", False),
        ("train", "label file without image", False),
        ("val", "unreadable label file", True),
    }
    assert len(diagnosis.findings) == len(kinds(diagnosis))
    train_counts = diagnosis.statistics["train"]
    assert train_counts["images"] == 10
    assert train_counts["unreadable"] == 1
    assert train_counts["rotated_by_exif"] == 1
    assert train_counts["without_label_file"] == 2
    assert train_counts["without_box"] == 3
    assert train_counts["sizes"] == {"96x64": 8, "64x96": 1}
    assert "labels/train/bad.txt line 2: class 9" in "\n".join(map(str, diagnosis.findings)).replace("\\", "/")
    assert "its brightest value 6143 becomes 23" in diagnosis.table()
    copies = [[diagnosis.images[index].file.name for index in group] for group in diagnosis.duplicates.identical]
    assert copies == [["good.jpg", "copy.jpg"]]
    assert any(entry.topic == "leakage" for entry in diagnosis.advice)


def test_training_without_a_box_stops(write_dataset):
    diagnosis = examine(write_dataset({"train": {"a.jpg": None}, "val": {"b.jpg": BOX}}))
    assert ("train", "no box", True) in kinds(diagnosis)


def test_lists_of_images_may_share_a_label_folder(write_dataset, tmp_path):
    data = write_dataset({"all": {"a.jpg": BOX, "b.jpg": BOX}}, train="train.txt", val="val.txt")
    (tmp_path / "train.txt").write_text("images/all/a.jpg\nimages/all/a.jpg\n")
    (tmp_path / "val.txt").write_text("images/all/b.jpg\nimages/all/gone.jpg\n")
    diagnosis = examine(data)
    assert kinds(diagnosis) == {("train", "image listed twice", False), ("val", "unreadable image", True)}


def test_the_annotations_of_the_yaml_are_compared(write_dataset, tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 96, "height": 64}],
        "annotations": [],
        "categories": [{"id": 1, "name": "car"}],
        "ignore_regions": [{"image_id": 1, "bbox": [0, 0, 48, 64]}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    data = write_dataset({"train": {"t.jpg": BOX}, "val": {"a.jpg": BOX}}, annotations={"val": "val.json"})
    diagnosis = examine(data)
    assert kinds(diagnosis) == {("val", "numbers of objects differ", False)}
    assert diagnosis.usable
    assert diagnosis.as_dict()["splits"]["val"]["ignore"] == {"regions": 1, "images": 1, "area_share": 0.5}
    assert "val: 1 ignore regions in 1 images, 50.00% of all pixels." in diagnosis.table()


def test_nothing_is_written_beside_the_data(write_dataset, tmp_path):
    data = write_dataset({"train": {"a.jpg": BOX, "b.jpg": None}, "val": {"c.jpg": BOX}})
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    examine(data)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_neither_torch_nor_ultralytics_is_imported():
    code = (
        "import sys, uavdet.data.doctor.command, uavdet.data.doctor.page, uavdet.data.doctor.diagnosis as d;"
        "d.settle('so-detr-n.yaml', None, None);"
        "print([name for name in ('torch', 'ultralytics', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand: set UAVDET_DATA")
def test_real_data_has_the_numbers_that_its_makers_state():
    diagnosis = examine(REAL_DATA / "hituav" / "data.yaml")
    train, val = diagnosis.statistics["train"], diagnosis.statistics["val"]
    assert diagnosis.usable
    assert (train["images"], val["images"], train["without_box"], val["without_box"]) == (403, 100, 6, 0)
    assert train["objects"] + val["objects"] == 4554
    assert train["ignore"]["regions"] + val["ignore"]["regions"] == 38
    assert train["sizes"] == {"640x512": 403}
    assert train["modes"] == {"grey": 403}
    bins = np.zeros(4, int)
    for split in ("train", "val"):
        annotated = json.loads((REAL_DATA / "hituav" / "annotations" / f"instances_{split}.json").read_text())
        areas = [entry["bbox"][2] * entry["bbox"][3] for entry in annotated["annotations"]]
        bins += np.histogram(areas, [0, 64, 256, 1024, np.inf])[0]
        areas = [entry["bbox"][2] * entry["bbox"][3] for entry in annotated["ignore_regions"]]
        bins += np.histogram(areas, [0, 64, 256, 1024, np.inf])[0]
        own = diagnosis.statistics[split]["original"]["aitod"].values()
        bins -= list(own)
    assert (bins == [0, 3, 5, 30]).all()  # the 38 ignore regions; the stated 9/1256/1948/1379 count them
    assert sum(s["original"]["coco"]["small"] for s in (train, val)) / 4554 == pytest.approx(0.70, abs=0.005)
    leaks = {diagnosis.images[i].file.name for pair in diagnosis.duplicates.across for i in (pair.first, pair.second)}
    assert leaks >= {"0_60_60_0_01729.jpg", "0_70_80_0_02023.jpg"}  # a sports ground from 60 and from 70 m
    assert diagnosis.duplicates.partners["val", "train"] == 3
