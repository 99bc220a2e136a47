"""Ignored regions under every augmentation: they stay on the pixels that they were drawn around."""

import json
import random
import shutil

import cv2
import numpy as np
import pytest
import torch
import yaml
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset

from uavdet.data.config import load_data_config
from uavdet.data.dataset import LetterboxDataset, StretchDataset

SIZE, REGION, THING = 128, (40, 24, 88, 64), (8, 96, 24, 112)
OFF = {
    **dict.fromkeys(("mosaic", "mixup", "cutmix", "fliplr", "flipud", "scale", "translate"), 0.0),
    **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v"), 0.0),
}
CASES = {
    "plain": {},
    "fliplr": {"fliplr": 1.0},
    "flipud": {"flipud": 1.0},
    "zoom and shift": {"scale": 0.5, "translate": 0.3},
    "rotation": {"degrees": 20.0},
    "shear and perspective": {"shear": 8.0, "perspective": 0.0005},
    "mosaic": {"mosaic": 1.0, "scale": 0.5, "translate": 0.2},
    "cutmix": {"cutmix": 1.0},
}


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Return a data.yaml of images whose only bright part is an ignored region; one image has none."""
    folder = tmp_path_factory.mktemp("regions")
    for kind in ("images/train", "labels/train", "annotations"):
        (folder / kind).mkdir(parents=True)
    images, regions = [], []
    for number in range(4):
        image = np.full((SIZE, SIZE, 3), 20, np.uint8)
        left, top, right, bottom = np.array(REGION) + [number * 5, number * 9] * 2
        if number < 3:
            image[top:bottom, left:right] = 250
            box = [int(left), int(top), int(right - left), int(bottom - top)]
            regions.append({"image_id": number, "bbox": box})
        cv2.imwrite(str(folder / f"images/train/{number}.png"), image)
        x1, y1, x2, y2 = np.array(THING) / SIZE
        (folder / f"labels/train/{number}.txt").write_text(f"0 {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n")
        images.append({"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "a"}], "ignore_regions": regions}
    (folder / "annotations/train.json").write_text(json.dumps(content))
    text = {"train": "images/train", "val": "images/train", "annotations": {"train": "annotations/train.json"}}
    (folder / "data.yaml").write_text(yaml.safe_dump({**text, "names": ["a"]}))
    return folder / "data.yaml"


def dataset(data_yaml, kind=StretchDataset, imgsz=SIZE, augment=True, without=False, fill=None, **changes):
    config = load_data_config(data_yaml)
    data = {**config.as_ultralytics(), "split": "train", "ignore_fill": fill}
    if without:
        data["annotations"] = {}
    hyp = get_cfg(overrides={**OFF, **changes})
    return kind(
        img_path=[str(config.images["train"][0])], imgsz=imgsz, augment=augment, hyp=hyp, data=data, batch_size=4
    )


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def covered(sample, grow=0):
    """Return the pixels of a sample inside its regions, and those of a region's brightness."""
    height, width = sample["img"].shape[1:]
    mask = np.zeros((height, width), bool)
    for left, top, right, bottom in sample["ignore_bboxes"].numpy() * [width, height, width, height]:
        y, x = (max(0, int(np.floor(v)) - grow) for v in (top, left))
        mask[y : int(np.ceil(bottom)) + grow, x : int(np.ceil(right)) + grow] = True
    return mask, sample["img"].float().mean(0).numpy() > 200


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("seed", range(3))
def test_regions_move_with_the_image(painted, changes, seed):
    images = dataset(painted, **changes)
    seed_all(seed)
    for index in range(4):
        sample = images[index]
        inside, bright = covered(sample, grow=1)
        assert not (bright & ~inside).any()
        core, _ = covered(sample, grow=-2)
        if not {"degrees", "shear"} & changes.keys():  # a turned region becomes its bounding box
            assert not (core & ~bright).any()
        assert (sample["cls"] == 0).all()


