"""The bundled weights on the real images that their card reports."""

import contextlib
import io
import json

import pytest
import yaml

from tests.realdata import REAL_DATA
from uavdet import UAVDet

needs_real_data = pytest.mark.skipif(REAL_DATA is None, reason="the real drone images are not at hand: set UAVDET_DATA")


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """Return the metrics of `val`, its folder and the annotations that it scored against."""
    folder = tmp_path_factory.mktemp("val")
    data = REAL_DATA / "hituav" / "data.yaml"
    metrics = UAVDet().val(data=str(data), project=str(folder), name="x", save_json=True, plots=False, verbose=False)
    config = yaml.safe_load(data.read_text())
    return metrics, folder / "x" / "predictions.json", data.parent / config["annotations"]["val"]


@needs_real_data
def test_the_bundled_weights_find_what_their_card_says(validation):
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    metrics, predictions, annotations = validation
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(json.loads(predictions.read_text())), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[1] >= 0.50

    assert not [key for key in metrics if key.startswith("metrics/mAP_")]  # zeros of another protocol
    for key, value in zip(("coco/AP", "coco/AP50", "coco/AP75"), evaluation.stats[:3], strict=True):
        assert metrics[key] == pytest.approx(value, abs=1e-9)
