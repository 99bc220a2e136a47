"""`uavdet val` with several protocols, and the same detections scored again from a file."""

import json

import numpy as np
import pytest

from tests.realdata import REAL_DATA
from uavdet.cli import main
from uavdet.data.config import load_data_config
from uavdet.errors import DataError, UsageError
from uavdet.evaluation.offline import score_predictions
from uavdet.evaluation.predictions import read_predictions
from uavdet.evaluation.protocol import Score, find_protocols
from uavdet.evaluation.scoring import crowding_warning, read_truth
from uavdet.evaluation.truth import GroundTruth, ImageTruth
from uavdet.model import UAVDet

PROTOCOLS = ["coco", "coco500", "aitod", "visdrone", "tinyperson", "ultralytics"]


@pytest.fixture(scope="module")
def validated(tiny_run, tiny_data, tmp_path_factory):
    """Return the metrics of a model on small scenes by every protocol."""
    project = tmp_path_factory.mktemp("val")
    model = UAVDet(str(tiny_run.best))
    options = {"data": str(tiny_data), "device": "cpu", "verbose": False, "project": str(project)}
    return model.val(**options, protocol=PROTOCOLS, save_json=True), model, project


def test_every_protocol_is_reported_by_name(validated):
    metrics, model, project = validated
    assert {key.split("/")[0] for key in metrics if "/" in key} >= {*PROTOCOLS, "metrics"}
    assert list(model.scores) == PROTOCOLS
    assert metrics["ultralytics/AP"] == metrics["metrics/mAP50-95(B)"]
    written = json.loads((project / "val" / "report" / "metrics.json").read_text())
    assert list(written["protocols"]) == PROTOCOLS
    assert written["images"] == 4
    assert sorted(p.name for p in (project / "val" / "visdrone").iterdir())


def test_a_file_of_detections_scores_as_the_model_did(validated, tiny_data):
    metrics, _, project = validated
    options = {"data": str(tiny_data), "verbose": False, "plots": False, "project": str(project), "name": "again"}
    again = score_predictions(predictions=str(project / "val" / "predictions.json"), protocol=PROTOCOLS, **options)
    for key, value in again.items():
        if key.startswith("ultralytics"):
            assert value == pytest.approx(metrics[key], abs=5e-4), key  # its validator computes in single precision
        elif "/" in key:
            assert value == pytest.approx(metrics[key], abs=1e-9), key
    folder = project / "val" / "visdrone"
    rows = score_predictions(predictions=str(folder), protocol=["visdrone"], **{**options, "name": "rows"})
    assert rows["visdrone/AP"] == pytest.approx(metrics["visdrone/AP"], abs=0.02)  # the rows hold rounded pixels


def test_the_command_prints_a_table_or_json(validated, tiny_data, capsys):
    _, _, project = validated
    words = ["val", f"predictions={project / 'val' / 'predictions.json'}", f"data={tiny_data}", "plots=False"]
    words += [f"project={project}", "protocol=coco,visdrone"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "4 images" in text
    assert "visdrone" in text
    assert main([*words, "json=True"]) == 0
    assert "visdrone/AP_macro" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"model": "x.pt"}, UsageError, "'model' has no effect on predictions="),
        ({"imgsz": 640}, UsageError, "'imgsz' has no effect"),
        ({"protocol": ["cocoo"]}, UsageError, "Did you mean 'coco'"),
        ({"predictions": "absent.json"}, DataError, r"absent\.json"),
        ({"split": "test"}, ValueError, "'test:'"),
        ({"classes": [7]}, UsageError, "classes=7"),
    ],
)
def test_what_cannot_be_scored_is_one_clear_error(validated, tiny_data, options, error, text):
    _, _, project = validated
    given = {"predictions": str(project / "val" / "predictions.json"), "data": str(tiny_data), "project": str(project)}
    with pytest.raises(error, match=text):
        score_predictions(**{**given, **options})


def test_a_model_does_not_score_a_file(validated, tiny_data):
    _, model, _ = validated
    with pytest.raises(UsageError, match="without a model"):
        model.val(data=str(tiny_data), predictions="x.json")


def test_classes_and_confidence_narrow_what_is_scored(validated, tiny_data):
    _, model, project = validated
    options = {"data": str(tiny_data), "verbose": False, "plots": False, "project": str(project)}
    file = str(project / "val" / "predictions.json")
    nothing = score_predictions(predictions=file, conf=1.0, **options)
    assert nothing["coco/AP"] == 0
    one = score_predictions(predictions=file, classes=[1], protocol=["coco500"], **options)
    wanted = model.scores["coco500"].per_class.get("car", {"AP": np.nan})["AP"]
    assert one["coco500/AP"] == pytest.approx(wanted)
    merged = score_predictions(predictions=file, single_cls=True, **options)
    assert 0 <= merged["coco/AP"] <= 1


def test_too_few_detections_for_the_images_are_pointed_out():
    empty = np.zeros((0, 4))

    def image(count):
        boxes = np.tile([0.0, 0, 1, 1], (count, 1))
        return ImageTruth("a", (9, 9), boxes, np.zeros(count, int), np.ones(count), np.zeros(count, bool), empty)

    assert crowding_warning(GroundTruth([], {0: "a"}), 300, "queries") is None
    assert crowding_warning(GroundTruth([image(300)], {0: "a"}), 300, "queries") is None
    text = crowding_warning(GroundTruth([image(420)], {0: "a"}), 300, "queries")
    assert "1 in 100 images has 420 objects or more (the fullest 420)" in text
    assert "queries=600" in text


@pytest.mark.skipif(REAL_DATA is None, reason="real drone images are not at hand (UAVDET_DATA)")
@pytest.mark.parametrize(
    ("name", "honours"), [("coco500", True), ("visdrone", True), ("coco", False), ("aitod", False)]
)
def test_a_detection_in_an_ignored_region_of_real_images(tmp_path, name, honours):
    data = load_data_config(REAL_DATA / "hituav" / "data.yaml")
    content = json.loads(data.annotations["val"].read_text())
    rows = [{**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.5} for a in content["annotations"]]
    region = content["ignore_regions"][0]
    rows.append({"image_id": region["image_id"], "category_id": 1, "bbox": region["bbox"], "score": 0.9})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    truth, _ = read_truth(data, "val")
    score = find_protocols([name])[0].score(truth, read_predictions(tmp_path / "rows.json", truth))
    assert (score.metrics["AP"] == pytest.approx(1.0)) is honours


def test_no_protocol_is_refused():
    with pytest.raises(UsageError, match="No protocol was given"):
        find_protocols([])


@pytest.mark.parametrize(
    ("metrics", "headline"),
    [({"P": 0.1, "AP": 0.2}, 0.2), ({"AP50_tiny": 0.3, "AP50_all": 0.4}, 0.3), ({"AP": float("nan")}, -1)],
)
def test_the_headline_is_ap_or_the_first_number(metrics, headline):
    assert Score("x", metrics).headline == headline