def test_a_sliver_of_a_region_is_kept_and_a_sliver_of_an_object_is_not(painted):
    images = dataset(painted, scale=0.0, translate=0.0)
    perspective = next(t for t in images.transforms.transforms[0].transforms if hasattr(t, "box_candidates"))
    labels = images.get_image_and_label(0)
    matrix = np.eye(3, dtype=np.float32)
    matrix[0, 2], matrix[1, 2] = -(REGION[2] - 3), 0  # 3 of 48 columns of the region are left; the object is gone
    params = {"M": matrix, "scale": 1.0, "orig_shape": (SIZE, SIZE), "size": (SIZE, SIZE)}
    moved = perspective.apply_instances(labels, params)
    assert moved["cls"].tolist() == [[-1.0]]
    np.testing.assert_allclose(moved["instances"].bboxes, [[0, REGION[1], 3, REGION[3]]], atol=1e-4)


def test_mixup_keeps_the_regions_of_both_images(painted):
    images = dataset(painted, mixup=1.0)
    seed_all(0)
    assert {len(images[0]["ignore_bboxes"]) > 1 for _ in range(40)} == {True, False}  # the partner may have none


@pytest.mark.parametrize("kind", [StretchDataset, LetterboxDataset])
def test_letterboxing_and_stretching_move_regions(painted, kind):
    images = dataset(painted, kind, imgsz=96, augment=False)
    inside, bright = covered(images[0], grow=1)
    assert bright.any()
    assert not (bright & ~inside).any()


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_without_regions_augmentation_is_ultralytics_own(painted, changes):
    ours = dataset(painted, LetterboxDataset, without=True, **changes)
    data = ours.data
    hyp = get_cfg(overrides={**OFF, **changes})
    theirs = YOLODataset(img_path=ours.img_path, imgsz=SIZE, augment=True, hyp=hyp, data=data, batch_size=4)
    drawn = []
    for images in (ours, theirs):
        seed_all(5)
        drawn.append([images[index] for index in range(4)])
    for a, b in zip(*drawn, strict=True):
        assert torch.equal(a["img"], b["img"])
        assert torch.equal(a["bboxes"], b["bboxes"])
        assert not len(a["ignore_bboxes"])


def test_a_batch_says_which_image_a_region_belongs_to(painted):
    images = dataset(painted)
    batch = images.collate_fn([images[i] for i in (3, 0, 1)])
    assert batch["ignore_batch_idx"].tolist() == [1, 2]
    assert batch["ignore_bboxes"].shape == (2, 4)
    assert batch["batch_idx"].tolist() == [0, 1, 2]
    nothing = images.collate_fn([images[3]])
    assert nothing["ignore_bboxes"].shape == (0, 4)


def test_filled_regions_are_gone_from_the_image_and_from_the_labels(painted):
    images = dataset(painted, fill="mean", augment=False)
    sample = images[0]
    assert not len(sample["ignore_bboxes"])
    plain = dataset(painted, augment=False)[0]["img"]
    left, top, right, bottom = REGION
    patch = plain[:, top:bottom, left:right].float().mean((1, 2)).round()
    np.testing.assert_array_equal(sample["img"][:, top + 4, left + 4], patch)
    assert torch.equal(sample["img"][:, :top], plain[:, :top])
    assert torch.equal(dataset(painted, fill="mean", without=True, augment=False)[0]["img"], plain)


def test_a_kept_image_is_painted_once(painted, tmp_path):
    # Painting what is painted takes the mean of other pixels where an object stands in the region.
    folder = tmp_path / "data"
    shutil.copytree(painted.parent, folder)
    shade = np.tile(np.linspace(0, 255, SIZE).astype(np.uint8)[None, :, None], (SIZE, 1, 3))
    cv2.imwrite(str(folder / "images/train/0.png"), shade)
    (folder / "labels/train/0.txt").write_text("0 0.35 0.3 0.1 0.2\n")
    read, kept = (dataset(folder / "data.yaml", fill="mean", augment=False) for _ in range(2))
    kept.cache = "ram"
    kept.cache_images()
    for _ in range(2):
        assert torch.equal(kept[0]["img"], read[0]["img"])
