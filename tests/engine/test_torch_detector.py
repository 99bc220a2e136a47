"""Weights as a detector of frames: it finds what `UAVDet.predict` finds."""

import numpy as np
import pytest

from uavdet import UAVDet
from uavdet.data.scenes import Scene, SceneConfig
from uavdet.errors import DataError

SCENE = SceneConfig(seed=2, size=(160, 128), modality="thermal", objects=5)


@pytest.fixture(scope="module")
def pictures():
    """Return pictures of two sizes."""
    frames = [frame.image for frame in Scene(SCENE).frames(3)]
    return [*frames, np.ascontiguousarray(frames[0][10:110, :90])]


@pytest.mark.parametrize("kind", ["ours", "yolo", "rtdetr"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_it_finds_what_predict_finds(kind, count, pictures, tiny_run):
    model = UAVDet({"ours": tiny_run.best, "yolo": "yolo11n.yaml", "rtdetr": "rtdetr-resnet50.yaml"}[kind])
    options = {"imgsz": [96, 64] if kind == "ours" else 64, "conf": 0.0, "max_det": 7}
    detector = model.frame_detector(**options)
    several = detector.detect(pictures[:count])
    expected = model.predict(pictures[:count], verbose=False, **options)
    assert len(several) == count
    assert sum(map(len, several))
    for found, result in zip(several, expected, strict=True):
        np.testing.assert_allclose(found.scores, result.boxes.conf.numpy(), atol=2e-5)
        np.testing.assert_allclose(found.boxes, result.boxes.xyxy.numpy(), atol=0.02)
        assert found.classes.tolist() == result.boxes.cls.int().tolist()
        assert found.names == result.names


def test_no_images_give_no_results(tiny_run):
    assert UAVDet(tiny_run.best).frame_detector().detect([]) == []


def test_it_says_what_streams_and_tiles_ask_for(tiny_run, pictures):
    detector = UAVDet(tiny_run.best).frame_detector(device="cpu")
    assert (detector.imgsz, detector.batch, detector.grey, detector.device) == ((64, 64), None, False, "cpu")
    assert detector.statistics["images"] == 8
    detector.warm_up()
    assert len(detector(pictures[0][..., 0])) >= 0
    assert detector.timings.keys() == {"preprocess", "inference", "postprocess"}
    assert all(milliseconds > 0 for milliseconds in detector.timings.values())


def test_what_is_no_picture_is_refused(tiny_run):
    with pytest.raises(DataError, match="Give uint8"):
        UAVDet(tiny_run.best).frame_detector().detect([np.zeros((4, 4, 4), np.uint8)])
