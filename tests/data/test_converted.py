"""What a converted dataset holds: label rows, the COCO JSON, and what is left out of them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.pictures import save_picture
from uavdet.data.annotations import AnnotatedImage, Annotation, DropLog, IgnoreRegion
from uavdet.data.config import load_data_config
from uavdet.data.converted import DatasetWriter, usable_boxes, write_data_yaml
from uavdet.data.labels import list_images, read_split
from uavdet.errors import DataError
from uavdet.evaluation.truth import read_coco_truth


@pytest.fixture
def picture(tmp_path):
    return save_picture(tmp_path / "source" / "a.png", 40, 20)


def write(tmp_path, *images, split="val", names=("car", "person")):
    writer = DatasetWriter(tmp_path / "out", names, link=True)
    counts = writer.write_split(split, images)
    return counts, tmp_path / "out"


def test_an_image_without_objects_has_an_empty_label_file(tmp_path, picture):
    counts, out = write(tmp_path, AnnotatedImage(picture, "a.png", (40, 20)))
    assert (out / "labels" / "val" / "a.txt").read_text() == ""
    content = json.loads((out / "annotations" / "instances_val.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}]
    assert content["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}]
    assert content["annotations"] == content["ignore_regions"] == content["excluded"] == []
    assert (counts.images, counts.objects, counts.classes.total()) == (1, 0, 0)


def test_every_field_is_written(tmp_path, picture):
    image = AnnotatedImage(
        picture,
        "day/a.png",
        (40, 20),
        objects=[
            Annotation((-10.0, 5.0, 20.0, 10.0), "person", track_id=0, flags={"truncation": 1}),
            Annotation((1.0, 2.0, 3.0, 4.0), "car", area=7.5, ignored=True, flags={"score": np.float32(math.nan)}),
        ],
        ignore_regions=[IgnoreRegion((30.0, 10.0, 20.0, 20.0), "crowd", {"k": [1]})],
        excluded=[Annotation((0.0, 0.0, 2.0, 3.0), "others", track_id=4, flags={"occlusion": 2})],
        flags={"sequence": "s1", "frame": 3},
    )
    counts, out = write(tmp_path, image)
    # Half of the first box lies outside: what is left is 10 of 40 px wide and 10 of 20 px high, around (5, 10).
    assert (out / "labels" / "val" / "day" / "a.txt").read_text() == "1 0.12500000 0.50000000 0.25000000 0.50000000\n"
    content = json.loads((out / "annotations" / "instances_val.json").read_text())
    assert content["images"] == [
        {"id": 1, "file_name": "day/a.png", "width": 40, "height": 20, "sequence": "s1", "frame": 3}
    ]
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [-10, 5, 20, 10], "area": 200, "iscrowd": 0,
         "track_id": 0, "truncation": 1},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 7.5, "iscrowd": 1, "ignore": 1,
         "score": None},
    ]  # fmt: skip
    assert content["ignore_regions"] == [{"image_id": 1, "bbox": [30, 10, 20, 20], "name": "crowd", "k": [1]}]
    assert content["excluded"] == [
        {"image_id": 1, "name": "others", "bbox": [0, 0, 2, 3], "area": 6, "iscrowd": 0, "track_id": 4, "occlusion": 2}
    ]
    assert (counts.objects, counts.ignored, counts.ignore_regions, counts.excluded, counts.clipped) == (1, 1, 1, 1, 1)
    assert counts.classes == {"person": 1}


def test_the_result_is_what_train_and_val_read(tmp_path, picture):
    random = np.random.default_rng(1)
    boxes = [tuple(map(float, (*random.uniform(-5, 35, 2), *random.uniform(0.1, 30, 2)))) for _ in range(100)]
    image = AnnotatedImage(picture, "a.png", (40, 20), [Annotation(box, "car") for box in boxes])
    image.objects.append(Annotation((39.9, 19.99, 5.0, 5.0), "person"))
    kept = next(usable_boxes([image], "val", DropLog())).objects
    writer = DatasetWriter(tmp_path / "out", ("car", "person"), link=True)
    writer.write_split("val", [image])
    data = load_data_config(write_data_yaml(tmp_path / "out", ("car", "person"), ["val"], ["A comment: with a colon"]))
    assert (data.images, data.names) == ({"val": [tmp_path / "out/images/val"]}, {0: "car", 1: "person"})
    labels = read_split(list_images(data.require("val")), data.nc)
    assert (labels.problems, labels.duplicates) == ([], 0)
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in (entry.box for entry in kept)])
    clipped = np.clip(corners, 0, (40, 20, 40, 20))
    rows = labels.images[0].rows.astype(float)
    given = np.hstack([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2]) * (40, 20, 40, 20)
    np.testing.assert_allclose(given, clipped, atol=2e-5)
    truth = read_coco_truth(data.annotations["val"], data.names)
    np.testing.assert_array_equal(truth.images[0].boxes, corners)  # as annotated: not clipped, not rounded


def test_rows_that_stand_twice_are_written_once_and_counted(tmp_path, picture):
    entry = Annotation((1.0, 2.0, 3.0, 4.0), "car")
    other = Annotation((1.0, 2.0, 3.0, 4.0), "person")
    counts, out = write(tmp_path, AnnotatedImage(picture, "a.png", (40, 20), [entry, entry, other]))
    assert len((out / "labels" / "val" / "a.txt").read_text().splitlines()) == 2
    assert len(json.loads((out / "annotations" / "instances_val.json").read_text())["annotations"]) == 3
    assert (counts.objects, counts.repeated) == (3, 1)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((1, 1, 2, 2), None),
        ((-5, -5, 5.5, 5.5), None),
        ((39, 19, 100, 100), None),
        ((math.nan, 1, 2, 2), "with a value that is not finite"),
        ((1, 1, math.inf, 2), "with a value that is not finite"),
        ((1, -math.inf, 2, 2), "with a value that is not finite"),
        ((1, 1, 0, 2), "without area"),
        ((1, 1, 2, -2), "without area"),
        ((40, 1, 2, 2), "outside of the image"),
        ((1, -3, 2, 3), "outside of the image"),
        ((39.9999, 1, 2, 2), "outside of the image"),
    ],
)
def test_boxes_that_are_none_are_counted_with_their_reason(picture, box, reason):
    image = AnnotatedImage(
        picture,
        "a.png",
        (40, 20),
        [Annotation(box, "car", origin="f line 3")],
        [IgnoreRegion(box, origin="f line 4")],
        [Annotation(box, "others", origin="f line 5")],
    )
    drops = DropLog()
    (kept,) = usable_boxes([image], "val", drops)
    if reason is None:
        assert len(kept.objects + kept.ignore_regions + kept.excluded) == 3
        assert len(drops) == 0
    else:
        assert kept.objects + kept.ignore_regions + kept.excluded == []
        assert drops.places == {
            ("val", f"box {reason}"): "f line 3",
            ("val", f"ignore region {reason}"): "f line 4",
            ("val", f"excluded box {reason}"): "f line 5",
        }


def test_images_without_annotations_are_placed_alone(tmp_path, picture):
    counts, out = write(tmp_path, AnnotatedImage(picture, "a.png", (40, 20)), split="test-challenge")
    assert [str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir()] == ["images/test-challenge/a.png"]
    assert counts.images == 1


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "x/../../a.png", "", "..\\a.png"])
def test_names_that_lead_out_of_the_split_are_refused(tmp_path, picture, name):
    with pytest.raises(DataError, match="leads out of its split"):
        write(tmp_path, AnnotatedImage(picture, name, (40, 20)))


def test_names_differ_and_splits_have_images(tmp_path, picture):
    images = [AnnotatedImage(picture, name, (40, 20)) for name in ("a.png", "a.jpg")]
    with pytest.raises(DataError, match=r"would both become labels/val/a.txt"):
        write(tmp_path, *images)
    with pytest.raises(DataError, match="split 'train' has no images"):
        write(tmp_path, split="train")


def test_the_yaml_can_be_moved_and_keeps_odd_names(tmp_path, picture):
    names = ("no", "1", "sea: boat", "Größe")
    writer = DatasetWriter(tmp_path / "out", names, link=True)
    for split in ("train", "test", "test-challenge"):
        writer.write_split(split, [AnnotatedImage(picture, "a.png", (40, 20))])
    file = write_data_yaml(tmp_path / "out", names, ["train", "test", "test-challenge"], ["origin: here"])
    assert file.read_text(encoding="utf-8").startswith("# origin: here\ntrain: images/train\ntest: images/test\n")
    (tmp_path / "out").rename(tmp_path / "moved")
    data = load_data_config(tmp_path / "moved" / "data.yaml")
    assert tuple(data.names.values()) == names
    assert data.require("test") == [Path(tmp_path / "moved" / "images" / "test")]
    assert list(data.annotations) == ["train", "test"]


def test_a_label_file_is_never_written_over(tmp_path, picture):
    """As on a file system that takes A.txt for a.txt, where the images differ in their suffix, too."""
    (tmp_path / "out" / "labels" / "val").mkdir(parents=True)
    (tmp_path / "out" / "labels" / "val" / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"labels/val/a\.txt is there already"):
        write(tmp_path, AnnotatedImage(picture, "a.png", (40, 20)))
