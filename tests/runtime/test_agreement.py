"""What the bundled weights find in real images, in PyTorch and in the torch-free runtime.

With UAVDET_ALL_IMAGES=1 all images of the validation split are compared, else a few of them.
"""

import os

import numpy as np
import pytest

from tests.realdata import REAL_DATA
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.export.onnx import export_onnx
from uavdet.model import UAVDet
from uavdet.runtime import Detector
from uavdet.video.sources import read_picture

pytest.importorskip("onnxruntime")

SCORE, IOU = 1e-3, 0.999
CONF = 0.05


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    model = UAVDet()
    file = tmp_path_factory.mktemp("demo") / "x.onnx"
    return model, Detector(export_onnx(model.module, file, model.own_size(), simplify=False), conf=CONF)


def iou(first, second):
    """Return the IoU of every box with every other, in float64."""
    first, second = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = (np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])).clip(0)
    shared = sides.prod(-1)
    return shared / ((first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1) - shared)


def unmatched(boxes, scores, classes, others):
    """Return the scores of detections that no other one equals within the tolerances."""
    if not len(others):
        return scores
    close = iou(boxes, others.boxes) >= IOU
    close &= classes[:, None] == others.classes[None]
    close &= np.abs(scores[:, None] - others.scores[None]) <= SCORE
    return scores[~close.any(1)]


def compare(model, detector, image):
    """Check that both find the same, but for scores at the threshold; return the number of detections."""
    found = detector(image)
    boxes = model.predict(image, conf=CONF, verbose=False)[0].boxes.numpy()
    classes = boxes.cls.astype(int)
    assert abs(len(boxes) - len(found)) <= 1
    assert (unmatched(boxes.xyxy, boxes.conf, classes, found) < CONF + SCORE).all()
    theirs = type(found)(boxes.xyxy, boxes.conf, classes, found.names)
    assert (unmatched(found.boxes, found.scores, found.classes, theirs) < CONF + SCORE).all()
    return len(found)


@pytest.mark.skipif(REAL_DATA is None, reason="no real drone images at hand: set UAVDET_DATA")
def test_real_images(pair):
    files = sorted((REAL_DATA / "hituav" / "images" / "val").glob("*.jpg"))
    files = files if os.environ.get("UAVDET_ALL_IMAGES") else files[::15]
    assert sum(compare(*pair, read_picture(file)) for file in files) > 10 * len(files)


def test_scenes(pair):
    scene = Scene(SceneConfig(seed=22, modality="thermal", ground="urban", objects=24, min_size=12))
    assert compare(*pair, scene.render(0).image)
