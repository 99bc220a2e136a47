"""`uavdet analyze saliency`: gradients against differences of the score, what is measured of them, and the files."""

import csv
import json

import numpy as np
import pytest
import torch

from tests.analysis.annotated import write_images
from tests.analysis.detectors import write_detector
from tests.analysis.test_windows import sample_of
from uavdet.analysis.predictions import read_predictions
from uavdet.analysis.saliency import HEADER, PATCH, MeanPatch, add_patch, analyze_saliency, density, measure_map
from uavdet.analysis.saliency import object_maps as maps_of_objects
from uavdet.analysis.samples import open_samples
from uavdet.cli import main

MISSED = (0, 0.5, 0.5, 0.9, 0.03)  # no anchor is as flat


def predicted_rows(detector, folder, size):
    """Return rows of an image's two strongest predictions that lie in it and are apart: objects that will be found."""
    data = write_images(folder, {"a": [MISSED]}, size=size)
    samples = open_samples({"model": detector, "data": str(data), "imgsz": list(size)})
    with torch.no_grad():
        outputs = samples.model.predict(next(iter(samples)).image)
        found = read_predictions(samples.model, outputs, samples.size)
    boxes = found.boxes.double()
    inside = ((boxes[:, :2] - boxes[:, 2:] / 2 > 0) & (boxes[:, :2] + boxes[:, 2:] / 2 < 1)).all(1)
    order = (found.logits.amax(1) - 1e6 * ~inside).argsort(descending=True).tolist()
    first = order[0]
    second = next(row for row in order if (boxes[row, :2] - boxes[first, :2]).abs().max() > boxes[first, 2:].max())
    return [(int(found.logits[row].argmax()), *boxes[row].tolist()) for row in (first, second)]


def make_case(name, folder):
    """Return the options of a small detector and an image with two objects that it finds and one that it misses."""
    detector = str(write_detector(name, folder / "x.pt", _wake))
    rows = predicted_rows(detector, folder / "look", (64, 96))
    data = write_images(folder / "data", {"a": [rows[0], MISSED, rows[1]]}, size=(64, 96))
    return {"model": detector, "data": str(data), "imgsz": [64, 96], "conf": 0.0}


