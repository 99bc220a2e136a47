"""Conversions of whole datasets, read back by the readers that `train` and `val` use."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest

from tests.data.formats.pictures import save_picture, save_text
from tests.data.formats.test_aitod import aitod
from tests.data.formats.test_dota import dota
from tests.data.formats.test_tinyperson import NAMES, PARTS, tinyperson
from tests.data.formats.test_uavvaste import uavvaste
from tests.data.formats.test_voc import voc_text
from tests.realdata import REAL_DATA
from uavdet.assets import list_assets, read_yaml
from uavdet.data.config import load_data_config
from uavdet.data.convert import convert
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError
from uavdet.evaluation.truth import read_coco_truth

DATASETS = ("dior", "ai-tod", "ai-tod-v2", "dota-v1", "dota-v1.5", "dota-v2", "tinyperson", "seaperson", "uavvaste")


def read_label_rows(folder, split, name):
    """Return the rows of a converted label file as numbers."""
    text = (folder / "labels" / split / name).with_suffix(".txt").read_text()
    return np.array([[float(value) for value in line.split()] for line in text.splitlines()]).reshape(-1, 5)


def read_truth(folder, split):
    """Return the converted truth of a split by image name."""
    data = load_data_config(folder / "data.yaml")
    truth = read_coco_truth(data.annotations[split], data.names)
    return {image.name: image for image in truth.images}


@pytest.mark.skipif(REAL_DATA is None, reason="the real images are not at hand")
def test_real_voc_files_come_out_field_by_field(tmp_path):
    source = REAL_DATA / "maritime"
    report = convert("voc", source, tmp_path / "out", strict=True)
    assert report.names == ("boat", "car", "dock", "jetski", "lift")
    assert len(report.drops) == 0
    for split, folder, images in (("val", "valid", 105), ("test", "test", 32)):
        truths = read_truth(tmp_path / "out", split)
        assert len(truths) == report.splits[split].images == images
        for name, truth in truths.items():
            objects = ET.parse((source / folder / name).with_suffix(".xml")).getroot().findall("object")
            classes = [report.names.index(element.findtext("name")) for element in objects]
            corners = [[float(element.findtext(f"bndbox/{t}")) for t in ("xmin", "ymin", "xmax", "ymax")]
                       for element in objects]  # fmt: skip
            boxes = np.array(corners).reshape(-1, 4)
            assert truth.size == (800, 600)
            np.testing.assert_array_equal(truth.classes, classes)
            np.testing.assert_array_equal(truth.boxes, boxes)
            rows = read_label_rows(tmp_path / "out", split, name)
            np.testing.assert_array_equal(rows[:, 0], classes)
            sides = np.array([800, 600, 800, 600])
            np.testing.assert_allclose((rows[:, 1:3] - rows[:, 3:] / 2) * [800, 600], boxes[:, :2], atol=1e-4)
            np.testing.assert_allclose((rows[:, 1:3] + rows[:, 3:] / 2) * [800, 600], boxes[:, 2:], atol=1e-4)
            assert (boxes <= sides).all()
            assert (tmp_path / "out" / "images" / split / name).read_bytes() == (source / folder / name).read_bytes()


def test_flags_and_difficult_objects_of_voc(tmp_path):
    source = tmp_path / "source"
    save_picture(source / "train" / "a.png")
    save_text(source / "train" / "a.xml", voc_text(("car", 0, 1, 2, 11, 22), ("boat", 1, 4, 5, 9, 15)))
    report = convert("voc", source, tmp_path / "out")
    assert (report.splits["train"].objects, report.splits["train"].ignored) == (1, 1)
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    car, boat = content["annotations"]
    assert (car["bbox"], car["area"], car["iscrowd"], car["difficult"]) == ([1, 2, 10, 20], 200, 0, 0)
    assert (boat["bbox"], boat["iscrowd"], boat["ignore"], boat["difficult"]) == ([4, 5, 5, 10], 1, 1, 1)
    rows = read_label_rows(tmp_path / "out", "train", "a.png")
    np.testing.assert_allclose(rows, [[1, 6 / 40, 12 / 30, 10 / 40, 20 / 30]], atol=1e-7)  # the boat is not there


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5, 5, 5, 9), "box without area"),
        ((9, 5, 5, 9), "box without area"),
        (("nan", 5, 5, 9), "box with a value that is not finite"),
        ((50, 5, 60, 9), "box outside of the image"),
    ],
)
def test_boxes_that_are_none_are_counted_with_file_and_line(tmp_path, box, reason):
    source = tmp_path / "source"
    save_picture(source / "train" / "a.png")
    save_text(source / "train" / "a.xml", voc_text(("car", 0, 1, 2, 11, 22), ("car", 0, *box)))
    report = convert("voc", source, tmp_path / "out")
    assert dict(report.drops.counts) == {("train", reason): 1}
    assert report.drops.places["train", reason] == f"{source / 'train' / 'a.xml'} line 4"
    with pytest.raises(DataError, match=r"a\.xml line 4"):
        convert("voc", source, tmp_path / "strict", strict=True)


def test_dota_in_tiles_keeps_its_points(tmp_path):
    rows = "30 4 38 4 38 12 30 12 plane 1\n2 2 6 1 7 5 3 6 ship 0\n"
    dota(tmp_path / "source", rows)
    report = convert("dota-v1", tmp_path / "source", tmp_path / "out", tile=24, overlap=12)
    assert report.splits["test-challenge"].images == 4  # 60x20 pixels: lefts 0, 12, 24, 36
    assert list(load_data_config(tmp_path / "out" / "data.yaml").images) == ["train", "val"]
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert sorted(names.values()) == sorted(f"Ptrain__{left}_{top}.png" for left in (0, 12, 16) for top in (0, 6))
    found = {(names[entry["image_id"]], *entry["bbox"]): entry for entry in content["annotations"]}
    assert found["Ptrain__0_0.png", 2, 1, 5, 5]["polygon"] == [2, 2, 6, 1, 7, 5, 3, 6]
    plane = found["Ptrain__16_0.png", 14, 4, 8, 8]
    assert (plane["polygon"], plane["difficult"]) == ([14, 4, 22, 4, 22, 12, 14, 12], 1)


def test_parts_of_tinyperson_are_cut_out(tmp_path):
    source, pixels = tmp_path / "source", np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    tinyperson(source, PARTS)
    cv2.imwrite(str(source / "train" / NAMES[0]), pixels)
    convert("tinyperson", source, tmp_path / "out")
    whole = cv2.imread(str(source / "train" / NAMES[0]))
    part = cv2.imread(str(tmp_path / "out" / "images" / "train" / "labeled_images" / "sea__20_10.png"))
    np.testing.assert_array_equal(part, whole[10:30, 20:40])
    truths = read_truth(tmp_path / "out", "train")
    np.testing.assert_array_equal(truths["labeled_images/sea__20_10.png"].boxes, [[2, 3, 6, 8]])
    rows = read_label_rows(tmp_path / "out", "train", "labeled_images/sea__20_10.png")
    np.testing.assert_allclose(rows, [[0, 4 / 20, 5.5 / 20, 4 / 20, 5 / 20]], atol=1e-7)


def test_dense_images_and_unscored_boxes_of_tinyperson_reach_the_evaluation(tmp_path):
    tinyperson(tmp_path / "source")
    convert("tinyperson", tmp_path / "source", tmp_path / "out")
    truths = read_truth(tmp_path / "out", "train")
    assert {name: truth.dense for name, truth in truths.items()} == dict(zip(NAMES, (False, True, False), strict=True))
    np.testing.assert_array_equal(truths[NAMES[0]].crowd, [False, True, True, True])
    assert len(read_label_rows(tmp_path / "out", "train", NAMES[0])) == 1


def test_areas_reach_the_evaluation(tmp_path):
    aitod(tmp_path / "aitod")
    convert("aitod", tmp_path / "aitod", tmp_path / "out")
    np.testing.assert_array_equal(read_truth(tmp_path / "out", "train")["b.png"].areas, [64, 19.5])
    uavvaste(tmp_path / "uavvaste")
    for area, value in (("box", 60), ("polygon", 30)):
        convert("uavvaste", tmp_path / "uavvaste", tmp_path / area, area=area)
        np.testing.assert_array_equal(read_truth(tmp_path / area, "train")["a.jpg"].areas, [value])


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_yamls_describe_their_conversion(name):
    file = list_assets("datasets")[f"{name}.yaml"]
    content, data = read_yaml(file), load_data_config(name)
    dataset = find_format(content["format"])
    assert dataset.dataset == name
    assert tuple(data.names.values()) == dataset.classes
    assert content["url"].startswith("https://")
    assert content["licence"]
    assert content["layout"]
    assert data.images.keys() == data.annotations.keys() >= {"train", "val"}
    assert "download" not in content
