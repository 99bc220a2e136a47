"""SeaPerson: the release's files; what its JSONs say is tested with TinyPerson, which has the same form."""

import pytest

from tests.data.formats.pictures import save_picture, save_text
from uavdet.data.formats.base import find_format
from uavdet.errors import DataError

TEXT = """{
"images": [{"file_name": "v1/0001.bmp", "height": 30, "width": 40, "id": 4}],
"annotations": [
  {"id": 1, "image_id": 4, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0, "ignore": false,
   "uncertain": true, "logo": false, "in_dense_image": false}
],
"categories": [{"id": 1, "name": "person"}]}
"""


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("rgb_train", "rgb_valid", "rgb_trainvalid", "rgb_test"), ["train", "val", "test"]),
        (("rgb_trainvalid", "rgb_test"), ["train", "test"]),
    ],
)
@pytest.mark.parametrize(("jsons", "images"), [("anns/release", "imgs"), ("annotations", "images"), ("", "imgs_rgb")])
def test_the_release_is_read(tmp_path, names, splits, jsons, images):
    for name in names:
        save_text(tmp_path / jsons / f"{name}.json", TEXT)
    save_picture(tmp_path / images / "v1" / "0001.bmp")
    dataset = find_format("seaperson")(tmp_path)
    assert (dataset.splits(), dataset.class_names()) == (splits, ("person",))
    for split in splits:
        (image,) = dataset.read(split)
        assert (image.name, image.size, image.file.parts[-3]) == ("v1/0001.bmp", (40, 30), images)
        assert [(entry.category, entry.ignored, entry.box) for entry in image.objects] == [
            ("person", True, (1, 2, 3, 4))
        ]


def test_a_missing_image_is_named(tmp_path):
    save_text(tmp_path / "anns" / "release" / "rgb_train.json", TEXT)
    (tmp_path / "imgs").mkdir()
    with pytest.raises(DataError, match=r"rgb_train\.json line 2: .*imgs/v1/0001\.bmp does not exist"):
        list(find_format("seaperson")(tmp_path).read("train"))


def test_another_folder_is_refused(tmp_path):
    save_text(tmp_path / "train.json", TEXT)
    with pytest.raises(DataError, match=r"not laid out as SeaPerson.*rgb_.*Found: train\.json"):
        find_format("seaperson")(tmp_path).splits()