@pytest.fixture(scope="module", params=["rtdetr-n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def case(request, tmp_path_factory):
    """Return a case of each family."""
    return make_case(request.param, tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def plain_case(tmp_path_factory):
    """Return a case of one family."""
    return make_case("rtdetr-n.yaml", tmp_path_factory.mktemp("case"))


def _wake(model):
    """Make the scores of an untrained network depend on its features as those of a trained one do."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 2.0)
        if "cv3" in name and isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.5)
    if getattr(model.model[-1], "reg_max", 1) > 1:  # boxes of two strides, in the place of fifteen
        for branch in model.model[-1].cv2:
            branch[-1].bias.data.view(4, -1)[:, 1] = 12.0


def score_of(samples, levels, row, index):
    with torch.no_grad(), samples.recorder.paused():
        outputs = samples.model.model[-1](levels)
    return read_predictions(samples.model, outputs, samples.size).logits[row, index].item()


def test_maps_are_norms_of_the_differences_of_the_score(case):
    """Along the gradient of one cell, as finite differences give it channel by channel, in float64."""
    samples = open_samples(case)
    sample = next(iter(samples))
    found, maps = maps_of_objects(samples, sample, "features", 0.0)
    assert found.object.tolist() == [0, 2]
    np.testing.assert_allclose(found.overlaps, 1, atol=1e-3)
    head = samples.model.model[-1].double()
    head.shapes, head.shape = [], None  # anchors are kept in the precision of the first pass
    levels = [level.double() for level in samples.recorder.head_inputs]
    row, index = int(found.prediction[1]), int(sample.classes[2])
    chosen = int(np.argmax([values.sum() for values in maps[1]]))
    y, x = np.unravel_index(maps[1][chosen].argmax(), maps[1][chosen].shape)
    step, slopes = 1e-5, []
    for channel in range(levels[chosen].shape[1]):
        scores = []
        for sign in (1, -1):
            moved = [level.clone() for level in levels]
            moved[chosen][0, channel, y, x] += sign * step
            scores.append(score_of(samples, moved, row, index))
        slopes.append((scores[0] - scores[1]) / (2 * step))
    assert maps[1][chosen][y, x] > 0
    assert np.linalg.norm(slopes) == pytest.approx(maps[1][chosen][y, x], rel=1e-3)


def test_gradients_by_the_image_are_those_of_the_whole_network(case):
    samples = open_samples(case)
    sample = next(iter(samples))
    found, maps = maps_of_objects(samples, sample, "image", 0.0)
    image = sample.image.clone().requires_grad_()
    outputs = samples.model.predict(image)
    logit = read_predictions(samples.model, outputs, samples.size).logits[found.prediction[1], sample.classes[2]]
    (gradient,) = torch.autograd.grad(logit, image)
    expected = gradient[0].pow(2).sum(0).sqrt().numpy()
    assert maps[1][0].shape == samples.size
    assert expected.max() > 0
    np.testing.assert_allclose(maps[1][0], expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_the_recorder_s_maps_stay_those_of_the_pass(case):
    samples = open_samples(case)
    sample = next(iter(samples))
    samples.model.predict(sample.image)
    before = [level.clone() for level in samples.recorder.head_inputs]
    maps_of_objects(samples, sample, "features", 0.0)
    assert all(torch.equal(*pair) for pair in zip(before, samples.recorder.head_inputs, strict=True))


def test_every_object_has_a_row_the_missed_one_too(case, tmp_path):
    report = analyze_saliency({**case, "project": str(tmp_path)})
    rows = list(csv.DictReader((report.folder / "saliency.csv").open()))
    assert list(rows[0]) == list(HEADER)
    assert [row["object"] for row in rows] == ["0"] * 3 + ["1"] + ["2"] * 3
    assert [row["level"] for row in rows] == ["P3", "P4", "P5", "", "P3", "P4", "P5"]
    assert [row["found"] for row in rows] == ["1"] * 3 + ["0"] + ["1"] * 3
    assert not any(rows[3][name] for name in HEADER[6:])
    assert float(rows[3]["side"]) == pytest.approx(np.sqrt(0.9 * 0.03 * np.prod(case["imgsz"])), rel=1e-4)
    samples = open_samples(case)
    sample = next(iter(samples))
    _, maps = maps_of_objects(samples, sample, "features", 0.0)
    for row, values in zip(rows[:3] + rows[4:], [*maps[0], *maps[1]], strict=True):
        assert float(row["saliency"]) == pytest.approx(values.sum(), rel=1e-4)
    assert sum(number for _, number in report.counts().values()) == 3
    assert sum(found for found, _ in report.counts().values()) == 2
    assert report.table().startswith("2 of 3 objects of 1 images are found (IoU >= 0.5, score >= 0)")
    files = {path.name for path in report.folder.iterdir()}
    assert files == {"saliency.csv", "saliency.png", "saliency-examples.png"}


def test_where_nothing_is_found_that_is_what_is_written(plain_case, tmp_path):
    report = analyze_saliency({**plain_case, "conf": 1.0, "project": str(tmp_path)})
    rows = list(csv.DictReader((report.folder / "saliency.csv").open()))
    assert [row["found"] for row in rows] == ["0"] * 3
    assert {path.name for path in report.folder.iterdir()} == {"saliency.csv", "saliency.png"}
    assert "0 of 3 objects" in report.table()


@pytest.mark.usefixtures("undrawn")
def test_the_command_prints_json_and_refuses_other_classes(plain_case, tmp_path, capsys):
    size = ",".join(map(str, plain_case["imgsz"]))
    words = [
        "analyze",
        "saliency",
        f"model={plain_case['model']}",
        f"data={plain_case['data']}",
        f"imgsz={size}",
        "conf=0",
    ]
    assert main([*words, f"project={tmp_path}", "json=True", "gradient=image"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["levels"]) == ["image"]
    assert sum(counts["all"] for counts in report["objects"].values()) == 3
    other = write_images(tmp_path / "other", {"a": [MISSED]}, names=("boat",))
    for change, message in (
        (f"data={other}", "The model has 2 classes (person, car)"),
        ("gradient=logits", "gradient=logits"),
        ("channel=mean", "'channel' means nothing to analyze saliency"),
    ):
        kept = [word for word in words if word.partition("=")[0] != change.partition("=")[0]]
        assert main([*kept, change, f"project={tmp_path}"]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert message in errors[0]


def test_shares_in_box_and_ring_and_the_spread():
    """8x8 cells of 8 pixels, shown at half size; the box is cells 2 and 3 each way, its ring two cells around it."""
    sample = sample_of([[0.375, 0.375, 0.25, 0.25]])
    sample = type(sample)(**{**vars(sample), "scale": (2.0, 2.0)})
    box = np.array([0.25, 0.25, 0.5, 0.5])
    values = np.zeros((8, 8))
    values[2, 2], values[0, 5], values[7, 7] = 3, 2, 1
    total, in_box, share, ring, area, spread = measure_map(values, box, sample)
    assert (total, in_box, share, ring, area) == (6, 3, 3 / 6, 2 / 6, 4 / 64)
    assert spread == pytest.approx(np.hypot(8, 8))  # half of it lies in the first cell, whose centre is 8 pixels away
    values[2, 2] = 2.9
    assert measure_map(values, box, sample)[5] == pytest.approx(np.hypot(16 * 2.5, 16 * 2.5))


def test_the_ring_of_an_object_smaller_than_a_cell_is_one_cell_wide():
    values = np.zeros((8, 8))
    values[3:6, 3:6] = 1
    values[0, 0] = 7
    _, in_box, _, ring, area, _ = measure_map(values, np.array([0.53, 0.53, 0.6, 0.6]), sample_of([BOX_IN_CELL]))
    assert (in_box, ring * 16, area) == (1, 8, 1 / 64)


BOX_IN_CELL = [0.565, 0.565, 0.07, 0.07]


def test_a_map_of_zeros_has_no_shares():
    measured = measure_map(np.zeros((4, 4)), np.array([0.0, 0.0, 0.5, 0.5]), sample_of([[0.25, 0.25, 0.5, 0.5]]))
    assert measured == (0, 0, None, None, 4 / 16, None)


def test_patches_put_the_box_in_their_middle():
    patch = MeanPatch()
    values = np.ones((20, 20))
    values[8:12, 8:12] = 7
    add_patch(patch, values, np.array([0.4, 0.4, 0.6, 0.6]))
    inside = np.zeros((PATCH, PATCH), bool)
    inside[18:27, 18:27] = True  # the middle one of 5x5 squares of 9 points
    np.testing.assert_allclose(patch.mean, np.where(inside, 7, 1) / values.mean())
    assert patch.objects == 1


def test_patches_of_objects_at_the_border_have_no_values_outside():
    patch = MeanPatch()
    add_patch(patch, np.ones((10, 20)), np.array([0.0, 0.4, 0.2, 0.6]))
    assert np.isnan(patch.mean[:, :18]).all()
    np.testing.assert_allclose(patch.mean[:, 18:], 1)
    add_patch(patch, 3 * np.eye(10), np.array([0.4, 0.4, 0.6, 0.6]))
    assert np.isfinite(patch.mean).all()
    add_patch(patch, np.zeros((4, 4)), np.array([0.4, 0.4, 0.6, 0.6]))
    assert patch.objects == 2


def test_densities_add_up_to_one_over_all_levels():
    maps = [np.random.default_rng(0).random((8, 12)), 3 * np.ones((4, 6)), np.zeros((2, 3))]
    heat = density(maps, (64, 96))
    assert heat.sum() == pytest.approx(1)
    total = maps[0].sum() + maps[1].sum()
    assert heat[9, 17] == pytest.approx((maps[0][1, 2] / 64 + 3 / 256) / total)
    assert not density([np.zeros((2, 3))], (64, 96)).any()
