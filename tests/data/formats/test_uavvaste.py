"""UAVVaste: category id 0, the official split, and the area of box or polygon."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.convert import convert
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError, UsageError

TEXT = """{
"info": {"year": 2020},
"images": [
  {"id": 0, "width": 40, "height": 30, "file_name": "a.jpg", "license": null, "flickr_url": ""},
  {"id": 1, "width": 40, "height": 30, "file_name": "b.JPG", "license": null, "flickr_url": ""},
  {"id": 2, "width": 40, "height": 30, "file_name": "c.jpg", "license": null, "flickr_url": ""}
],
"annotations": [
  {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [[1, 2, 11, 2, 11, 8]], "area": 30.0,
   "bbox": [1, 2, 10, 6], "iscrowd": 0},
  {"id": 1, "image_id": 2, "category_id": 0, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]], "area": 16.0,
   "bbox": [0, 0, 4, 4], "iscrowd": 0}
],
"categories": [{"supercategory": "rubbish", "id": 0, "name": "rubbish"}]}
"""
SPLITS = '{\n"train": ["a.jpg"],\n"val": ["b.JPG"],\n"test": ["c.jpg"]\n}'


def uavvaste(folder, text=TEXT, splits=SPLITS, **options):
    save_text(folder / "annotations" / "annotations.json", text)
    if splits:
        save_text(folder / "annotations" / "train_val_test_distribution_file.json", splits)
    for name in ("a.jpg", "b.JPG", "c.jpg"):
        save_picture(folder / "images" / name)
    return find_format("uavvaste")(folder, **options)


def test_the_official_split_is_read(tmp_path):
    dataset = uavvaste(tmp_path)
    assert (dataset.splits(), dataset.class_names()) == (["train", "val", "test"], ("rubbish",))
    names = {split: [image.name for image in dataset.read(split)] for split in dataset.splits()}
    assert names == {"train": ["a.jpg"], "val": ["b.JPG"], "test": ["c.jpg"]}
    assert len(dataset.drops) == 0


@pytest.mark.parametrize(("options", "area"), [({}, None), ({"area": "box"}, None), ({"area": "polygon"}, 30)])
def test_the_area_is_that_of_the_box_or_of_the_polygon(tmp_path, options, area):
    (image,) = uavvaste(tmp_path, **options).read("train")
    (entry,) = image.objects
    assert (entry.category, entry.box, entry.area) == ("rubbish", (1, 2, 10, 6), area)  # None: 60, the box's
    assert entry.flags["segmentation"] == [[1, 2, 11, 2, 11, 8]]


def test_the_dataset_yaml_names_the_area_that_was_asked_for(tmp_path):
    uavvaste(tmp_path / "in")
    for area, command in (("polygon", "format=uavvaste area=polygon"), ("box", "format=uavvaste")):
        report = convert("uavvaste", tmp_path / "in", tmp_path / area, area=area)
        assert report.data.read_text().splitlines()[0] == f"# UAVVaste, converted: uavdet convert {command}"


def test_another_area_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"area=mask is unknown\. It is box or polygon"):
        uavvaste(tmp_path, area="mask").splits()


def test_an_image_in_no_split_is_counted(tmp_path):
    dataset = uavvaste(tmp_path, splits='{"train": ["a.jpg"], "val": [], "test": ["c.jpg"]}')
    assert dataset.splits() == ["train", "test"]
    for split in dataset.splits():
        list(dataset.read(split))
    assert dict(dataset.drops.counts) == {("train", "image in no split"): 1}
    assert "b.JPG" in dataset.drops.places["train", "image in no split"]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (None, r"train_val_test_distribution_file\.json does not exist.*official split"),
        ('{\n"train": ["a.jpg",]}', "line 2: a comma stands before"),
        ('{"train": ["a.jpg"], "val": "b.JPG", "test": []}', "'val' is no list of file names"),
        ('{"train": ["a.jpg"], "test": []}', "'val' is no list of file names"),
        ('{"train": ["a.jpg"], "val": ["a.jpg"], "test": []}', r"'val' has a\.jpg a second time"),
        ('{"train": ["z.jpg"], "val": [], "test": []}', r"'train' has z\.jpg, which .* does not list"),
    ],
)
def test_bad_split_files_are_named(tmp_path, splits, message):
    dataset = uavvaste(tmp_path, splits=splits)
    with pytest.raises(DataError, match=message) as raised:
        [list(dataset.read(split)) for split in dataset.splits()]
    assert "train_val_test_distribution_file.json" in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"iscrowd": 0}\n]', '"iscrowd": 0},\n]', "line 1[23]: a comma stands before"),
        ('"name": "rubbish"', '"name": "trash"', "category 'trash' is unknown"),
        ('"id": 1, "image_id": 2', '"id": 0, "image_id": 2', "line 11: .*the id 0 is that of annotations.0., too"),
        (
            '"category_id": 0, "segmentation": [[1',
            '"category_id": 1, "segmentation": [[1',
            "category id 1 is not among",
        ),
        ('"a.jpg", "license"', '"A.jpg", "license"', r"'train' has a\.jpg, which"),
    ],
)
def test_bad_jsons_name_file_line_and_reason(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(DataError, match=message):
        list(uavvaste(tmp_path, TEXT.replace(old, new)).read("train"))


def test_another_folder_is_refused(tmp_path):
    save_text(tmp_path / "annotations.json", TEXT)
    with pytest.raises(
        DataError, match=r"not laid out as UAVVaste.*annotations/annotations\.json.*Found: annotations\."
    ):
        find_format("uavvaste")(tmp_path).splits()
